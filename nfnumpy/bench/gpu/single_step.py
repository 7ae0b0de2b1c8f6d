"""A training step and an evaluation of a small network with dropout and stochastic depth, in any arithmetic."""

from typing import Any

import numpy

from ... import datasets, models
from ...training import TrainingOptions
from ...training.trainer import Trainer

FIRST = "nfnet_8px"
IMAGES = 3  # an odd number


def step(name: str, kind: dict[str, Any]) -> float:
    """The loss of a step of that variant; kind: TrainingOptions. NotFinite for a loss that is not finite."""
    random = numpy.random.default_rng(0)
    config = models.config_of(name, drop_rate=0.2, stochdepth_rate=0.5)
    images = random.integers(0, 256, (IMAGES, config.train_size, config.train_size, 3), dtype=numpy.uint8)
    split = datasets.ArraySplit(images, random.integers(0, config.num_classes, IMAGES))
    classes = tuple(map(str, range(config.num_classes)))
    dataset = datasets.Dataset("random images", classes, config.train_size, split, split)
    trainer = Trainer(TrainingOptions(backend="cupy", batch_size=IMAGES, lr=1e-3, **kind), config, dataset)
    batch = images, split.labels
    for uploaded in trainer.backend.prefetch_to_device([batch]):
        metrics = trainer.train_step(*uploaded)
    trainer.evaluate([batch])
    return metrics.read().loss
