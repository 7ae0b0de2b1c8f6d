"""Training steps, inference and memory of whole networks, beside PyTorch's and JAX's."""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from ..cases.networks import FOLDED, WORKS, NetworkCase, logits_error, relative_errors, section_of
from ..implementations import JAX, NCHW, NFNUMPY, REFERENCE, TORCH
from ..processes import Process
from ..report import Report, Section
from ..rounds import call_all, open_processes, take_turns, torch_is_installed
from ..table import gigabytes
from ..timing import Timing, ratio

# What rounding explains, relative: float32's 24 bits moved F0's logits by 5e-6 and its loss by 1e-7; without the
# residual branches the logits move by 0.4.
BOUNDS = {"logits_error": 1e-4, "loss_error": 1e-5}
COLUMNS = [("implementation", "implementation", ""), ("work", "work", ""), ("ms", "ms", ".1f"),
           ("least", "ms_low", ".1f"), ("most", "ms_high", ".1f"), ("ours/it", "ratio", ".3f"),
           ("least", "ratio_low", ".3f"), ("most", "ratio_high", ".3f"), ("peak GB", "memory", gigabytes),
           ("ours/it", "memory_ratio", ".2f"), ("net", "net_memory_ratio", ".2f")]
MODULE = "nfnumpy.bench.implementations"


def measure(report: Report, plan: Any) -> None:
    """A section "network NAME" for every model, with a row for every implementation and kind of work."""
    for model in plan.models:
        case = NetworkCase(model, plan.batch_of(model))
        title = f"{model}, {case.batch} images of {case.pixels} px (ratios: medians; NHWC: channels last)"
        with report.section(section_of(model), title) as section:
            _compare(section, case, plan)
            section.show(COLUMNS)
            for line in _remarks(section.rows):
                section.note(line)


def failed(report: Report) -> bool:
    """Whether an implementation computed something else than ours."""
    return any(row.get("agrees") is False for name in report.sections for row in report.rows(name))


def _remarks(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines on implementations that compute something else, and on PyTorch where its channels first are faster."""
    by_name = {(row["work"], row["implementation"]): row for row in rows}
    for row in rows:
        if row.get("agrees") is False:
            errors = ", ".join(f"{key.removesuffix('_error')} {row[key]:.1e}" for key in BOUNDS if key in row)
            yield f"{row['implementation']} computes something else than ours; relative errors: {errors}."
    for work in dict.fromkeys(row["work"] for row in rows):
        first, last = (by_name.get((work, name), {}) for name in (NCHW, TORCH))
        if "ms" in first and "ms" in last and first["ms"] < last["ms"]:
            ours = f": ours takes {first['ratio']:.3f} of that time." if "ratio" in first else "."
            yield (f"In {work} PyTorch is faster with channels first than with channels last, which the targets are "
                   f"about{ours}")


class _Running:
    """A process with a network, its first results by kind of work, and its memory before there was a network."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.results: dict[str, Any] = {}
        self.before = process.call("resident_before")


def _others(section: Section, case: NetworkCase, path: str) -> dict[str, tuple]:
    """Makers of the implementations that can be had here beside nfnumpy's own, whose weights are at `path`."""
    makers: dict[str, tuple] = {REFERENCE: (f"{MODULE}.nfnumpy_network:NfnumpyNetwork", case, True)}
    if torch_is_installed(section):
        makers[TORCH] = (f"{MODULE}.torch_network:TorchNetworkOnCPU", case, path, True)
        makers[NCHW] = (f"{MODULE}.torch_network:TorchNetworkOnCPU", case, path, False)
    if importlib.util.find_spec("jax") and case.is_normalizer_free:
        makers[JAX] = (f"{MODULE}.jax_network:JaxNetwork", case, path)
    return makers


def _compare(section, case, plan):
    with contextlib.ExitStack() as stack:
        path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "weights.safetensors")
        processes = open_processes(stack, section, {NFNUMPY: (f"{MODULE}.nfnumpy_network:NfnumpyNetwork", case)})
        if NFNUMPY in processes:
            processes[NFNUMPY].call("save", path)
            processes.update(open_processes(stack, section, _others(section, case, path)))
        running = {name: _Running(process) for name, process in processes.items()}
        rows = [row for work in case.works for row in _rows(running, plan, work)]
        for row in sorted(rows, key=lambda row: case.works.index(row["work"]), reverse=True):
            section.add(**case.facts(), **row)
            if row["failure"]:
                section.note(f"{row['implementation']}, {row['work']}: {row['failure']}")


def _rows(running: dict[str, _Running], plan: Any, work: str) -> list[dict[str, Any]]:
    """A row for every implementation: times, memory, errors of its results. The first call is its warm-up."""
    first, failures = call_all({name: one.process for name, one in running.items()}, work)
    for name, result in first.items():
        running[name].results[work] = result
    fast = {name: running[name].process for name in first if name != REFERENCE}
    slow = {name: running[name].process for name in first if name == REFERENCE}
    timings: dict[str, Timing] = {}
    peaks: dict[str, int] = {}
    for group, repeats in ((fast, plan.repeats), (slow, plan.plain_repeats)):
        group_timings, group_failures, group_peaks = take_turns(group, repeats, plan, work)
        timings.update(group_timings)
        failures.update(group_failures)
        peaks.update(group_peaks)
    rows: dict[str, dict[str, Any]] = {
        name: {"work": work, "implementation": name, "failure": failures.get(name)} for name in running}
    for name, timing in timings.items():
        rows[name].update(timing.facts("ms"), samples=list(timing.samples), memory=peaks[name] or None,
                          memory_before=running[name].before)
    for name in running:
        if name != NFNUMPY and NFNUMPY in running:
            rows[name].update(_time_ratios(timings, name), **_memory_ratios(rows[NFNUMPY], rows[name]))
            if work in (FOLDED, WORKS[-1]):
                rows[name].update(_agreement(running, name, work))
    return list(rows.values())


def _time_ratios(timings, name):
    """Our time over its time, of the rounds that both have: reference mode has fewer."""
    if not {NFNUMPY, name} <= set(timings):
        return {}
    its = timings[name]
    return ratio(Timing(timings[NFNUMPY].samples[:len(its.samples)]), its).facts("ratio")


def _memory_ratios(ours: dict[str, Any], its: dict[str, Any]) -> dict[str, float | None]:
    """Our peak over its peak: of the whole process, and net of what was there before there was a network."""
    if not (ours.get("memory") and its.get("memory")):
        return {}
    our_net = ours["memory"] - ours["memory_before"]
    its_net = its["memory"] - its["memory_before"]
    return {"memory_ratio": ours["memory"] / its["memory"], "net_memory_ratio": our_net / its_net if its_net else None}


def _agreement(running: dict[str, _Running], name: str, work: str) -> dict[str, Any]:
    """Relative errors of its first logits and loss to ours, of FOLDED its logits, and whether rounding explains them.
    """
    its, ours = running[name].results, running[NFNUMPY].results
    works = WORKS if work in WORKS else (work,)
    if any(needed not in results for results in (its, ours) for needed in works):
        return {}
    if work == FOLDED:
        errors = {"logits_error": logits_error(its[work], ours[work])}
    else:
        errors = relative_errors((its["inference"], its["training"]), (ours["inference"], ours["training"]))
    return {**errors, "agrees": all(error <= BOUNDS[key] for key, error in errors.items())}
