"""Losses of training steps on CuPy: those of NumPy, and the same bits in two runs."""

import functools
from typing import Any

from ... import datasets, models
from ...training import TrainingOptions
from ...training.trainer import Trainer
from ..report import Report
from . import checks

# (dtype, rho of SAM, steps, greatest relative error of a step's loss)
RUNS = (("float32", None, 50, 1e-4), ("float64", None, 20, 1e-10), ("float32", 0.05, 50, 1e-4),
        ("float64", 0.05, 20, 1e-10))
REPEATED = ("float32", 0.05, 10)  # dtype, rho of SAM, steps of the two runs whose bits are compared

SECOND_RUNS: dict[str, dict[str, Any]] = {"twice": {}, "from a CUDA graph": {"cuda_graph": "on"}}


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "losses": a row for each of RUNS, and one for REPEATED."""
    with report.section("losses", "Losses of training steps on the digits, TF32 off") as section:
        for dtype, sam, steps, bound in RUNS:
            checks.check(section, f"beside NumPy's, {dtype}{_with(sam)}", functools.partial(
                compare_losses, dtype, sam, min(steps, plan.loss_steps), bound, plan.loss_batch))
        dtype, sam, steps = REPEATED
        for what, options in SECOND_RUNS.items():
            checks.check(section, f"the same bits {what}, {dtype}{_with(sam)}", functools.partial(
                compare_bits, dtype, sam, min(steps, plan.loss_steps), plan.loss_batch, options))


def _with(sam):
    return "" if sam is None else ", SAM"


def compare_losses(dtype: str, sam: float | None, steps: int, bound: float, batch_size: int) -> tuple[bool, str]:
    """(whether CuPy's losses of every step are within `bound` of NumPy's, the greatest error as a line)."""
    on_cupy = losses_of("cupy", dtype, sam, steps, batch_size)
    on_numpy = losses_of("numpy", dtype, sam, steps, batch_size)
    errors = [abs(a - b) / abs(b) for a, b in zip(on_cupy, on_numpy, strict=True)]
    return all(error <= bound for error in errors), \
        f"relative error {max(errors):.1e} in {steps} steps, allowed {bound:.0e}"


def compare_bits(dtype: str, sam: float | None, steps: int, batch_size: int,
                 options: dict[str, Any]) -> tuple[bool, str]:
    """(whether two runs on CuPy have the same losses to the last bit, the first step where they differ).

    options: those of TrainingOptions that only the second run has.
    """
    first = losses_of("cupy", dtype, sam, steps, batch_size)
    second = losses_of("cupy", dtype, sam, steps, batch_size, **options)
    differing = [step for step, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    return not differing, f"step {differing[0]} differs" if differing else f"all bits of {steps} losses"


def losses_of(backend: str, dtype: str, sam: float | None, steps: int, batch_size: int, **options: Any) -> list[float]:
    """The losses of the first steps on the digits, without TF32; options: further TrainingOptions."""
    dataset = datasets.open_dataset("digits")
    training_options = TrainingOptions(backend=backend, dtype=dtype, sam=sam, batch_size=batch_size, epochs=2,
                                       tf32="off", **options)
    trainer = Trainer(training_options, models.config_of(models.default_for(dataset.image_size)), dataset)
    order = range(steps * trainer.batch_size)
    with datasets.Loader(dataset.train, trainer.batch_size) as loader:
        batches = trainer.backend.prefetch_to_device(loader.batches(order))
        return [trainer.train_step(*batch).read()[0] for batch in batches]
