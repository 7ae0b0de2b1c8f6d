"""Single operations, forward and their derivatives, beside PyTorch's and beside the peak rates of the machine."""

import contextlib
import functools
import time
from typing import Any

from .. import table
from ..cases import peak_rates
from ..cases.operations import DIRECTIONS, OperationCase, cases
from ..implementations import NFNUMPY, REFERENCE
from ..processes import Process
from ..report import Report, watched
from ..rounds import call_all, open_processes, torch_is_installed
from ..timing import ratio, take_turns

TORCH = "torch"  # as rows have it, channels last
COLUMNS = [("operation", "operation", ""), ("ms", "nfnumpy_ms", ".3f"), ("reference", "reference_ms", ".1f"),
           ("PyTorch", "torch_ms", ".3f"), ("ratio", "ratio", ".2f"), ("rate", "rate", ".1f"),
           ("unit", "unit", ""), ("% peak", "of_peak", table.percent)]
OURS = "nfnumpy.bench.implementations.nfnumpy_operation:NfnumpyOperation"
THEIRS = "nfnumpy.bench.implementations.torch_operation:TorchOperation"


def measure(report: Report, plan: Any) -> None:
    """The section "operations": a row for every operation and direction."""
    peaks = {"GFLOP/s": peak_rates.rate(report, peak_rates.PRODUCTS), "GB/s": peak_rates.rate(report, peak_rates.COPY)}
    title = "Operations (ratio: ours over PyTorch's, channels last; peak: of products for convolutions, else of a copy)"
    with report.section("operations", title) as section, contextlib.ExitStack() as stack:
        makers: dict[str, tuple] = {NFNUMPY: (OURS, False), REFERENCE: (OURS, True)}
        if torch_is_installed(section):
            makers[TORCH] = (THEIRS,)
        processes = open_processes(stack, section, makers)
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


def _measured(case: OperationCase, direction: str, processes: dict[str, Process], plan: Any) -> dict[str, Any]:
    """Times of all implementations, and our time over PyTorch's."""
    ready, failures = call_all(processes, "prepare", case, direction, plan.operation_milliseconds)

    def sample(name):
        time.sleep(plan.pause / 5)
        return processes[name].call("milliseconds")

    samplers = {name: functools.partial(sample, name) for name in ready}
    reference = {REFERENCE: samplers.pop(REFERENCE)} if REFERENCE in samplers else {}
    timings, fast_failures = take_turns(samplers, plan.repeats)
    reference_timings, reference_failures = take_turns(reference, plan.plain_repeats)
    failures.update(fast_failures, **reference_failures)
    row: dict[str, Any] = {"failure": "; ".join(f"{name}: {failure}" for name, failure in failures.items()) or None}
    for name, timing in (timings | reference_timings).items():
        row.update(timing.facts(f"{name}_ms"))
    if {NFNUMPY, TORCH} <= set(timings):
        row.update(ratio(timings[NFNUMPY], timings[TORCH]).facts("ratio"))
    return row


def _rate(row, peaks):
    """Add each implementation's rate, and ours as a share of the peak."""
    row["unit"] = "GFLOP/s" if row["operations"] else "GB/s"
    amount = 1e-6 * (row["operations"] or row["bytes"])
    for name, key in ((NFNUMPY, "rate"), (REFERENCE, "reference_rate"), (TORCH, "torch_rate")):
        if f"{name}_ms" in row:
            row[key] = amount / row[f"{name}_ms"]
    if "rate" in row and peaks[row["unit"]]:
        row["of_peak"] = row["rate"] / peaks[row["unit"]]
