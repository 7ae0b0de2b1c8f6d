"""`python -m nfnumpy.bench gpu`: is the GPU backend right, how fast is it, and how fast could it be?"""

import argparse
import dataclasses
import datetime
import os
import tempfile
import time
from typing import Any

from ... import backend as backends
from ...errors import InputError
from ...files import check_writable
from .. import targets
from ..report import Report, say
from . import checks, record, resume, supervisor
from .budget import TIMEOUT
from .parts import Part, named, parts_of
from .plan import QUICK, Plan, plan_of

BUDGET = 360.0  # seconds: a few parts less than everything, so that a short lease of a machine is enough
DESCRIPTION = """Prove the GPU backend on this machine and measure it beside PyTorch, the most important part first, as
long as the budget lasts. The file is rewritten after each part; a second run with the same file measures what is left.
Ends with the targets, each met, missed or not measured. Status 1 if anything is not right."""


def add_to(commands: Any) -> None:
    """Add `gpu` to the commands of `nfnumpy.bench`."""
    p = commands.add_parser("gpu", help="the GPU backend, beside PyTorch", description=DESCRIPTION,
                            argument_default=argparse.SUPPRESS)
    p.add_argument("--json", metavar="FILE", default=None,
                   help="write everything that was measured to FILE; the parts that it has are not measured again")
    p.add_argument("--budget", type=float, metavar="SECONDS", default=BUDGET,
                   help=f"parts that do not fit this time are left out (default: {BUDGET:.0f})")
    p.add_argument("--parts", metavar="NAMES", default=None, help="these parts alone, separated by commas")
    p.add_argument("--list", action="store_true", default=False, help="print the parts and their seconds, and end")
    p.add_argument("--models", metavar="NAMES",
                   help=f"networks, separated by commas; the first is profiled (default: {','.join(Plan.models)})")
    p.add_argument("--batch-size", type=int, metavar="B", help=f"images a step (default: {Plan.batch_size})")
    p.add_argument("--repeats", type=int, metavar="N", help=f"rounds of samples at most (default: {Plan.repeats})")
    p.add_argument("--cifar", metavar="PATH", help="CIFAR-10: a folder or .zip of train/CLASS/… and test/CLASS/…, or "
                                                   "an .npz of train_images, train_labels, test_images, test_labels")
    p.add_argument("--cifar-epochs", type=int, metavar="N",
                   help=f"epochs over it, fewer if time is short (default: {Plan.cifar_epochs})")
    p.add_argument("--quick", action="store_true", default=False,
                   help=f"does everything run? {QUICK.models[0]} in batches of {QUICK.batch_size}, no accuracy")
    p.add_argument("--no-tests", dest="tests", action="store_false",
                   help="leave out the property tests and compute-sanitizer")
    p.set_defaults(main=main)


def main(given: dict[str, Any]) -> int:
    """Measure what the flags (a dict) say; returns the status."""
    end = time.perf_counter() + given["budget"]
    path, seconds, names = given.pop("json"), given.pop("budget"), given.pop("parts")
    only_list = given.pop("list")
    plan = plan_of(given)
    parts = parts_of(plan) if names is None else named(parts_of(plan), names)
    if only_list:
        say("\n".join(_list(parts)))
        return 0
    if not 0.0 < seconds < float("inf"):
        raise InputError(f"--budget {seconds:g}: expected seconds above 0")
    if plan.cifar is not None and not os.path.exists(plan.cifar):
        raise InputError(f"--cifar {plan.cifar}: there is no such file or folder")
    check_writable("--json", path)
    backends.get("cupy")
    with tempfile.TemporaryDirectory() as folder:
        return measure(plan, parts, path or os.path.join(folder, "gpu.json"), end)


def _list(parts: list[Part]) -> list[str]:
    """A line for each part."""
    lines = [f"{'part':<20} seconds  what it measures"]
    for part in parts:
        missing = f" (left out: {part.missing})" if part.missing else ""
        lines.append(f"{part.name:<20} {part.seconds:7.0f}  {part.what}{missing}")
    return lines


def measure(plan: Plan, parts: list[Part], path: str, end: float) -> int:
    """Measure those of `parts` that the report at `path` does not have, and write it; returns the status.

    end: the time of time.perf_counter() when the budget ends.
    """
    from . import machine  # imports CuPy, which is installed by now
    facts = machine.facts()
    say(machine.summary(facts))
    at = datetime.datetime.now().astimezone().isoformat()
    options = dataclasses.asdict(plan)
    report, why_not = resume.earlier(path, facts, plan)
    if why_not:
        say(f"{path} is begun anew: {why_not}")
    if report is None:
        report = Report(path, machine=facts, options=options, parts={})
    report.facts["options"] = options
    names = [part.name for part in parts]
    todo = record.unfinished(report, names)
    if len(todo) < len(names):
        say(f"{path} has {', '.join(name for name in names if name not in todo)}")
    report.write()
    limits = {part.name: TIMEOUT * part.seconds for part in parts[:-1]}  # the last one may take what is left
    report = supervisor.measure(path, options, todo, end, at, limits)
    for name in names:
        entry = record.entries(report)[name]
        if entry["status"] != record.DONE:
            say(f"{name}: {entry['status']}: {entry['why']}")
    report.judge(targets.judge_all(targets.GPU_TARGETS, report))
    return int(not checks.is_right(report))
