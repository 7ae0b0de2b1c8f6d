"""`python -m nfnumpy.bench gpu`: is the GPU backend right, how fast is it, and how fast could it be?"""

import argparse
import dataclasses
from typing import Any

from ... import backend as backends
from ...errors import InputError
from ...files import check_writable
from .. import targets
from ..cases.networks import check_models
from ..report import Report
from . import correctness

DESCRIPTION = """Prove the GPU backend on this machine and measure it beside PyTorch: property tests, compute-sanitizer,
losses beside NumPy's, the digits' accuracy; bandwidth and products at best; training steps and inference, memory,
every kernel, the optimizer. Ends with the targets, each met or missed. Status 1 if anything is not right."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured. steps: of each sample; copy_bytes, product_size: of the arrays that peak rates need."""

    models: tuple = ("nfnet_f0", "nfnet_f1")
    batch_size: int = 128
    repeats: int = 10
    steps: int = 5
    copy_bytes: int = 1 << 31
    product_size: int = 8192
    loss_steps: int = 50
    loss_batch: int = 28  # fifty such batches are all training images but a few
    digits: bool = True
    tests: bool = True


QUICK = Plan(models=("nfnet_8px",), batch_size=8, repeats=2, steps=2, copy_bytes=1 << 22, product_size=256,
             loss_steps=3, loss_batch=4, digits=False)


def add_to(commands: Any) -> None:
    """Add `gpu` to the commands of `nfnumpy.bench`."""
    p = commands.add_parser("gpu", help="the GPU backend, beside PyTorch", description=DESCRIPTION,
                            argument_default=argparse.SUPPRESS)
    p.add_argument("--json", metavar="FILE", default=None, help="write everything that was measured to FILE")
    p.add_argument("--models", metavar="NAMES", help=f"NFNets, separated by commas (default: {','.join(Plan.models)})")
    p.add_argument("--batch-size", type=int, metavar="B", help=f"images a step (default: {Plan.batch_size})")
    p.add_argument("--repeats", type=int, metavar="N", help=f"pairs of samples (default: {Plan.repeats})")
    p.add_argument("--quick", action="store_true", default=False,
                   help=f"does everything run? {QUICK.models[0]} in batches of {QUICK.batch_size}, no accuracy")
    p.add_argument("--no-tests", dest="tests", action="store_false",
                   help="leave out the property tests and compute-sanitizer")
    p.set_defaults(main=main)


def plan_of(given: dict[str, Any]) -> Plan:
    """The Plan of the flags, a dict; InputError for what cannot be measured."""
    base = QUICK if given.pop("quick") else Plan()
    if "models" in given:
        given["models"] = tuple(given["models"].split(","))
    plan = dataclasses.replace(base, **given)
    for name in ("batch_size", "repeats"):
        if getattr(plan, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(plan, name)}: expected a whole number above 0")
    check_models(plan.models)
    return plan


def main(given: dict[str, Any]) -> int:
    """Measure what the flags (a dict) say; returns the status."""
    path = given.pop("json")
    plan = plan_of(given)
    check_writable("--json", path)
    backends.get("cupy")
    if plan.tests:
        correctness.test_files()
    return measure(plan, path)


def measure(plan: Plan, path: str | None) -> int:
    """All sections in their order, independent of each other's failures; returns the status."""
    from . import machine, networks, peak_rates, profile, update  # they import CuPy, which is installed by now
    facts = machine.facts()
    print(machine.summary(facts), flush=True)
    report = Report(path, machine=facts, options=dataclasses.asdict(plan))
    correctness.measure(report, plan)
    peak_rates.measure(report, plan)
    networks.measure(report, plan)
    profile.measure(report, plan, peak_rates.copy_rate(report))
    update.measure(report, plan, peak_rates.copy_rate(report))
    report.judge(targets.judge_all(targets.GPU_TARGETS, report))
    return int(correctness.failed(report))
