"""Adaptive gradient clipping and SGD alone, over all parameters of a network, beside PyTorch's."""

import contextlib
from typing import Any

from .. import table
from ..cases import peak_rates
from ..cases.networks import NetworkCase
from ..cases.update import BYTES, CLIPPING
from ..implementations import EAGER, FUSED, NFNUMPY, REFERENCE
from ..report import Report
from ..rounds import call_all, open_processes, take_turns, torch_is_installed
from ..timing import ratio

COLUMNS = [("implementation", "implementation", ""), ("work", "work", ""), ("ms", "ms", ".1f"),
           ("least", "ms_low", ".1f"), ("most", "ms_high", ".1f"), ("ours/it", "ratio", ".3f"),
           ("least", "ratio_low", ".3f"), ("most", "ratio_high", ".3f"), ("GB/s", "rate", ".1f"),
           ("% of copy", "of_copy", table.percent)]
OURS = "nfnumpy.bench.implementations.nfnumpy_update:NfnumpyUpdate"
THEIRS = "nfnumpy.bench.implementations.torch_update:TorchUpdate"


def measure(report: Report, plan: Any) -> None:
    """The section "update", a row for every implementation and kind of work."""
    case = NetworkCase(plan.update_model, 1)
    copy_rate = peak_rates.rate(report, peak_rates.COPY)
    title = f"AGC and SGD over the parameters of {case.model}, alone"
    with report.section("update", title) as section, contextlib.ExitStack() as stack:
        makers: dict[str, tuple] = {NFNUMPY: (OURS, case), REFERENCE: (OURS, case, True)}
        if torch_is_installed(section):
            makers[EAGER] = (THEIRS, case)
            makers[FUSED] = (THEIRS, case, True)
        processes = open_processes(stack, section, makers)
        for work in BYTES:
            measured = {name: process for name, process in processes.items() if (name, work) != (FUSED, CLIPPING)}
            _measure_one(section, case, measured, work, plan, copy_rate)
        section.show(COLUMNS)
        if EAGER in processes:
            origin = processes[EAGER].call("origin")
            section.note(f"PyTorch's clipping: {origin}, a loop over the parameters.")


def _measure_one(section, case, processes, work, plan, copy_rate):
    """The rows of one kind of work; the first call of each implementation is its warm-up."""
    first, failures = call_all(processes, "work", work)
    ready = {name: processes[name] for name in first}
    timings, more, _ = take_turns(ready, 2 * plan.repeats, plan, "work", work)
    failures.update(more)
    for name in processes:
        row = section.add(model=case.model, work=work, implementation=name, failure=failures.get(name))
        if name in timings:
            row.update(timings[name].facts("ms"))
            row["rate"] = 1e-6 * BYTES[work] * processes[name].call("parameters") / row["ms"]
            row["of_copy"] = row["rate"] / copy_rate if copy_rate else None
            if name != NFNUMPY and NFNUMPY in timings:
                row.update(ratio(timings[NFNUMPY], timings[name]).facts("ratio"))
        else:
            section.note(f"{name}, {work}: {row['failure']}")
