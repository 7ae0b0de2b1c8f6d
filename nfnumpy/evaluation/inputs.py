"""The images of a split as a classifier gets them.

Used by: outcome.py, files.py. Test: reference_tests/evaluation/test_outcome.py.
"""

from collections.abc import Sequence

import numpy as np

from ..datasets import EvalTransform, Examples, Split, resize_image
from ..errors import InputError


class ClassifierInputs(Examples):
    """The images of `split`, resized and cut as `transform` says, with the model's outputs and numbers as targets.

    outputs: int64 (classes of the data,), the model's output for each class, as match_classes finds it; None where
    labels are numbers of outputs. InputError if the split has images of another size than the transform.
    """

    def __init__(self, split: Split, transform: EvalTransform, outputs: np.ndarray | None = None) -> None:
        if split.image_size != transform.image_size:
            raise InputError(f"the split has images of {split.image_size} px, the classifier expects "
                             f"{transform.image_size} px")
        self.split = split
        self.transform = transform
        self.outputs = outputs
        self.image_size = transform.image_size
        self.is_read_as_it_is = transform == split.transform
        self.needs_decoding = split.needs_decoding or not self.is_read_as_it_is

    def __len__(self) -> int:
        return len(self.split)

    def take(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images with these numbers, uint8 (n, image_size, image_size, 3)."""
        if self.is_read_as_it_is:
            return self.split.take(numbers)
        images = np.empty((len(numbers), self.image_size, self.image_size, 3), np.uint8)
        for position, number in enumerate(numbers):
            images[position] = resize_image(self.split.read_whole(number), *self.transform)
        return images

    def targets(self, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        """(outputs int64 (n,) of the classes of the images with these numbers, the numbers)."""
        labels = self.split.labels[numbers]
        return labels if self.outputs is None else self.outputs[labels], numbers
