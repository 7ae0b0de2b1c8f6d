"""What a classifier predicts for every image of a split, and how sure it is.

Used by: evaluate.py. Test: reference_tests/evaluation/test_outcome.py.
"""

import dataclasses
import math
from collections.abc import Callable
from time import perf_counter

import numpy as np

from ..backend import backend_of
from ..datasets import Loader, Split
from ..errors import InputError
from ..functional.activations import softmax
from ..functional.losses import softmax_cross_entropy
from ..functional.metrics import label_ranks
from ..training import Classifier
from ..training.trainer import TOP
from .inputs import ClassifierInputs


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of N images, in the order of the split. Classes are numbers of the model's outputs.

    numbers: int64 (N,), of the images in the split; labels, predictions: int64 (N,); confidences, label_probabilities:
    (N,), the probabilities of the predicted class and of the right one; is_in_top5: bool (N,), whether the right class
    is among the five most probable ones; loss: the mean cross-entropy; seconds: of reading and computing;
    waited_seconds: of these, waiting for images; bad_images: number -> error of the images that were left out.
    """

    numbers: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    label_probabilities: np.ndarray
    is_in_top5: np.ndarray
    loss: float
    seconds: float
    waited_seconds: float
    bad_images: dict[int, str]

    @property
    def is_correct(self) -> np.ndarray:
        """Bool (N,), whether the prediction is the label."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> float:
        """The share of images whose prediction is the label."""
        return float(np.mean(self.is_correct))

    @property
    def top5_accuracy(self) -> float:
        """The share of images whose label is among the five most probable classes."""
        return float(np.mean(self.is_in_top5))


def evaluate(classifier: Classifier, inputs: ClassifierInputs, batch_size: int, workers: int = 2,
             leaves_out: bool = False, on_batch: Callable[[int], object] | None = None) -> Outcome:
    """The Outcome of `classifier` on at least one image.

    batch_size: images at a time; workers: threads that decode; leaves_out: whether an image that cannot be read is left
    out, rather than being an error; on_batch: called with the number of images after every batch. With the batch size
    of training the numbers are those of its evaluation, to the last bit unless it computed in half precision.
    InputError for an image that cannot be read, and for logits or a loss that are not finite.
    """
    backend = backend_of(classifier.model.linear.weight.data)
    batches: list[tuple[np.ndarray, ...]] = []
    loss = 0.0
    count = 0
    started = perf_counter()
    with Loader(inputs, batch_size, workers=workers, leaves_out=leaves_out) as loader:
        for images, labels, numbers in loader.batches(range(len(inputs))):
            logits = classifier.logits(images)
            _check_finite(backend.to_numpy(logits), classifier, inputs.split, numbers)
            with backend.computing():
                loss += softmax_cross_entropy(logits, backend.asarray(labels)).item() * len(labels)
                columns = _columns(backend.to_numpy(logits), backend.to_numpy(softmax(logits)), labels)
            batches.append((numbers, *columns))
            count += len(labels)
            if on_batch is not None:
                on_batch(len(labels))
        seconds, waited = perf_counter() - started, loader.waited_seconds
        bad_images = loader.bad_images
    if not math.isfinite(loss):
        raise InputError("the mean loss is not finite: the differences of the model's logits are too large for "
                         f"{classifier.model.linear.weight.dtype}")
    numbers, labels, predictions, confidences, label_probabilities, is_in_top5 = (
        np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Outcome(numbers, labels, predictions, confidences, label_probabilities, is_in_top5, loss / count, seconds,
                   waited, bad_images)


def _columns(logits: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of the Outcome of a batch from labels to is_in_top5."""
    rows = np.arange(len(labels))
    predictions = logits.argmax(axis=1)
    return (labels, predictions, probabilities[rows, predictions], probabilities[rows, labels],
            label_ranks(logits, labels) < TOP)


def _check_finite(logits: np.ndarray, classifier: Classifier, split: Split, numbers: np.ndarray) -> None:
    """InputError, naming the weight or else the image, unless the logits of these images are finite."""
    is_finite = np.isfinite(logits).all(axis=1)
    if not is_finite.all():
        classifier.check_weights()
        raise InputError(f"{split.name(int(numbers[np.argmin(is_finite)]))}: the model's logits are not finite")
