"""Clipping and updating all parameters of a network, alone: beside the copy bandwidth and beside PyTorch."""

import functools
import math
from collections.abc import Callable
from typing import Any

import cupy

from ...backend.collector import without_collector
from ..cases.networks import NetworkCase
from ..cases.update import random_gradients
from ..implementations.nfnumpy_cupy import CupyNetwork
from ..report import Report
from ..table import percent
from ..timing import one_line, ratio, take_turns
from . import peak_rates
from .keep_device_busy import KeepDeviceBusy
from .launches import recording
from .opponent import release_all, torch_network

BYTES = 20  # a float32 parameter's: read weight, gradient and momentum, write weight and momentum
SAMPLES_A_REPEAT = 5  # short ones
AHEAD = 20.0  # milliseconds for which the GPU is busy first, while the host hands over
COLUMNS = [("model", "model", ""), ("parameters", "parameters", ",d"), ("launches", "launches", "d"),
           ("ms", "nfnumpy_ms", ".3f"), ("GB/s", "rate", ".0f"), ("% of copy", "of_copy", percent),
           ("torch ms", "torch_ms", ".3f"), ("× as fast", "speedup", ".2f")]
Update = tuple[Callable[[], object], Callable[[Callable[[], object]], float]]  # starts one update; times it


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "update", for the first model."""
    title = f"AGC and update, {BYTES} bytes a parameter, the host ahead of the device"
    with report.section("update", title) as section:
        case = NetworkCase(plan.models[0], 1, "tf32")
        ours = CupyNetwork(case)
        updates = {"nfnumpy": our_update(ours)}
        opponent = torch_network(plan, section)
        if opponent:
            try:
                theirs = opponent(case, ours.state())
                updates["torch"] = torch_update(theirs)
                section.note(f"PyTorch's side: {theirs.clipping_origin} in a loop over the parameters, and "
                             f"torch.optim.SGD.")
            except Exception as error:
                section.note(f"PyTorch's side is left out: {one_line(error)}")
        parameters = sum(math.prod(array.shape) for array in ours.state().values())
        row = section.add(**measured(updates, plan, allowance, peak_rates.copy_rate(report), parameters),
                          model=case.model)
        if row["failure"]:
            section.note(row["failure"])
        section.show(COLUMNS)
    release_all()


def measured(updates: dict[str, Update], plan: Any, allowance: Any, copy_rate: float | None,
             parameters: int) -> dict[str, Any]:
    """The row of nfnumpy's update and PyTorch's, if there is one. copy_rate: GB/s of a copy, or None."""
    keep_busy = KeepDeviceBusy(CupyNetwork.milliseconds)

    def sample(name):
        start, milliseconds = updates[name]
        with without_collector():
            start()
            keep_busy(AHEAD)
            return milliseconds(start)

    samplers = {name: functools.partial(sample, name) for name in updates}
    timings, failures = take_turns(samplers, SAMPLES_A_REPEAT * plan.repeats, allowance.lasts)
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
