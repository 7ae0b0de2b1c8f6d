"""A whole training run on CIFAR-10, beside the same run in PyTorch: images per second, and accuracy."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy

from ... import datasets
from ..implementations import GRAPH
from ..report import Report, Section
from ..table import percent
from ..timing import one_line
from . import cifar10_data
from .cifar10_sides import MODEL, OurTraining, TorchTraining
from .networks import section_name
from .opponent import torch_network

COLUMNS = [("implementation", "implementation", ""), ("epochs", "epochs", "d"),
           ("images/s", "images_per_second", ",.0f"), ("% accuracy", "accuracy", percent),
           ("seconds", "seconds", ".1f")]
WARM_UP, TRIAL = 3, 10  # steps
SHARE = 0.9  # of the time that is planned for
Maker = Callable[[int], Any]  # epochs -> a side


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "cifar10": a row for each side. The epochs are as many of the plan's as there is time for."""
    with report.section("cifar10", f"{MODEL} on CIFAR-10, bf16, batch {plan.cifar_batch}") as section:
        dataset = cifar10_data.load(plan.cifar)
        makers = _makers(section, plan, dataset, graph_of(report, plan))
        seconds = sum(_seconds_of_step(maker, dataset, plan.cifar_batch) for maker in makers.values())
        steps = len(dataset.train) // plan.cifar_batch
        possible = int(SHARE * allowance.left() / (seconds * steps * (1 + len(dataset.test) / len(dataset.train))))
        epochs = max(1, min(plan.cifar_epochs, possible))
        if epochs < plan.cifar_epochs:
            section.note(f"{epochs} of {plan.cifar_epochs} epochs fit the time that is left.")
        for name, maker in makers.items():
            section.add(implementation=name, cuda_graph=graph_of(report, plan), model=MODEL, batch=plan.cifar_batch,
                        **_run(maker(epochs), dataset, epochs, plan.cifar_batch, allowance))
        section.show(COLUMNS)


def graph_of(report: Report, plan: Any) -> str:
    """The option cuda_graph: "on" where the first model's step was measured to be faster so."""
    rows = report.rows(section_name(plan.models[0], "bf16"), work="training", implementation=GRAPH, fastest=True)
    return "on" if rows else "off"


def _makers(section: Section, plan: Any, dataset: datasets.Dataset, cuda_graph: str) -> dict[str, Maker]:
    """Functions that make each side, ours first, both with the same weights."""
    batch = plan.cifar_batch
    ours = OurTraining(dataset, 1, batch, cuda_graph)
    state = ours.state()
    ours.close()
    makers: dict[str, Maker] = {OurTraining.name: lambda epochs: OurTraining(dataset, epochs, batch, cuda_graph)}
    opponent = torch_network(plan, section)
    if isinstance(opponent, functools.partial):
        device = opponent.keywords["device"]
        makers[TorchTraining.name] = lambda epochs: TorchTraining(dataset, epochs, batch, state, device)
    return makers


def _seconds_of_step(maker: Maker, dataset: datasets.Dataset, batch: int) -> float:
    """How long a step takes, once warm, to plan with."""
    side = maker(1)
    indices = numpy.arange(batch)
    for _ in range(WARM_UP):
        side.step(indices)
    side.wait()
    started = time.perf_counter()
    for _ in range(TRIAL):
        side.step(indices)
    side.wait()
    seconds = (time.perf_counter() - started) / TRIAL
    side.close()
    return seconds


def _run(side: Any, dataset: datasets.Dataset, epochs: int, batch: int, allowance: Any) -> dict[str, Any]:
    """The row of a run: rate of its training steps, accuracy after each epoch, and what stopped it, if anything."""
    random = numpy.random.default_rng(0)
    steps = len(dataset.train) // batch
    seconds = 0.0
    accuracies: list[float] = []
    failure = None
    try:
        for _ in range(epochs):
            order = random.permutation(len(dataset.train))
            started = time.perf_counter()
            for step in range(steps):
                side.step(order[step * batch : (step + 1) * batch])
            side.wait()
            seconds += time.perf_counter() - started
            accuracies.append(side.accuracy())
            if not allowance.lasts():
                break
    except Exception as error:
        failure = one_line(error)
    side.close()
    done = len(accuracies)
    return {"epochs": done, "seconds": seconds, "images_per_second": done * steps * batch / seconds if done else None,
            "accuracy": accuracies[-1] if done else None, "accuracies": accuracies, "failure": failure}
