"""Clipping and updating all parameters of a network, alone: beside the copy bandwidth and beside PyTorch."""

import functools
import math
from collections.abc import Callable
from typing import Any

import cupy

from ..cases.networks import NetworkCase
from ..cases.update import random_gradients
from ..implementations.nfnumpy_cupy import CupyNetwork
from ..report import Report
from ..table import percent
from ..timing import one_line, ratio, take_turns
from .keep_device_busy import KeepDeviceBusy
from .launches import recording
from .networks import opponent

BYTES = 20  # a float32 parameter's: read weight, gradient and momentum, write weight and momentum
AHEAD = 20.0  # milliseconds for which the GPU is busy first, while the host hands over
COLUMNS = [("model", "model", ""), ("parameters", "parameters", ",d"), ("launches", "launches", "d"),
           ("ms", "nfnumpy_ms", ".3f"), ("GB/s", "rate", ".0f"), ("% of copy", "of_copy", percent),
           ("torch ms", "torch_ms", ".3f"), ("× as fast", "speedup", ".2f")]
Update = tuple[Callable[[], object], Callable[[Callable[[], object]], float]]  # starts one update; times it


def measure(report: Report, plan: Any, copy_rate: float | None) -> None:
    """The section "update", for the first model. copy_rate: GB/s of a copy, or None."""
    title = f"AGC and update, {BYTES} bytes a parameter, the host ahead of the device"
    with report.section("update", title) as section:
        case = NetworkCase(plan.models[0], 1, "tf32")
        ours = CupyNetwork(case)
        torch_network, why_not = opponent()
        updates = {"nfnumpy": our_update(ours)}
        if torch_network:
            try:
                theirs = torch_network(case, ours.state())
                updates["torch"] = torch_update(theirs)
                section.note(f"PyTorch's side: {theirs.clipping_origin} in a loop over the parameters, and "
                             f"torch.optim.SGD.")
            except Exception as error:
                why_not = one_line(error)
        if why_not:
            section.note(f"PyTorch's side is left out: {why_not}")
        parameters = sum(math.prod(array.shape) for array in ours.state().values())
        row = section.add(**measured(updates, plan, copy_rate, parameters), model=case.model)
        if row["failure"]:
            section.note(row["failure"])
        section.show(COLUMNS)


def measured(updates: dict[str, Update], plan: Any, copy_rate: float | None, parameters: int) -> dict[str, Any]:
    """The row of nfnumpy's update and PyTorch's, if there is one."""
    keep_busy = KeepDeviceBusy(CupyNetwork.milliseconds)

    def sample(name):
        start, milliseconds = updates[name]
        start()
        keep_busy(AHEAD)
        return milliseconds(start)

    timings, failures = take_turns({name: functools.partial(sample, name) for name in updates}, 5 * plan.repeats)
    failure = "; ".join(f"{name}: {text}" for name, text in failures.items()) or None
    row: dict[str, Any] = {"parameters": parameters, "failure": failure}
    with recording() as launches:
        updates["nfnumpy"][0]()
    row["launches"] = len(launches)
    for name, timing in timings.items():
        row.update(timing.facts(f"{name}_ms"))
    if "nfnumpy" in timings:
        row["rate"] = 1e-6 * BYTES * parameters / row["nfnumpy_ms"]
        row["of_copy"] = row["rate"] / copy_rate if copy_rate else None
    if len(timings) == 2:
        row["speedup"] = ratio(timings["torch"], timings["nfnumpy"]).median
    return row


def our_update(network: CupyNetwork) -> Update:
    """(a function that starts AGC and the update with given gradients, its clock)."""
    optimizer = network.trainer.optimizer
    optimizer.lr = 1e-3
    parameters = list(optimizer.parameters.values())
    gradients = [cupy.asarray(array) for array in random_gradients([parameter.shape for parameter in parameters])]

    def start():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return start, network.milliseconds


def torch_update(network: Any) -> Update:
    """The same for PyTorch's network."""
    import torch
    parameters = list(network.network.parameters())
    gradients = random_gradients([parameter.shape for parameter in parameters])
    for parameter, array in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(array).to(parameter.device)
    return network.optimizer.step, network.milliseconds
