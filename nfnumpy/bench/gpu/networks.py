"""Training steps and inference beside PyTorch's: time, memory, and first results, which show that both agree."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from ..cases.networks import WORKS, NetworkCase, relative_errors
from ..implementations import COMPILED, EAGER, GRAPH, IMPLICIT, NCHW, NFNUMPY, TORCH
from ..implementations.nfnumpy_cupy import FORMS, CupyNetwork
from ..report import Report, Section
from ..table import gigabytes
from ..timing import one_line, ratio
from .launches import recording
from .opponent import release_all, torch_network
from .turns import WARM_UP, Turns

# What rounding explains, relative. Of F0's logits on a CPU, TF32's 11 bits moved 0.003 and autocast's 8 bits 0.022 (in
# the norm over a batch), leaving the residual branches out 0.41; the loss of a fresh network hardly moves.
BOUNDS = {"tf32": {"logits_error": 0.02, "loss_error": 2e-3}, "bf16": {"logits_error": 0.16, "loss_error": 1.6e-2}}
METHODS = {"training": "train", "inference": "infer"}
COLUMNS = [("network", "implementation", ""), ("work", "work", ""), ("ms", "ms", ".2f"),
           ("least", "ms_low", ".2f"), ("most", "ms_high", ".2f"), ("ratio", "ratio", ".3f"),
           ("least", "ratio_low", ".3f"), ("most", "ratio_high", ".3f"), ("peak GB", "memory", gigabytes),
           ("ratio", "memory_ratio", ".2f"), ("calls", "launches", "d")]
Makers = dict[str, Callable[[], Any]]


def measure(report: Report, plan: Any, allowance: Any, model: str, precision: str, beside: str = EAGER) -> None:
    """A section of the name that `section_name` gives, with a row for every implementation and kind of work.

    beside: what ours is compared with: EAGER PyTorch, COMPILED PyTorch, or IMPLICIT, our own other form.
    """
    case = NetworkCase(model, plan.batch_size, precision)
    title = f"{model}, {case.pixels} px, batch {case.batch}, {precision} (ratio: our fastest form over it)"
    with report.section(section_name(model, precision, beside), title) as section:
        first = [CupyNetwork(case)]  # a list that gives it away, so that no other name keeps it
        makers = _makers(section, case, plan, first[0].state(), beside)
        rows = _rows(case, plan, allowance, first, makers)
        for row in rows:
            section.add(**row)
        section.show(COLUMNS)
        for line in _remarks(section.rows):
            section.note(line)
    release_all()


def section_name(model: str, precision: str, beside: str = EAGER) -> str:
    """The name of a section in the GPU's report."""
    return f"network {model} {precision}" + {EAGER: "", COMPILED: ", compiled", IMPLICIT: ", implicit"}[beside]


def _makers(section: Section, case: NetworkCase, plan: Any, state: dict[str, Any], beside: str) -> Makers:
    """Functions that make each implementation, ours first."""
    makers: Makers = {name: functools.partial(CupyNetwork, case, **options) for name, options in FORMS.items()}
    if beside == IMPLICIT:
        makers[IMPLICIT] = functools.partial(CupyNetwork, case, implicit=True, **FORMS[GRAPH])
        return makers
    opponent = torch_network(plan, section)
    if opponent and beside == COMPILED:
        makers[COMPILED] = functools.partial(opponent, case, state, compiled=True)
    elif opponent:
        makers[TORCH] = functools.partial(opponent, case, state)
        makers[NCHW] = functools.partial(opponent, case, state, channels_last=False)
    return makers


def _rows(case: NetworkCase, plan: Any, allowance: Any, first: list[CupyNetwork],
          makers: Makers) -> list[dict[str, Any]]:
    """A row for every implementation and kind of work, training first: results, then times, then memory.

    first: our network, which is taken out of the list.
    """
    rows = {(work, name): {**case.facts(), "work": work, "implementation": name, "failure": None}
            for work in reversed(WORKS) for name in makers}
    networks: dict[str, Any] = {}
    turns = Turns(networks)
    answers: dict[str, Any] = {}
    later: dict[str, list[float]] = {}
    makers_now = {**makers, NFNUMPY: first.pop}
    for name, maker in makers_now.items():
        failure, network = _attempt(turns.turn, maker)
        if failure is None:
            networks[name] = network
            failure, answers[name] = _attempt(turns.turn, network.answer)
        if failure is None and name in FORMS:
            failure, later[name] = _attempt(_later_losses, network)
        for work in WORKS:
            rows[work, name]["failure"] = failure
    network = None  # the last one is kept by `networks` alone, whose memory is measured one by one
    for work in reversed(WORKS):
        working = [name for name in networks if rows[work, name]["failure"] is None]
        timings, failures = turns.take(METHODS[work], working, plan, allowance.lasts)
        for name, failure in failures.items():
            rows[work, name]["failure"] = failure
        _add_times(rows, work, timings, case.batch)
    for name, losses in later.items():
        rows["training", name].update(later_losses=losses, agrees=losses == later.get(NFNUMPY, losses))
    for name, answer in answers.items():
        rows["training", name].update(_agreement(answers.get(NFNUMPY), answer, name, case.precision))
        rows["training", name]["together"] = turns.together
    _add_memory(rows, makers, networks)
    return list(rows.values())


def _later_losses(network: CupyNetwork) -> list[float]:
    """The losses of the second to fourth step, which a CUDA graph replays; ours have the same bits in every form."""
    return [network.train().read().loss for _ in range(3)]


def _add_times(rows, work, timings, batch):
    """Times of one kind of work, which form of each side is the fastest, and the ratios of our fastest to its."""
    for name, timing in timings.items():
        rows[work, name].update(timing.facts("ms"), samples=list(timing.samples),
                                images_per_second=1e3 * batch / timing.median)
    ours = [name for name in timings if name in FORMS]
    theirs = [name for name in timings if name not in FORMS]
    for side in (ours, theirs):
        fastest = min(side, key=lambda name: timings[name].median, default=None)
        for name in side:
            rows[work, name]["fastest"] = name == fastest
            if side is theirs and ours:
                our_fastest = min(ours, key=lambda name: timings[name].median)
                rows[work, name].update(ratio(timings[our_fastest], timings[name]).facts("ratio"), ours=our_fastest)


def _agreement(ours, its, name, precision):
    """Relative errors of an implementation's first logits and loss to ours, and whether rounding explains them."""
    if its is None:
        return {}
    facts: dict[str, Any] = {"first_loss": its[1]}
    if name not in FORMS and ours is not None:
        errors = relative_errors(ours, its)
        facts.update(errors)
        facts["agrees"] = all(errors[key] <= bound for key, bound in BOUNDS[precision].items())
    return facts


def _add_memory(rows: dict[tuple[str, str], dict[str, Any]], makers: Makers, networks: dict[str, Any]) -> None:
    """Peaks of memory, and our launches: each network alone on the device, made again but for the first one."""
    for name, maker in makers.items():
        network = networks.pop(name, None) if name == NFNUMPY else None
        networks.clear()
        release_all()
        if all(rows[work, name]["failure"] for work in WORKS):
            continue
        failure, peaks = _attempt(_peaks, network, maker, name)
        del network
        for work in WORKS:
            row = rows[work, name]
            row["failure"] = row["failure"] or failure
            row.update(peaks[work] if peaks else {})
            ours = rows[work, row.get("ours", NFNUMPY)]
            if name not in FORMS and ours.get("memory") and row.get("memory"):
                row["memory_ratio"] = ours["memory"] / row["memory"]
    release_all()


def _peaks(network: Any, maker: Callable[[], Any], name: str) -> dict[str, dict[str, Any]]:
    """{memory, live, launches if they are the host's} of each kind of work, once warm.

    network: None if it is to be made; one with CUDA graphs, which keep their memory, is made for each kind of work.
    """
    peaks = {}
    for work, method in METHODS.items():
        if name in (GRAPH, IMPLICIT):
            network = None
            release_all()
        network = network or maker()
        step = getattr(network, method)
        for _ in range(WARM_UP):
            step()
        with recording() as launches:
            peaks[work] = network.peak(step)
        if name == NFNUMPY:
            peaks[work]["launches"] = len(launches)
    return peaks


def _attempt(function: Callable[..., Any], *arguments: Any) -> tuple[str | None, Any]:
    """(None, what function(*arguments) returns), or (one line, None) if it raises."""
    try:
        return None, function(*arguments)
    except Exception as error:
        return one_line(error), None


def _remarks(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines on what failed, on implementations that compute something else, and on memory."""
    for row in rows:
        if row["failure"]:
            yield f"{row['implementation']}, {row['work']}: {row['failure']}"
        if row.get("agrees") is False:
            yield (f"{row['implementation']} computes something else than ours: relative error of its logits "
                   f"{row['logits_error']:.1e}, of its loss {row['loss_error']:.1e}")
    if any(row.get("together") is False for row in rows):
        yield "The networks do not fit the device together: unused memory was given back before each turn."
