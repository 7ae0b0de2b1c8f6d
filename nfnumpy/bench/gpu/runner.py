"""Running parts in this process, as long as the budget lasts."""

import time

from .. import table
from ..report import Report, say
from ..timing import one_line
from . import record
from .budget import Allowance, Budget
from .parts import Part
from .plan import Plan


class DeviceLost(Exception):
    """The device does not compute in this process any more, as after an access to memory that is not its own."""


def run_parts(report: Report, plan: Plan, parts: list[Part], budget: Budget, at: str) -> None:
    """Measure each part that is possible here and fits the time that is left; the others are a line and an entry.

    Raises DeviceLost when a part leaves a device that a new process is needed for.
    """
    last = [part.name for part in parts if part.missing is None][-1:]
    for part in parts:
        why_not = part.missing
        left = budget.left()
        if why_not is None and part.least > left:
            why_not = f"it takes {part.least:.0f} s or more, {max(0.0, left):.0f} s are left"
        if why_not is not None:
            record.leave_out(report, part.name, at, why_not)
            report.write()
            say(f"\nleft out: {part.name}: {why_not}")
            continue
        say(f"\n== {part.name}: {part.what} (about {part.seconds:.0f} s; {left:.0f} s are left)")
        _run(report, plan, part, budget.allowance(part.seconds, part.name in last), at)
        if not device_works():
            raise DeviceLost(part.name)


def _run(report: Report, plan: Plan, part: Part, allowance: Allowance, at: str) -> None:
    """Measure one part; its entry says how that ended."""
    entry = record.begin(report, part.name, at)
    before = set(report.sections)
    report.write()  # should this process be killed, the file says in which part
    started = time.perf_counter()
    failure = None
    try:
        part.measure(report, plan, allowance)
    except Exception as error:
        failure = one_line(error)
        say("\n".join(table.wrapped(f"stopped: {failure}")))
    entry["seconds"] = time.perf_counter() - started
    entry["sections"] = [name for name in report.sections if name not in before]
    failures = [report.sections[name].failure for name in entry["sections"] if report.sections[name].failure]
    failure = failure or next(iter(failures), None)
    if failure is not None:
        entry["status"], entry["why"] = record.FAILED, failure
    elif allowance.stopped is not None:
        entry["status"], entry["why"] = record.STOPPED, allowance.stopped
    else:
        entry["status"] = record.DONE
    report.write()


def device_works() -> bool:
    """Whether the device still computes."""
    import cupy
    try:
        return float(cupy.ones((2,), dtype=cupy.float32).sum()) == 2.0
    except Exception:
        return False
