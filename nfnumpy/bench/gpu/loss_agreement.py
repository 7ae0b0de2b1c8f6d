"""Losses of training steps on CuPy beside those on NumPy."""

from ... import datasets, models
from ...training import TrainingOptions
from ...training.trainer import Trainer

# (dtype, rho of SAM, steps, greatest relative error of a step's loss)
RUNS = (("float32", None, 50, 1e-4), ("float32", 0.05, 50, 1e-4), ("float64", None, 20, 1e-10),
        ("float64", 0.05, 20, 1e-10))


def compare_losses(dtype: str, sam: float | None, steps: int, bound: float, batch_size: int) -> tuple[bool, str]:
    """(whether CuPy's losses of every step are within `bound` of NumPy's, the greatest error as a line)."""
    on_cupy = losses_of("cupy", dtype, sam, steps, batch_size)
    on_numpy = losses_of("numpy", dtype, sam, steps, batch_size)
    errors = [abs(a - b) / abs(b) for a, b in zip(on_cupy, on_numpy, strict=True)]
    return all(error <= bound for error in errors), \
        f"relative error {max(errors):.1e} in {steps} steps, allowed {bound:.0e}"


def losses_of(backend: str, dtype: str, sam: float | None, steps: int, batch_size: int) -> list[float]:
    """The losses of the first steps on the digits, without TF32."""
    dataset = datasets.open_dataset("digits")
    options = TrainingOptions(backend=backend, dtype=dtype, sam=sam, batch_size=batch_size, epochs=2, tf32="off")
    trainer = Trainer(options, models.config_of(models.default_for(dataset.image_size)), dataset)
    order = range(steps * trainer.batch_size)
    with datasets.Loader(dataset.train, trainer.batch_size) as loader:
        batches = trainer.backend.prefetch_to_device(loader.batches(order))
        return [trainer.train_step(*batch).read()[0] for batch in batches]
