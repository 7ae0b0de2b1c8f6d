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
        return models.config_of(self.model, drop_rate=0.0, stochdepth_rate=0.0, **self.changes)

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
                                           epochs=10**6, label_smoothing=0.0, ema=None, **options)
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
    logits_error = numpy.linalg.norm(logits - other_logits) / numpy.linalg.norm(other_logits)
    return {"logits_error": float(logits_error), "loss_error": abs(loss - other_loss) / abs(other_loss)}
