"""What `python -m nfnumpy.bench cpu` measures, and in which order."""

import argparse
import dataclasses
import os
from typing import Any

from ... import models
from ...errors import InputError
from ...files import check_writable
from .. import targets
from ..plots import draw_all
from ..report import Report
from . import data_loading, machine, networks, operations, peak_rates, scaling, update

DESCRIPTION = """Measure nfnumpy on this processor beside PyTorch, pair by pair: training steps, inference and memory
of whole networks, clipping and update alone, operations at the shapes where they matter, scaling with batch, resolution
and depth, and how long training waits for decoded images. Ends with the targets, each met or missed, and leaves
pictures beside FILE. Status 1 if two implementations compute different things. NFNUMPY_THREADS sets the threads."""
BUSY = 0.5  # cores; more than that beside the measurement are worth a line
SMALL_IMAGES = 64  # pixels: up to here, batches are large


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured. repeats: rounds, with a turn for each implementation; plain_repeats: of reference mode."""

    models: tuple = ("nfnet_f0", "nf_resnet50", "nf_regnet_b0", "nfnet_32px", "nf_resnet_32px", "nf_regnet_32px",
                     "resnet50", "efficientnet_b0")
    repeats: int = 5
    plain_repeats: int = 1
    pause: float = 0.25  # seconds
    turn_milliseconds: float = 1000.0  # of calls in a row that count, if one does not take longer
    large_images_batch: int = 8
    small_images_batch: int = 128
    copy_bytes: int = 1 << 29
    product_size: int = 3072
    update_model: str = "nfnet_f0"
    operations_shrunk: int = 1  # by how much their batches are divided
    operation_milliseconds: float = 20.0  # of a sample, for which short ones are repeated
    scaling: tuple = ("nfnet_32px", 16, 4)  # model, smallest batch, points
    loading_cases: tuple = (("nfnet_f0", 8, 4, 500), ("nfnet_32px", 128, 8, 96))  # model, batch, steps, JPEG's pixels

    def batch_of(self, model: str) -> int:
        """Images of a step."""
        small = models.config_of(model).train_size <= SMALL_IMAGES
        return self.small_images_batch if small else self.large_images_batch


QUICK = Plan(models=("nfnet_8px",), repeats=1, pause=0.0, turn_milliseconds=0.0, small_images_batch=4,
             copy_bytes=1 << 22, product_size=256, update_model="nfnet_8px", operations_shrunk=128,
             operation_milliseconds=0.0, scaling=("nfnet_8px", 2, 2),
             loading_cases=(("nfnet_8px", 4, 2, 16),))
PARTS = {"peaks": peak_rates, "networks": networks, "update": update, "operations": operations, "scaling": scaling,
         "loading": data_loading}
SECTIONS = tuple(PARTS)


def add_to(commands: Any) -> None:
    """Add `cpu` to the commands of `nfnumpy.bench`."""
    p = commands.add_parser("cpu", help="this processor, beside PyTorch", description=DESCRIPTION,
                            argument_default=argparse.SUPPRESS)
    p.add_argument("--json", metavar="FILE", default=None, help="write everything that was measured to FILE")
    p.add_argument("--models", metavar="NAMES",
                   help=f"networks, separated by commas (default: {','.join(Plan.models)})")
    p.add_argument("--repeats", type=int, metavar="N", help=f"rounds of samples (default: {Plan.repeats})")
    p.add_argument("--only", nargs="+", metavar="SECTION", default=list(SECTIONS),
                   help=f"measure these alone, of {', '.join(SECTIONS)}")
    p.add_argument("--quick", action="store_true", default=False,
                   help=f"does everything run? {QUICK.models[0]}, one round, small arrays")
    p.set_defaults(main=main)


def plan_of(given: dict[str, Any]) -> Plan:
    """The Plan of the flags, a dict; InputError for what cannot be measured."""
    base = QUICK if given.pop("quick") else Plan()
    if "models" in given:
        given["models"] = tuple(given["models"].split(","))
    plan = dataclasses.replace(base, **given)
    if plan.repeats < 1:
        raise InputError(f"--repeats {plan.repeats}: expected a whole number above 0")
    for model in plan.models:
        models.config_of(model)
    return plan


def main(given: dict[str, Any]) -> int:
    """Measure what the flags (a dict) say; returns the status."""
    path = given.pop("json")
    sections = given.pop("only")
    for section in sections:
        if section not in SECTIONS:
            raise InputError(f"--only {section}: expected some of {', '.join(SECTIONS)}")
    plan = plan_of(given)
    check_writable("--json", path)
    return measure(plan, path, sections)


def measure(plan: Plan, path: str | None, sections: tuple[str, ...] = SECTIONS) -> int:
    """These sections in the order of SECTIONS, independent of each other's failures; returns the status."""
    facts = machine.facts()
    print(machine.summary(facts), flush=True)
    if (facts["load"] or 0.0) > BUSY:
        print(f"in the last minute {facts['load']:.1f} cores were busy: times are of use when nothing else runs")
    report = Report(path, machine=facts, options=dataclasses.asdict(plan))
    for name, part in PARTS.items():
        if name in sections:
            part.measure(report, plan)
    report.judge(targets.judge_all(targets.cpu_targets(plan), report))
    if path is not None:
        draw_all(report, os.path.splitext(path)[0])
    return int(networks.failed(report))
