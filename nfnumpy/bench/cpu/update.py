"""Adaptive gradient clipping and SGD alone, over all parameters of a network, beside PyTorch's."""

import contextlib

from .. import table
from ..problem import Problem
from ..timing import ratio
from . import ceilings
from .contestants import OURS, PLAIN, ask_all, opened, take_turns, torch_is_there

EAGER, FUSED = "PyTorch", "PyTorch, fused SGD"
CLIPPING, SGD, TOGETHER = "AGC", "SGD", "AGC and SGD"
BYTES = {CLIPPING: 12, SGD: 20, TOGETHER: 20}  # a float32 parameter's, at least: see docs/benchmarks
COLUMNS = [("contestant", "contestant", ""), ("work", "work", ""), ("ms", "ms", ".1f"), ("least", "ms_low", ".1f"),
           ("most", "ms_high", ".1f"), ("ours/it", "ratio", ".3f"), ("least", "ratio_low", ".3f"),
           ("most", "ratio_high", ".3f"), ("GB/s", "rate", ".1f"), ("% of copy", "of_copy", table.percent)]


def measure(report, plan):
    """The section "update", a row for every contestant and kind of work."""
    problem, copy = Problem(plan.update_model, 1), ceilings.rate(report, ceilings.COPY)
    with report.section("update", f"AGC and SGD over the parameters of {problem.model}, alone") as section, \
            contextlib.ExitStack() as stack:
        makers = {OURS: ("nfnumpy.bench.cpu.our_update:OurUpdate", problem),
                  PLAIN: ("nfnumpy.bench.cpu.our_update:OurUpdate", problem, True)}
        if torch_is_there(section):
            makers[EAGER] = ("nfnumpy.bench.cpu.torch_update:TorchUpdate", problem)
            makers[FUSED] = ("nfnumpy.bench.cpu.torch_update:TorchUpdate", problem, True)
        processes = opened(stack, section, makers)
        for work in BYTES:
            taking_part = {name: process for name, process in processes.items() if (name, work) != (FUSED, CLIPPING)}
            _measure_one(section, problem, taking_part, work, plan, copy)
        section.show(COLUMNS)
        if EAGER in processes:
            section.note(f"PyTorch's clipping: {processes[EAGER].ask('source')}, one parameter after the other.")


def _measure_one(section, problem, processes, work, plan, copy):
    """The rows of one kind of work; the first call of each contestant is its warm-up."""
    first, failures = ask_all(processes, "work", work)
    ready = {name: processes[name] for name in first}
    timings, more, _ = take_turns(ready, 2 * plan.repeats, plan, "work", work)
    failures.update(more)
    for name in processes:
        row = section.add(model=problem.model, work=work, contestant=name, failure=failures.get(name))
        if name in timings:
            row.update(timings[name].facts("ms"))
            row["rate"] = 1e-6 * BYTES[work] * processes[name].ask("parameters") / row["ms"]
            row["of_copy"] = row["rate"] / copy if copy else None
            if name != OURS and OURS in timings:
                row.update(ratio(timings[OURS], timings[name]).facts("ratio"))
        else:
            section.note(f"{name}, {work}: {row['failure']}")
