"""Whole networks: one configuration, one batch of random images, one set of weights for all implementations."""

import dataclasses
from typing import Any

import numpy

from ... import datasets, models
from ...training import TrainingOptions
from ...training.trainer import Trainer

PRECISIONS = ("tf32", "bf16")  # of products on a GPU; in bf16 the activations too
LEARNING_RATE = 1e-3
WORKS = ("inference", "training")  # in this order: where peaks cannot be reset, that of inference comes first
FOLDED = "folded"  # inference with batch normalization made a part of the convolutions


@dataclasses.dataclass(frozen=True)
class NetworkCase:
    """A named variant at its training size, without dropout and stochastic depth.

    batch: images; changes: fields of the configuration that differ from the variant's, a dict.
    """

    model: str
    batch: int
    precision: str = "float32"
    changes: dict = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> Any:
        """The model's configuration, without dropout and stochastic depth."""
        own = {field.name for field in dataclasses.fields(models.config_of(self.model))}
        rates = dict.fromkeys(own & {"drop_rate", "stochdepth_rate"}, 0.0)
        return models.config_of(self.model, **rates, **self.changes)

    @property
    def is_normalizer_free(self) -> bool:
        """Whether the network is one of those the papers train with adaptive gradient clipping."""
        return isinstance(self.config, models.NORMALIZER_FREE)

    @property
    def clipping(self) -> float | None:
        """AGC's lambda, or None, as for networks with batch normalization."""
        return 0.01 if self.is_normalizer_free else None

    @property
    def works(self) -> tuple[str, ...]:
        """What is measured, in this order: WORKS, and FOLDED where there is batch normalization."""
        inference, training = WORKS
        return WORKS if self.is_normalizer_free else (inference, FOLDED, training)

    @property
    def pixels(self) -> int:
        """Side of the images."""
        return self.config.train_size

    def images_and_labels(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """uint8 (batch, pixels, pixels, 3) and int64 (batch,), the same every time."""
        random = numpy.random.default_rng(0)
        images = random.integers(0, 256, (self.batch, self.pixels, self.pixels, 3), dtype=numpy.uint8)
        return images, random.integers(0, self.config.num_classes, self.batch)

    def facts(self) -> dict[str, Any]:
        """The columns of a row that describe this case."""
        return {"model": self.model, "pixels": self.pixels, "batch": self.batch, "precision": self.precision}

    def trainer(self, images: numpy.ndarray, labels: numpy.ndarray, **options: Any) -> Trainer:
        """A trainer of this network on host arrays; `options` as TrainingOptions has them.

        Parameters that start at 0 and would hide the network from its loss are not 0 here: skip gains are 1, and the
        last weight of an NF-RegNet is small and random.
        """
        split = datasets.ArraySplit(images, labels)
        classes = tuple(map(str, range(self.config.num_classes)))
        training_options = TrainingOptions(model=self.model, batch_size=self.batch, lr=LEARNING_RATE, warmup_epochs=0.0,
                                           epochs=10**6, label_smoothing=0.0, ema=None, agc=self.clipping, **options)
        dataset = datasets.Dataset("random images", classes, self.pixels, split, split)
        trainer = Trainer(training_options, self.config, dataset)
        for name, parameter in trainer.model.parameters().items():
            if name.endswith("skip_gain"):
                parameter.data.fill(1.0)
            elif name == "linear.weight" and not parameter.data.any():
                draws = numpy.random.default_rng(1).standard_normal(parameter.shape)
                parameter.data[...] = trainer.backend.asarray(0.01 * draws, dtype=parameter.dtype)
        return trainer


def section_of(model: str) -> str:
    """The name of a model's section in the CPU's report."""
    return f"network {model}"


def relative_errors(answer: tuple[numpy.ndarray, float], other: tuple[numpy.ndarray, float]) -> dict[str, float]:
    """{logits_error, loss_error}: the distance of two first answers (logits, loss), relative to the other."""
    (logits, loss), (other_logits, other_loss) = answer, other
    return {"logits_error": logits_error(logits, other_logits), "loss_error": abs(loss - other_loss) / abs(other_loss)}


def logits_error(logits: numpy.ndarray, other: numpy.ndarray) -> float:
    """The distance of two arrays of logits, relative to the other."""
    return float(numpy.linalg.norm(logits - other) / numpy.linalg.norm(other))
