"""What both sides of a comparison work on: one configuration, one batch of random images, one set of weights."""

import dataclasses

import numpy

from .. import models
from ..errors import InputError

PRECISIONS = ("tf32", "bf16")  # of products; in bf16 the activations too
LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Problem:
    """A named NFNet, at its training size, without dropout and stochastic depth."""

    model: str
    batch: int
    precision: str

    @property
    def config(self):
        """The model's configuration, nothing dropped."""
        return models.variant(self.model, drop_rate=0.0, stochdepth_rate=0.0)

    @property
    def pixels(self):
        """Side of the images."""
        return self.config.train_size

    def images_and_labels(self):
        """uint8 (batch, pixels, pixels, 3) and int64 (batch,), the same every time."""
        random = numpy.random.default_rng(0)
        return (random.integers(0, 256, (self.batch, self.pixels, self.pixels, 3), dtype=numpy.uint8),
                random.integers(0, self.config.num_classes, self.batch))

    def facts(self):
        """What a row says about it."""
        return {"model": self.model, "pixels": self.pixels, "batch": self.batch, "precision": self.precision}


def check_models(names):
    """InputError unless all `names` are NFNets: the PyTorch side knows no other family."""
    for name in names:
        if not isinstance(models.variant(name), models.NFNetConfig):
            raise InputError(f"--models {name}: the comparison knows NFNets only, such as nfnet_f0")
