"""Single operations, forward and their derivatives, beside PyTorch's and beside what the machine can do at best."""

import contextlib
import time

from .. import table
from ..report import watched
from ..timing import ratio, take_turns
from . import ceilings
from .cases import DIRECTIONS, cases
from .contestants import OURS, PLAIN, ask_all, opened, torch_is_there

TORCH = "torch"  # as rows have it, channels last
COLUMNS = [("operation", "operation", ""), ("ms", "nfnumpy_ms", ".3f"), ("reference", "reference_ms", ".1f"),
           ("PyTorch", "torch_ms", ".3f"), ("ratio", "ratio", ".2f"), ("rate", "rate", ".1f"),
           ("unit", "unit", ""), ("% peak", "of_peak", table.percent)]


def measure(report, plan):
    """The section "operations": a row for every operation and direction."""
    peaks = {"GFLOP/s": ceilings.rate(report, ceilings.PRODUCTS), "GB/s": ceilings.rate(report, ceilings.COPY)}
    title = "Operations (ratio: ours over PyTorch's, channels last; peak: of products for convolutions, else of a copy)"
    with report.section("operations", title) as section, contextlib.ExitStack() as stack:
        makers = {OURS: ("nfnumpy.bench.cpu.our_operation:OurOperation", False),
                  PLAIN: ("nfnumpy.bench.cpu.our_operation:OurOperation", True)}
        if torch_is_there(section):
            makers[TORCH] = ("nfnumpy.bench.cpu.torch_operation:TorchOperation",)
        processes = opened(stack, section, makers)
        for case in watched(cases(plan.operations_shrunk), "operations"):
            for direction in DIRECTIONS:
                row = section.add(operation=case.title, direction=direction, **_work(case, direction))
                row.update(_measured(case, direction, processes, plan))
                _rate(row, peaks)
                if row["failure"]:
                    section.note(f"{case.title}, {direction}: {row['failure']}")
        for direction in DIRECTIONS:
            rows = [row for row in section.rows if row["direction"] == direction]
            section.show([(direction, "operation", ""), *COLUMNS[1:]], rows)


def _work(case, direction):
    """What there is to do: operations or None, bytes, and operations a byte."""
    operations, moved = case.operations(direction), case.bytes(direction)
    return {"operations": operations, "bytes": moved, "intensity": operations / moved if operations else None}


def _measured(case, direction, processes, plan):
    """Times of all contestants, and our time over PyTorch's."""
    ready, failures = ask_all(processes, "prepare", case, direction, plan.operation_milliseconds)

    def sample(name):
        time.sleep(plan.pause / 5)
        return processes[name].ask("milliseconds")

    plain = [name for name in ready if name == PLAIN]
    timings, more = take_turns({name: lambda name=name: sample(name) for name in ready if name != PLAIN}, plan.repeats)
    timings_of_plain, more_of_plain = take_turns({name: lambda: sample(PLAIN) for name in plain}, plan.plain_repeats)
    failures.update(more, **more_of_plain)
    row = {"failure": "; ".join(f"{name}: {failure}" for name, failure in failures.items()) or None}
    for name, timing in (timings | timings_of_plain).items():
        row.update(timing.facts(f"{name}_ms"))
    if {OURS, TORCH} <= set(timings):
        row.update(ratio(timings[OURS], timings[TORCH]).facts("ratio"))
    return row


def _rate(row, peaks):
    """Add each contestant's rate, and ours as a share of the peak."""
    row["unit"] = "GFLOP/s" if row["operations"] else "GB/s"
    amount = 1e-6 * (row["operations"] or row["bytes"])
    for name, key in ((OURS, "rate"), (PLAIN, "reference_rate"), (TORCH, "torch_rate")):
        if f"{name}_ms" in row:
            row[key] = amount / row[f"{name}_ms"]
    if "rate" in row and peaks[row["unit"]]:
        row["of_peak"] = row["rate"] / peaks[row["unit"]]
