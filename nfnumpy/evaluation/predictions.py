"""The probabilities of image files, decoded ahead on threads and computed in batches.

Used by: predict.py. Test: reference_tests/evaluation/test_predictions.py.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..backend import backend_of
from ..datasets import PIXEL_LIMIT
from ..errors import InputError
from ..functional.activations import softmax
from ..training import Classifier

PIXELS_IN_BATCH = 2**20  # bounds the memory of a batch, which grows with its pixels
MOST_IN_BATCH = 64  # above, little is gained


class Prediction(NamedTuple):
    """path: of the image, or of a folder that is in error; probabilities: (classes,) on the host, or the error."""

    path: str
    probabilities: np.ndarray | InputError


def default_batch_size(image_size: int) -> int:
    """How many images of `image_size` pixels to compute at a time: as many as have 2^20 pixels, at most 64."""
    return max(1, min(MOST_IN_BATCH, PIXELS_IN_BATCH // image_size**2))


def classify_files(classifier: Classifier, paths: Iterable[str | Prediction], batch_size: int, workers: int = 2,
                   max_pixels: int = PIXEL_LIMIT) -> Iterator[Prediction]:
    """A Prediction for every path, in order: `batch_size` images at a time, decoded ahead by `workers` threads.

    Never more than two batches are in memory. With batch_size=1 a prediction comes before the next path is asked for.
    An image in another batch has the same probabilities to rounding. A Prediction among the paths is passed on.
    Raises InputError when the model's weights are not finite.
    """
    window = 2 * batch_size if batch_size > 1 else 1
    tasks: deque[tuple[str, Future[np.ndarray | InputError]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="nfnumpy-predict")
    try:
        for path in paths:
            name = path if isinstance(path, str) else path.path
            tasks.append((name, pool.submit(_read, classifier, path, max_pixels)))
            if len(tasks) == window:
                yield from _classify(classifier, [tasks.popleft() for _ in range(batch_size)])
        while tasks:
            yield from _classify(classifier, [tasks.popleft() for _ in range(min(batch_size, len(tasks)))])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(classifier: Classifier, path: str | Prediction, max_pixels: int) -> np.ndarray | InputError:
    """The image (1, size, size, 3), or the error that says why there is none."""
    if isinstance(path, Prediction):
        return path.probabilities
    try:
        return classifier.read(path, max_pixels)
    except InputError as error:
        return error


def _classify(classifier: Classifier, tasks: list[tuple[str, "Future[np.ndarray | InputError]"]]) -> list[Prediction]:
    """The predictions of one batch."""
    results = [(path, task.result()) for path, task in tasks]
    images = [image for _, image in results if isinstance(image, np.ndarray)]
    rows = iter(_probabilities(classifier, np.concatenate(images)) if images else ())
    return [Prediction(path, image if isinstance(image, InputError) else _checked(next(rows), classifier, path))
            for path, image in results]


def _probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Host array (N, classes) of the softmax of the logits, NaN in the rows of logits that are not finite."""
    logits = classifier.logits(images)
    backend = backend_of(logits)
    with backend.computing():
        probabilities = backend.to_numpy(softmax(logits))
    return np.where(np.isfinite(backend.to_numpy(logits)).all(axis=1, keepdims=True), probabilities, np.nan)


def _checked(probabilities: np.ndarray, classifier: Classifier, path: str) -> np.ndarray | InputError:
    """The probabilities, or an InputError about the image if they are not numbers."""
    if not np.isnan(probabilities).any():
        return probabilities
    classifier.check_weights()
    return InputError(f"{path}: the model gives no finite probabilities for this image")
