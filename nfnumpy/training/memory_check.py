"""Before the first step: whether the memory that a run takes is there, and what to change if it is not.

Used by: training/run.py. Test: reference_tests/training/test_memory.py.
"""

from typing import Any

from .. import backend as backends
from ..datasets import Dataset
from ..errors import InputError
from .options import TrainingOptions
from .progress import log
from .step_memory import MemoryPrediction

TOLERANCE = 0.2  # of the prediction; see docs/training.md for what was measured


def check_memory(options: TrainingOptions, model_name: str, config: Any, dataset: Dataset) -> None:
    """Log a line if the memory of a run may not suffice; InputError if it surely does not.

    config: of the model called `model_name`. options.memory_check "off" leaves the check out, and so does a system that
    does not tell how much memory is available.
    """
    if options.memory_check == "off":
        return
    backend = backends.get(options.backend)
    available = backend.available_memory()
    if available is None:
        return
    prediction = MemoryPrediction(config, dataset.image_size, options.dtype, is_on_host=backend.name == "numpy",
                                  half_precision=options.precision is not None, sam=options.sam is not None,
                                  ema=options.ema is not None, freeze=options.freeze, optimizer=options.optimizer)
    batch_size = min(options.batch_size, len(dataset.train))
    needed = prediction.of_batch(batch_size).total
    if needed * (1.0 + TOLERANCE) <= available:
        return
    images = f"{batch_size} images of {dataset.image_size} px a step"
    what = f"training {model_name} with {images} takes about {gigabytes(needed)}"
    there = f"{gigabytes(available)} of memory are available"
    change = _change(prediction, batch_size, available)
    if needed * (1.0 - TOLERANCE) <= available:
        log(f"{what}, and {there}: {change}")
        return
    raise InputError(f"{what}, but {there}: {change}; --memory-check off starts all the same")


def _change(prediction: MemoryPrediction, batch_size: int, available: int) -> str:
    """What to change, in words: the batch size, halved until the prediction surely fits, if that is enough."""
    smaller = batch_size // 2
    while smaller:
        needed = prediction.of_batch(smaller).total
        if needed * (1.0 + TOLERANCE) <= available:
            return f"--batch-size {smaller} would take {gigabytes(needed)}, a smaller --image-size or --model less, too"
        smaller //= 2
    return "a smaller --model or --image-size takes less"


def gigabytes(size: int) -> str:
    """Bytes in words: "0.35 GB", "5.1 GB", "14 GB"."""
    value = size / 1e9
    return f"{value:.0f} GB" if value >= 10.0 else f"{value:.2g} GB"
