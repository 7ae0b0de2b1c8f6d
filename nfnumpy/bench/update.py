"""Clipping and updating all parameters of a network, alone: beside the copy bandwidth and beside PyTorch."""

import math

import cupy

from .compare import opponent
from .launches import recording
from .occupation import Occupation
from .ours import Ours
from .problem import Problem, random_gradients
from .table import percent
from .timing import one_line, ratio, take_turns

BYTES = 20  # a float32 parameter's: read weight, gradient and momentum, write weight and momentum
AHEAD = 20.0  # milliseconds for which the GPU is busy first, while the host hands over
COLUMNS = [("model", "model", ""), ("parameters", "parameters", ",d"), ("launches", "launches", "d"),
           ("ms", "nfnumpy_ms", ".3f"), ("GB/s", "rate", ".0f"), ("% of copy", "of_copy", percent),
           ("torch ms", "torch_ms", ".3f"), ("× as fast", "speedup", ".2f")]


def measure(report, plan, copy_rate):
    """The section "update", for the first model."""
    title = f"AGC and update, {BYTES} bytes a parameter, the host ahead of the device"
    with report.section("update", title) as section:
        problem = Problem(plan.models[0], 1, "tf32")
        ours, (their_class, why_not) = Ours(problem), opponent()
        contestants = {"nfnumpy": our_update(ours)}
        if their_class:
            try:
                theirs = their_class(problem, ours.state())
                contestants["torch"] = their_update(theirs)
                section.note(f"PyTorch's side: {theirs.update.source} over one parameter after the other, and "
                             f"torch.optim.SGD.")
            except Exception as error:
                why_not = one_line(error)
        if why_not:
            section.note(f"PyTorch's side is left out: {why_not}")
        row = section.add(**measured(contestants, plan, copy_rate,
                                     sum(math.prod(array.shape) for array in ours.state().values())),
                          model=problem.model)
        if row["failure"]:
            section.note(row["failure"])
        section.show(COLUMNS)


def measured(contestants, plan, copy_rate, parameters):
    """The row of two contestants, each a function that starts one update and one that times it."""
    occupy = Occupation(Ours.milliseconds)

    def sample(start, milliseconds):
        start()
        occupy(AHEAD)
        return milliseconds(start)

    timings, failures = take_turns({name: (lambda parts=parts: sample(*parts)) for name, parts in contestants.items()},
                                   5 * plan.repeats)
    row = {"parameters": parameters, "failure": "; ".join(f"{name}: {text}" for name, text in failures.items()) or None}
    with recording() as launches:
        contestants["nfnumpy"][0]()
    row["launches"] = len(launches)
    for name, timing in timings.items():
        row.update(timing.facts(f"{name}_ms"))
    if "nfnumpy" in timings:
        row["rate"] = 1e-6 * BYTES * parameters / row["nfnumpy_ms"]
        row["of_copy"] = row["rate"] / copy_rate if copy_rate else None
    if len(timings) == 2:
        row["speedup"] = ratio(timings["torch"], timings["nfnumpy"]).median
    return row


def our_update(ours):
    """(a function that starts AGC and the update with given gradients, its clock)."""
    optimizer = ours.session.optimizer
    optimizer.lr = 1e-3
    parameters = list(optimizer.parameters.values())
    gradients = [cupy.asarray(array) for array in random_gradients([parameter.shape for parameter in parameters])]

    def start():
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        optimizer.step()
    return start, ours.milliseconds


def their_update(theirs):
    """The same for PyTorch's side."""
    import torch
    parameters = list(theirs.network.parameters())
    for parameter, array in zip(parameters, random_gradients([parameter.shape for parameter in parameters])):
        parameter.grad = torch.from_numpy(array).to(parameter.device)
    return theirs.update.step, theirs.milliseconds
