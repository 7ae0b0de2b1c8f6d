"""Training steps and inference beside PyTorch's: time, memory, and first answers that show they compute the same."""

import functools
import gc
import sys

from .launches import recording
from .ours import Ours
from .problem import PRECISIONS, Problem, apart
from .report import watched
from .table import gigabytes
from .timing import one_line, ratio, take_turns

DEVICE = "cuda"  # PyTorch's; tests on machines without a GPU put "cpu" here
# What rounding explains, relative. Of F0's logits on a CPU, TF32's 11 bits moved 0.003 and autocast's 8 bits 0.022 (in
# the norm over a batch), leaving the residual branches out 0.41; the loss of a fresh network hardly moves.
BOUNDS = {"tf32": {"logits": 0.02, "loss": 2e-3}, "bf16": {"logits": 0.16, "loss": 1.6e-2}}
TITLE = "Beside PyTorch, eager, channels last (ratios: nfnumpy's over PyTorch's, the median of pairs)"
COLUMNS = [("model", "model", ""), ("batch", "batch", "d"), ("work", "work", ""), ("in", "precision", ""),
           ("ms", "nfnumpy_ms", ".2f"), ("torch ms", "torch_ms", ".2f"), ("ratio", "ratio", ".3f"),
           ("least", "ratio_low", ".3f"), ("most", "ratio_high", ".3f"), ("GB", "memory", gigabytes),
           ("torch", "torch_memory", gigabytes), ("launches", "launches", "d")]


def measure(report, plan):
    """The section "against PyTorch": a row for every model, precision and kind of work."""
    with report.section("against PyTorch", TITLE) as section:
        their_class, why_not = opponent()
        if why_not:
            section.note(f"PyTorch's side is left out: {why_not}")
        problems = [Problem(model, plan.batch_size, precision) for model in plan.models for precision in PRECISIONS]
        for problem in watched(problems, "networks"):
            rows = _rows(problem, plan, their_class)
            section.rows += rows
            for failure in sorted({row["failure"] for row in rows if row["failure"]}):
                section.note(f"{problem.model} in {problem.precision}: {failure}")
            _give_back()
        section.show(COLUMNS)
        for row in section.rows:
            if row.get("agrees") is False:
                section.note(f"{row['model']} in {row['precision']} computes something else than PyTorch: logits "
                             f"{row['logits_apart']:.1e} apart, losses {row['loss_apart']:.1e}")
        section.note("Memory is what each allocator took from the device at most during a step, once warm.")


def opponent():
    """(a function of a Problem and a state that gives PyTorch's side, None), or (None, why there is none)."""
    try:
        import torch
    except ImportError:
        return None, "PyTorch is not installed"
    if DEVICE == "cuda" and not torch.cuda.is_available():
        return None, "this PyTorch finds no GPU"
    from .theirs import Theirs
    return functools.partial(Theirs, device=DEVICE), None


def _rows(problem, plan, their_class):
    """A row for training and one for inference."""
    sides, failures = {}, []
    ours = _attempt(failures, "nfnumpy", lambda: Ours(problem))
    if ours is not None:
        sides["nfnumpy"] = ours
        theirs = their_class and _attempt(failures, "torch", lambda: their_class(problem, ours.state()))
        if theirs:
            sides["torch"] = theirs
    answers = {}
    for name, side in sides.items():
        _release(sides)
        answers[name] = _attempt(failures, f"{name}'s first step", side.answer)
    rows = [{**problem.facts(), "work": "training", **_compared(answers, problem.precision)},
            {**problem.facts(), "work": "inference"}]
    for row in rows:
        works = {name: side.train if row["work"] == "training" else side.infer for name, side in sides.items()
                 if row["work"] == "inference" or answers[name] is not None}
        own = list(failures)
        row.update(_measured(sides, works, plan, own))
        row["failure"] = "; ".join(own) or None
        if "nfnumpy_ms" in row:
            row["images_per_second"] = 1e3 * problem.batch / row["nfnumpy_ms"]
    return rows


def _measured(sides, works, plan, failures):
    """Times, ratios, memory and launches of one kind of work, as a row holds them."""
    timings, stopped = take_turns({name: functools.partial(_sample, sides, name, work, plan.steps)
                                   for name, work in works.items()}, plan.repeats)
    failures += [f"{name}: {failure}" for name, failure in stopped.items()]
    facts = {}
    for name, timing in timings.items():
        facts.update(timing.facts(f"{name}_ms"))
        _release(sides)
        with recording() as launches:
            peak = _attempt(failures, name, lambda: sides[name].peak(works[name])) or {}
        facts.update({("" if name == "nfnumpy" else f"{name}_") + key: value for key, value in peak.items()})
        if name == "nfnumpy":
            facts["launches"] = len(launches)
    if len(timings) == 2:
        facts.update(ratio(timings["nfnumpy"], timings["torch"]).facts("ratio"))
        if facts.get("memory") and facts.get("torch_memory"):
            facts["memory_ratio"] = facts["memory"] / facts["torch_memory"]
    return facts


def _sample(sides, name, work, steps):
    """Milliseconds a step, with the other side's memory given back and this one's taken again before."""
    try:
        _release(sides)
        work()
        return sides[name].milliseconds(lambda: [work() for _ in range(steps)]) / steps
    except Exception:
        gc.collect()
        raise


def _give_back():
    """The memory of what is measured no more, on both sides."""
    gc.collect()
    Ours.release()
    if DEVICE == "cuda" and sys.modules.get("torch"):
        sys.modules["torch"].cuda.empty_cache()


def _release(sides):
    for side in sides.values():
        side.release()


def _attempt(failures, who, function):
    """function(), or None and a line in `failures` if it raises."""
    try:
        return function()
    except Exception as error:
        failures.append(f"{who}: {one_line(error)}")
        return None


def _compared(answers, precision):
    """How far the first logits and losses of both sides are apart, and whether they agree, as a row holds it."""
    facts = {f"{name}_first_loss": answer[1] for name, answer in answers.items() if answer is not None}
    if len(facts) == 2:
        distances = apart(answers["nfnumpy"], answers["torch"])
        facts.update(distances)
        facts["agrees"] = all(distances[f"{what}_apart"] <= bound for what, bound in BOUNDS[precision].items())
    return facts
