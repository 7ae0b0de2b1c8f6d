"""A network together with what its inputs and outputs mean, and how to bring it back from a checkpoint."""

import dataclasses

from .. import models
from ..autograd import no_grad
from ..backend import backend_of, get
from ..errors import InputError
from ..functional.activations import softmax
from . import checkpoint
from .inputs import to_input


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model, the names of its classes, and the side in pixels of the square images it was trained on."""

    model: models.NormalizerFreeNetwork
    classes: tuple
    image_size: int

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
    """The classifier in the checkpoint at `path`, with its averaged weights if it has them and `averaged` holds.

    InputError, one line, when the file is not a checkpoint or does not fit together.
    """
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
    model = models.model_of(config, shapes_only=True, backend=backend, dtype=dtype)
    model.load_state_dict(state)
    return Classifier(model, classes, image_size)
