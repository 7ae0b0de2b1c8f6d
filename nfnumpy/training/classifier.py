"""A network together with what its inputs and outputs mean, and how to bring it back from a file."""

import dataclasses

from .. import models, weights
from ..autograd import no_grad
from ..backend import backend_of, get
from ..datasets import imagenet_classes, read_image
from ..errors import InputError
from ..functional.activations import softmax
from . import checkpoint
from ..datasets.preprocessing import to_input

# How the authors evaluate: their released code resizes to 32 pixels more than the network sees and cuts the centre out.
MARGIN = 32
SMALLEST_WITH_MARGIN = 192  # pixels; our own small variants see their images whole


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model, the names of its classes, and how it sees pictures.

    image_size: the side in pixels of its square images; margin, squash: as datasets.read_image has them.
    """

    model: models.NormalizerFreeNetwork
    classes: tuple
    image_size: int
    margin: int = 0
    squash: bool = False

    def read(self, path):
        """The picture in the file at `path` as the model sees it: uint8 (1, image_size, image_size, 3)."""
        return read_image(path, self.image_size, self.margin, self.squash)[None]

    def probabilities(self, images):
        """Host array (N, classes) of the softmax of the logits, for uint8 images (N, H, W, 3) on the host."""
        weight = self.model.linear.weight
        backend = backend_of(weight.data)
        with no_grad():
            logits = self.model(to_input(images, backend, weight.dtype))
        probabilities = backend.to_numpy(softmax(logits.data))
        if not bool(backend.xp.isfinite(logits.data).all()):
            raise InputError("the network's weights give no finite probabilities for this image")
        return probabilities


def load_classifier(path, backend="numpy", averaged=True):
    """The classifier in the file at `path`: a checkpoint of ours, or weights of a named variant from anywhere.

    Of a checkpoint, with its averaged weights if it has them and `averaged` holds. InputError, one line, when the file
    does not fit together.
    """
    return (_from_checkpoint if weights.is_checkpoint(path) else _from_weights)(path, backend, averaged)


def _from_checkpoint(path, backend, averaged):
    """The classifier that a training run left."""
    groups, facts = checkpoint.load(path)
    try:
        config_class = {cls.__name__: cls for cls in models.CONFIGS}[facts["family"]]
        config = config_class(**facts["config"])
        classes, image_size, dtype = tuple(facts["classes"]), int(facts["image_size"]), facts["options"]["dtype"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the checkpoint's description of its model cannot be used "
                         f"({type(error).__name__}: {error})") from None
    if len(classes) != config.num_classes:
        raise InputError(f"{path}: {len(classes)} class names for {config.num_classes} classes")
    state = groups.get("ema" if averaged and "ema" in groups else "model", {})
    if len(state) < sum(config.depths):
        raise InputError(f"{path}: {len(state)} arrays are too few for a network of {sum(config.depths)} blocks")
    get(backend)
    model = models.from_config(config, shapes_only=True, backend=backend, dtype=dtype)
    model.load_state_dict(state)
    return Classifier(model, classes, image_size)


def _from_weights(path, backend, averaged):
    """The classifier whose weights alone are known: which variant it is, its shapes tell, and that tells the rest."""
    state = weights.load(path)
    try:
        variant, classes = models.variant_of(state), state["linear.bias"].shape[0]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    dtype = "float64" if state["linear.weight"].dtype == "float64" else "float32"
    get(backend)
    model = models.create(variant, num_classes=classes, shapes_only=True, backend=backend, dtype=dtype)
    model.load_state_dict(state, cast=True)  # half precision, or layers of several dtypes
    names = imagenet_classes() if classes == 1000 else tuple(f"class {k}" for k in range(classes))
    return Classifier(model, names, *evaluation_of(model.config))


def evaluation_of(config):
    """(image_size, margin, squash) of the authors' evaluation; only for NFNets do they give up proportions."""
    margin = MARGIN if config.test_size >= SMALLEST_WITH_MARGIN else 0
    return config.test_size, margin, bool(margin) and isinstance(config, models.NFNetConfig)
