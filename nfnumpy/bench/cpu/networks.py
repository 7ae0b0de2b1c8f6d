"""Training steps, inference and memory of whole networks, beside PyTorch's."""

import contextlib
import importlib.util
import os
import tempfile

from ... import models
from ..problem import Problem, apart
from ..table import gigabytes
from ..timing import ratio
from .contestants import JAX, NCHW, OURS, PLAIN, TORCH, ask_all, opened, take_turns, torch_is_there

WORKS = ("inference", "training")  # in this order, so that inference's memory is told where peaks cannot be forgotten
# What rounding explains, relative: float32's 24 bits moved F0's logits by 5e-6 and its loss by 1e-7; leaving the
# branches out moves the logits by 0.4.
BOUNDS = {"logits_apart": 1e-4, "loss_apart": 1e-5}
COLUMNS = [("contestant", "contestant", ""), ("work", "work", ""), ("ms", "ms", ".1f"), ("least", "ms_low", ".1f"),
           ("most", "ms_high", ".1f"), ("ours/it", "ratio", ".3f"), ("least", "ratio_low", ".3f"),
           ("most", "ratio_high", ".3f"), ("peak GB", "memory", gigabytes), ("ours/it", "memory_ratio", ".2f"),
           ("net", "net_memory_ratio", ".2f")]


def measure(report, plan):
    """A section "network NAME" for every model, with a row for every contestant and kind of work."""
    for model in plan.models:
        problem = Problem(model, plan.batch_of(model))
        title = f"{model}, {problem.batch} images of {problem.pixels} px (ratios: medians; NHWC: channels last)"
        with report.section(section_of(model), title) as section:
            _compare(section, problem, plan)
            section.show(COLUMNS)
            for line in _remarks(section.rows):
                section.note(line)


def _remarks(rows):
    """Lines on contestants that compute something else, and on PyTorch where its channels first are faster."""
    by_name = {(row["work"], row["contestant"]): row for row in rows}
    for row in rows:
        if row.get("agrees") is False:
            yield (f"{row['contestant']} computes something else than ours: logits {row['logits_apart']:.1e} apart, "
                   f"losses {row['loss_apart']:.1e}.")
    for work in WORKS[::-1]:
        first, last = (by_name.get((work, name), {}) for name in (NCHW, TORCH))
        if "ms" in first and "ms" in last and first["ms"] < last["ms"]:
            yield (f"In {work} PyTorch is faster with channels first than with channels last, which the bars are "
                   f"about" + (f": ours takes {first['ratio']:.3f} of that time." if "ratio" in first else "."))


def section_of(model):
    """The name of a model's section."""
    return f"network {model}"


def failed(report):
    """Whether a contestant computed something else than we did."""
    return any(row.get("agrees") is False for name in report.sections for row in report.rows(name))


class _Contestant:
    """A process with the network that it holds, what it answered first, and its memory before there was a network."""

    def __init__(self, process):
        self.process, self.answers = process, {}
        self.before = process.ask("resident_before")


def _makers(section, problem, path):
    """The contestants that can be had here, but for nfnumpy itself, whose weights are at `path`."""
    makers = {PLAIN: ("nfnumpy.bench.cpu.our_network:OurNetwork", problem, True)}
    if torch_is_there(section):
        makers[TORCH] = ("nfnumpy.bench.cpu.torch_network:TorchNetwork", problem, path, True)
        makers[NCHW] = ("nfnumpy.bench.cpu.torch_network:TorchNetwork", problem, path, False)
    if importlib.util.find_spec("jax") and isinstance(problem.config, models.NFNetConfig):
        makers[JAX] = ("nfnumpy.bench.cpu.jax_network:JaxNetwork", problem, path)
    return makers


def _compare(section, problem, plan):
    with contextlib.ExitStack() as stack:
        path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "weights.safetensors")
        processes = opened(stack, section, {OURS: ("nfnumpy.bench.cpu.our_network:OurNetwork", problem)})
        if OURS in processes:
            processes[OURS].ask("save", path)
            processes.update(opened(stack, section, _makers(section, problem, path)))
        contestants = {name: _Contestant(process) for name, process in processes.items()}
        rows = [row for work in WORKS for row in _rows(contestants, plan, work)]
        for row in sorted(rows, key=lambda row: WORKS.index(row["work"]), reverse=True):
            section.add(**problem.facts(), **row)
            if row["failure"]:
                section.note(f"{row['contestant']}, {row['work']}: {row['failure']}")


def _rows(contestants, plan, work):
    """A row for every contestant: times, memory, how far its answer is from ours. The first call is its warm-up."""
    first, failures = ask_all({name: contestant.process for name, contestant in contestants.items()}, work)
    for name, answer in first.items():
        contestants[name].answers[work] = answer
    ready = {name: contestants[name].process for name in first}
    timings, peaks = {}, {}
    plain = {name: ready.pop(name) for name in (PLAIN,) if name in ready}
    for group, repeats in ((ready, plan.repeats), (plain, plan.plain_repeats)):
        of_group = take_turns(group, repeats, plan, work)
        for found, more in zip((timings, failures, peaks), of_group):
            found.update(more)
    rows = {name: {"work": work, "contestant": name, "failure": failures.get(name)} for name in contestants}
    for name, timing in timings.items():
        rows[name].update(timing.facts("ms"), samples=list(timing.samples), memory=peaks[name] or None,
                          memory_before=contestants[name].before)
    for name in contestants:
        if name != OURS and OURS in contestants:
            rows[name].update(_beside(timings, name), **_memory_ratios(rows[OURS], rows[name]),
                              **(_agreement(contestants, name) if work == WORKS[-1] else {}))
    return list(rows.values())


def _beside(timings, name):
    """Our time over its time."""
    return ratio(timings[OURS], timings[name]).facts("ratio") if {OURS, name} <= set(timings) else {}


def _memory_ratios(ours, its):
    """Our peak over its peak: of the whole process, and net of what was there before there was a network."""
    if not (ours.get("memory") and its.get("memory")):
        return {}
    net = [row["memory"] - row["memory_before"] for row in (ours, its)]
    return {"memory_ratio": ours["memory"] / its["memory"], "net_memory_ratio": net[0] / net[1] if net[1] else None}


def _agreement(contestants, name):
    """How far its first logits and loss are from ours, and whether rounding explains it."""
    answers = [[contestants[who].answers.get(work) for work in WORKS] for who in (name, OURS)]
    if any(part is None for answer in answers for part in answer):
        return {}
    distances = apart(*answers)
    return {**distances, "agrees": all(distances[key] <= bound for key, bound in BOUNDS.items())}
