"""A network with the meaning of its inputs and outputs: how images are prepared, and the names of the classes."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import models, weights
from ..autograd import no_grad
from ..backend import backend_of, get
from ..backend.arrays import Array
from ..datasets import PIXEL_LIMIT, EvalTransform, checked_image_size, imagenet_classes, read_image, to_input
from ..datasets.preprocessing import IMAGENET, NORMALIZATIONS, Normalization
from ..datasets.reading import CROP_MARGIN, MARGINS, SMALLEST_WITH_MARGIN
from ..errors import InputError
from ..functional.activations import softmax
from . import checkpoint
from .options import TrainingOptions


class RunFacts(NamedTuple):
    """What a checkpoint says about its weights.

    averaged: whether they are the averaged ones; image_size: pixels of the training images; batch_size: how many images
    the run evaluated at a time; options: of the run, as they are stored, unchecked.
    """

    averaged: bool
    image_size: int
    batch_size: int
    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model, the names of its classes, and how pictures are resized, cut and normalized for it.

    run: the facts of a checkpoint; None of weights alone, whose classes have no stored names.
    """

    model: models.ImageClassifier
    classes: tuple[str, ...]
    transform: EvalTransform
    run: RunFacts | None = None
    normalization: Normalization = IMAGENET

    def read(self, path: str | os.PathLike[str], max_pixels: int = PIXEL_LIMIT) -> np.ndarray:
        """The picture in the file at `path`, resized and cut for the model: uint8 (1, image_size, image_size, 3)."""
        return read_image(path, *self.transform, max_pixels=max_pixels)[None]

    def with_image_size(self, image_size: int) -> "Classifier":
        """The same classifier for images of another size in pixels."""
        return dataclasses.replace(self, transform=self.transform._replace(image_size=image_size))

    def with_normalization(self, name: str | None) -> "Classifier":
        """The same classifier for images that are normalized as NORMALIZATIONS has it; itself for None."""
        return self if name is None else dataclasses.replace(self, normalization=NORMALIZATIONS[name])

    def folded(self) -> "Classifier":
        """The same classifier with its network folded for evaluation; weights that are not finite are an InputError."""
        self.check_weights()
        return dataclasses.replace(self, model=models.folded(self.model))

    def logits(self, images: np.ndarray) -> Array:
        """The logits (N, classes), on the model's backend, of uint8 images (N, H, W, 3) on the host."""
        weight = self.model.linear.weight
        backend = backend_of(weight.data)
        with no_grad(), backend.computing():
            return self.model(to_input(images, backend, weight.dtype, self.normalization)).data

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Host array (N, classes) of the softmax of the logits, for uint8 images (N, H, W, 3) on the host.

        InputError when a logit is infinite or not a number.
        """
        logits = self.logits(images)
        backend = backend_of(logits)
        if not bool(backend.xp.isfinite(logits).all()):
            raise InputError("the network's weights give no finite probabilities for this image")
        with backend.computing():
            return backend.to_numpy(softmax(logits))

    def check_weights(self) -> None:
        """InputError, naming the first, when a weight is infinite or not a number."""
        for name, array in self.model.state_dict().items():
            if not bool(backend_of(array).xp.isfinite(array).all()):
                raise InputError(f"the model's {name} is not finite: expected numbers that are")


def load_classifier(path: str | os.PathLike[str], backend: str = "numpy", averaged: bool = True) -> Classifier:
    """The classifier in the file at `path`: a checkpoint of nfnumpy, or weights of a named variant in any known format.

    averaged: whether a checkpoint's averaged weights are taken, if it has them. InputError, one line, when the parts of
    the file do not fit together.
    """
    if weights.is_checkpoint(path):
        return _from_checkpoint(path, backend, averaged)
    return _from_weights(path, backend)


def _from_checkpoint(path: str | os.PathLike[str], backend: str, averaged: bool) -> Classifier:
    """The classifier in a checkpoint."""
    groups, facts = checkpoint.load(path)
    try:
        config_class = {cls.__name__: cls for cls in models.CONFIGS}[facts["family"]]
        config = config_class(**facts["config"])
        classes = tuple(facts["classes"])
        dtype = facts["options"].get("dtype", TrainingOptions.dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the checkpoint's description of its model cannot be used "
                         f"({type(error).__name__}: {error})") from None
    if not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path}: the checkpoint's names of classes are not text")
    if len(classes) != config.num_classes:
        raise InputError(f"{path}: {len(classes)} class names for {config.num_classes} classes")
    group = "ema" if averaged and "ema" in groups else "model"
    state = groups.get(group, {})
    blocks = sum(getattr(config, "depths", (getattr(config, "expanded_modules", 0),)))  # Inception v3 has no depths
    if len(state) < blocks:
        raise InputError(f"{path}: {len(state)} arrays are too few for a network of {blocks} blocks")
    get(backend)
    model = models.from_config(config, shapes_only=True, backend=backend, dtype=dtype)
    model.load_state_dict(state)
    run = RunFacts(group == "ema", checked_image_size(facts["image_size"]), _batch_size(facts), facts["options"])
    return Classifier(model, classes, _stored_transform(path, facts), run)


def _stored_transform(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> EvalTransform:
    """How the run that wrote a checkpoint prepared its test images; InputError for what no run does."""
    if "evaluation" not in facts:
        return EvalTransform(facts["image_size"])  # as all runs of older versions did
    stored = facts["evaluation"]
    kinds = [type(value) for value in stored] if isinstance(stored, list) else []
    if kinds != [int, int, bool] or stored[1] not in MARGINS:
        raise InputError(f"{path}: the checkpoint's 'evaluation' has a wrong type or value")
    return EvalTransform(checked_image_size(stored[0]), *stored[1:])


def _batch_size(facts: Mapping[str, Any]) -> int:
    """How many images the run of a checkpoint evaluated at a time: `--batch-size`, or all training images if fewer."""
    sizes = (facts["options"].get("batch_size", TrainingOptions.batch_size), facts.get("training_images"))
    return min((size for size in sizes if type(size) is int and size > 0), default=TrainingOptions.batch_size)


def _from_weights(path: str | os.PathLike[str], backend: str) -> Classifier:
    """The classifier for weights alone. Their shapes determine the variant, which determines everything else."""
    state = weights.load(path)
    try:
        variant = models.variant_of(state)
        classes = state["linear.bias"].shape[0]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    dtype = "float64" if state["linear.weight"].dtype == "float64" else "float32"
    get(backend)
    model = models.create(variant, num_classes=classes, shapes_only=True, backend=backend, dtype=dtype)
    model.load_state_dict(state, cast=True)  # half precision, or layers of several dtypes
    names = imagenet_classes() if classes == 1000 else tuple(f"class {k}" for k in range(classes))
    normalization = NORMALIZATIONS[getattr(model.config, "NORMALIZATION", "imagenet")]
    return Classifier(model, names, eval_transform(model.config), normalization=normalization)


def eval_transform(config: Any) -> EvalTransform:
    """How the authors' released code prepares images for the evaluation of a model with this configuration."""
    if config.test_size < SMALLEST_WITH_MARGIN:
        return EvalTransform(config.test_size)
    margin = getattr(config, "EVAL_MARGIN", CROP_MARGIN)
    return EvalTransform(config.test_size, margin, config.EVAL_KEEPS_ASPECT)
