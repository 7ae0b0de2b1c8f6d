"""The parts of the GPU's run in the order of their importance, each with the seconds that it takes.

The seconds are those of an H100 with 16 processor cores, compiling of kernels included.
"""

import dataclasses
import importlib
import shutil
from typing import Any

from ...errors import InputError
from ..cases.networks import PRECISIONS
from ..implementations import COMPILED, IMPLICIT
from ..report import Report
from .budget import Allowance
from .plan import Plan
from .property_tests import ROOT, has_tests

TOOLS = ("memcheck", "racecheck")  # of compute-sanitizer
SECONDS_OF_MODEL = {"nfnet_f1": (100, 70)}  # (usual, least) where it is not that of _network


@dataclasses.dataclass(frozen=True)
class Part:
    """What one part measures: `measure` of a module of this folder, with `arguments`.

    seconds: what it takes; least: what it takes when it is shortened as far as it can be. missing: why it cannot be
    measured here, or None.
    """

    name: str
    what: str
    module: str
    seconds: float
    least: float
    arguments: tuple = ()
    missing: str | None = None

    def measure(self, report: Report, plan: Plan, allowance: Allowance) -> None:
        """Measure it; its sections go to the report."""
        module: Any = importlib.import_module(f".{self.module}", __package__)  # needs CuPy, which a list does not
        module.measure(report, plan, allowance, *self.arguments)


def parts_of(plan: Plan) -> list[Part]:
    """All parts of the plan."""
    first = plan.models[0]
    no_tests = None if plan.tests else "--no-tests"
    no_clone = no_tests or (None if has_tests() else f"no property tests in {ROOT}, which is not a clone")
    no_tool = no_tests or (None if shutil.which("compute-sanitizer") else "compute-sanitizer is not on PATH")
    parts = [
        Part("smoke", "every kernel file, and steps beside NumPy's", "smoke", 40, 20),
        *_network(first),
        *(Part(f"implicit-{precision}", f"{first} with implicit convolutions, {precision}", "networks", 45, 25,
               (first, precision, IMPLICIT)) for precision in reversed(PRECISIONS)),
        Part("peaks", "copies and products at best", "peak_rates", 6, 3),
        Part("update", "clipping and SGD alone", "update", 10, 5),
        *(Part(f"kernels-{precision}", f"every launch of a step, and the host's time, {precision}", "profile", 14, 10,
               (first, precision)) for precision in PRECISIONS),
        Part("tests", "property tests and kernel tests", "property_tests", 75, 20, missing=no_clone),
        Part("losses", "losses beside NumPy's, and the same bits twice", "loss_agreement", 45, 25),
        Part("digits", "accuracy on the digits", "digits", 45, 25, missing=None if plan.digits else "--quick"),
        *(Part(f"sanitizer-{tool}", f"compute-sanitizer --tool {tool}", "sanitizer", 60, 30, (tool,), no_tool)
          for tool in TOOLS),
        *(part for model in plan.models[1:2] for part in _network(model)),
        Part("cifar10", "a small network trained on CIFAR-10", "cifar10", 90, 45,
             missing=None if plan.cifar else "it needs --cifar PATH"),
        *(Part(f"compiled-{precision}", f"{first} beside torch.compile, {precision}", "networks", 90, 60,
               (first, precision, COMPILED)) for precision in reversed(PRECISIONS)),
        *(part for model in plan.models[2:] for part in _network(model)),
    ]
    share = plan.share_of_estimate
    return [dataclasses.replace(part, seconds=share * part.seconds, least=share * part.least) for part in parts]


def _network(model: str) -> list[Part]:
    """A step and inference beside PyTorch's, a part for each precision, the one that matters most first."""
    seconds, least = SECONDS_OF_MODEL.get(model, (70, 45))
    return [Part(f"{model}-{precision}", f"{model} beside PyTorch, {precision}", "networks", seconds, least,
                 (model, precision)) for precision in reversed(PRECISIONS)]


def named(parts: list[Part], names: str) -> list[Part]:
    """The parts of these names, separated by commas, in the run's order; InputError for a name that is none."""
    wanted = names.split(",")
    known = [part.name for part in parts]
    for name in wanted:
        if name not in known:
            raise InputError(f"--parts {name}: expected some of {', '.join(known)}")
    return [part for part in parts if part.name in wanted]
