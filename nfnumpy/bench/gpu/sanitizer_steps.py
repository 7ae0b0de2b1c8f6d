"""A few training steps that launch every kernel, to run under compute-sanitizer.

Every array is an allocation of its own: with CuPy's pool, which hands out parts of large ones, a kernel could write
past the end of an array unnoticed.
"""

import dataclasses
from collections.abc import Iterable

import cupy
import numpy

from ... import datasets, models
from ...training import TrainingOptions
from ...training.trainer import Trainer

MODELS = ("nfnet_8px", "nf_resnet_32px", "nf_regnet_32px")
KINDS = ({"sam": 0.05}, {"sam": 0.05, "sam_fraction": 0.5, "precision": "bf16"}, {"precision": "fp16"},
         {"dtype": "float64"})
IMAGES = 3  # an odd number


def run(names: Iterable[str] = MODELS) -> None:
    """Two steps and an evaluation of every model, in every kind of arithmetic."""
    cupy.cuda.set_allocator(None)
    random = numpy.random.default_rng(0)
    for name in names:
        config = dataclasses.replace(models.config_of(name), drop_rate=0.2, stochdepth_rate=0.5)
        images = random.integers(0, 256, (IMAGES, config.train_size, config.train_size, 3), dtype=numpy.uint8)
        split = datasets.ArraySplit(images, random.integers(0, config.num_classes, IMAGES))
        dataset = datasets.Dataset("random images", tuple("0123456789"), config.train_size, split, split)
        for kind in KINDS:
            trainer = Trainer(TrainingOptions(backend="cupy", batch_size=IMAGES, lr=1e-3, **kind), config, dataset)
            batch = images, split.labels
            for uploaded in trainer.backend.prefetch_to_device([batch, batch]):
                metrics = trainer.train_step(*uploaded)
            trainer.evaluate([batch])
            print(name, kind, "loss", metrics.read()[0], flush=True)


if __name__ == "__main__":
    run()
