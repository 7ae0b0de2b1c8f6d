"""Training steps and inference beside PyTorch's: time, memory, and first results, which show that both agree."""

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any

from ..cases.networks import PRECISIONS, NetworkCase, relative_errors
from ..implementations.nfnumpy_cupy import CupyNetwork
from ..report import Report, watched
from ..table import gigabytes
from ..timing import one_line, ratio, take_turns
from .launches import recording

DEVICE = "cuda"  # PyTorch's; tests on machines without a GPU put "cpu" here
# What rounding explains, relative. Of F0's logits on a CPU, TF32's 11 bits moved 0.003 and autocast's 8 bits 0.022 (in
# the norm over a batch), leaving the residual branches out 0.41; the loss of a fresh network hardly moves.
BOUNDS = {"tf32": {"logits_error": 0.02, "loss_error": 2e-3}, "bf16": {"logits_error": 0.16, "loss_error": 1.6e-2}}
TITLE = "Beside PyTorch, eager, channels last (ratios: nfnumpy's over PyTorch's, the median of pairs)"
COLUMNS = [("model", "model", ""), ("batch", "batch", "d"), ("work", "work", ""), ("in", "precision", ""),
           ("ms", "nfnumpy_ms", ".2f"), ("torch ms", "torch_ms", ".2f"), ("ratio", "ratio", ".3f"),
           ("least", "ratio_low", ".3f"), ("most", "ratio_high", ".3f"), ("GB", "memory", gigabytes),
           ("torch", "torch_memory", gigabytes), ("launches", "launches", "d")]


def measure(report: Report, plan: Any) -> None:
    """The section "against PyTorch": a row for every model, precision and kind of work."""
    with report.section("against PyTorch", TITLE) as section:
        torch_network, why_not = opponent()
        if why_not:
            section.note(f"PyTorch's side is left out: {why_not}")
        cases = [NetworkCase(model, plan.batch_size, precision) for model in plan.models for precision in PRECISIONS]
        for case in watched(cases, "networks"):
            rows = _rows(case, plan, torch_network)
            section.rows += rows
            for failure in sorted({row["failure"] for row in rows if row["failure"]}):
                section.note(f"{case.model} in {case.precision}: {failure}")
            _free_all()
        section.show(COLUMNS)
        for row in section.rows:
            if row.get("agrees") is False:
                section.note(f"{row['model']} in {row['precision']} computes something else than PyTorch: relative "
                             f"error of the logits {row['logits_error']:.1e}, of the loss {row['loss_error']:.1e}")
        section.note("Memory is what each allocator took from the device at most during a step, once warm.")


def opponent() -> tuple[Callable[..., Any] | None, str | None]:
    """(a function of a case and a state that makes PyTorch's network, None), or (None, why there is none)."""
    try:
        import torch
    except ImportError:
        return None, "PyTorch is not installed"
    if DEVICE == "cuda" and not torch.cuda.is_available():
        return None, "this PyTorch finds no GPU"
    from ..implementations.torch_device import TorchNetwork
    return functools.partial(TorchNetwork, device=DEVICE), None


def _rows(case: NetworkCase, plan: Any, torch_network: Callable[..., Any] | None) -> list[dict[str, Any]]:
    """A row for training and one for inference."""
    networks: dict[str, Any] = {}
    failures: list[str] = []
    ours = _attempt(failures, "nfnumpy", lambda: CupyNetwork(case))
    if ours is not None:
        networks["nfnumpy"] = ours
        theirs = torch_network and _attempt(failures, "torch", lambda: torch_network(case, ours.state()))
        if theirs:
            networks["torch"] = theirs
    answers = {}
    for name, network in networks.items():
        _release(networks)
        answers[name] = _attempt(failures, f"{name}'s first step", network.answer)
    trained = {name: network.train for name, network in networks.items() if answers[name] is not None}
    inferred = {name: network.infer for name, network in networks.items()}
    rows = []
    for work, works, facts in (("training", trained, _compared(answers, case.precision)), ("inference", inferred, {})):
        row_failures = list(failures)
        row = {**case.facts(), "work": work, **facts, **_measured(networks, works, plan, row_failures)}
        row["failure"] = "; ".join(row_failures) or None
        if "nfnumpy_ms" in row:
            row["images_per_second"] = 1e3 * case.batch / row["nfnumpy_ms"]
        rows.append(row)
    return rows


def _measured(networks: dict[str, Any], works: dict[str, Callable[[], Any]], plan: Any,
              failures: list[str]) -> dict[str, Any]:
    """Times, ratios, memory and launches of one kind of work, as a row has them."""
    samplers: dict[str, Callable[[], float]] = {
        name: functools.partial(_sample, networks, name, work, plan.steps) for name, work in works.items()}
    timings, stopped = take_turns(samplers, plan.repeats)
    failures += [f"{name}: {failure}" for name, failure in stopped.items()]
    facts: dict[str, Any] = {}
    for name, timing in timings.items():
        facts.update(timing.facts(f"{name}_ms"))
        _release(networks)
        with recording() as launches:
            peak = _attempt(failures, name, functools.partial(networks[name].peak, works[name])) or {}
        prefix = "" if name == "nfnumpy" else f"{name}_"
        facts.update({prefix + key: value for key, value in peak.items()})
        if name == "nfnumpy":
            facts["launches"] = len(launches)
    if len(timings) == 2:
        facts.update(ratio(timings["nfnumpy"], timings["torch"]).facts("ratio"))
        if facts.get("memory") and facts.get("torch_memory"):
            facts["memory_ratio"] = facts["memory"] / facts["torch_memory"]
    return facts


def _sample(networks, name, work, steps):
    """Milliseconds a step; before it the other network's unused memory is freed and this one's allocated again."""
    try:
        _release(networks)
        work()
        return networks[name].milliseconds(lambda: [work() for _ in range(steps)]) / steps
    except Exception:
        gc.collect()
        raise


def _free_all():
    """Free the memory of networks that are not measured any more, on both sides."""
    gc.collect()
    CupyNetwork.release()
    if DEVICE == "cuda" and sys.modules.get("torch"):
        sys.modules["torch"].cuda.empty_cache()


def _release(networks):
    for network in networks.values():
        network.release()


def _attempt(failures, name, function):
    """function(), or None and a line in `failures` if it raises."""
    try:
        return function()
    except Exception as error:
        failures.append(f"{name}: {one_line(error)}")
        return None


def _compared(answers, precision):
    """Relative errors of the first logits and losses, and whether rounding explains them, as a row has them."""
    facts = {f"{name}_first_loss": answer[1] for name, answer in answers.items() if answer is not None}
    if len(facts) == 2:
        errors = relative_errors(answers["nfnumpy"], answers["torch"])
        facts.update(errors)
        facts["agrees"] = all(errors[key] <= bound for key, bound in BOUNDS[precision].items())
    return facts
