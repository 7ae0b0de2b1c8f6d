"""What both sides of a comparison work on: one configuration, one batch of random images, one set of weights."""

import dataclasses

import numpy

from .. import datasets, models
from ..errors import InputError
from ..training import TrainingOptions
from ..training.trainer import Trainer

PRECISIONS = ("tf32", "bf16")  # of products on a GPU; in bf16 the activations too
LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Problem:
    """A named variant at its training size, without dropout and stochastic depth.

    changes: fields of the configuration that differ from the variant's, a dict.
    """

    model: str
    batch: int
    precision: str = "float32"
    changes: dict = dataclasses.field(default_factory=dict)

    @property
    def config(self):
        """The model's configuration, nothing dropped."""
        return models.config_of(self.model, drop_rate=0.0, stochdepth_rate=0.0, **self.changes)

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

    def session(self, images, labels, **options):
        """A training session of this network on host arrays; `options` as TrainingOptions has them.

        What would hide the network from its loss is not as at its start, where it is 0: the skip gains, and the last
        weight of an NF-RegNet.
        """
        split = datasets.ArraySplit(images, labels)
        classes = tuple(map(str, range(self.config.num_classes)))
        session = Trainer(TrainingOptions(model=self.model, batch_size=self.batch, lr=LEARNING_RATE, warmup_epochs=0.0,
                                          epochs=10**6, label_smoothing=0.0, ema=None, **options),
                          self.config, datasets.Dataset("random images", classes, self.pixels, split, split))
        for name, parameter in session.model.parameters().items():
            if name.endswith("skip_gain"):
                parameter.data.fill(1.0)
            elif name == "linear.weight" and not parameter.data.any():
                draws = numpy.random.default_rng(1).standard_normal(parameter.shape)
                parameter.data[...] = session.backend.asarray(0.01 * draws, dtype=parameter.dtype)
        return session


def random_gradients(shapes):
    """float32 arrays of these shapes, the same every time, some of which adaptive gradient clipping shortens."""
    random = numpy.random.default_rng(1)
    return [numpy.asarray(1e-2 * random.standard_normal(shape), dtype=numpy.float32) for shape in shapes]


def apart(answer, other):
    """{logits_apart, loss_apart}: how far two first answers (logits, loss) are apart, relative to the other."""
    (logits, loss), (other_logits, other_loss) = answer, other
    return {"logits_apart": float(numpy.linalg.norm(logits - other_logits) / numpy.linalg.norm(other_logits)),
            "loss_apart": abs(loss - other_loss) / abs(other_loss)}


def check_models(names):
    """InputError unless all `names` are NFNets: the PyTorch side on the GPU knows no other family."""
    for name in names:
        if not isinstance(models.config_of(name), models.NFNetConfig):
            raise InputError(f"--models {name}: the comparison knows NFNets only, such as nfnet_f0")
