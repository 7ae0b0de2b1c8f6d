"""The handwritten digits that come with the project: training and examples need no download."""

from .dataset import Dataset
from .embedded import embedded_directory
from .idx import open_idx


def open_digits(image_size: int | None = None) -> Dataset:
    """The 1,797 digits of UCI, 8x8 grey, as a Dataset of ten classes: 1,438 to train, 359 to test.

    They are resized when `image_size` (pixels) is given. Raises InputError when the installation lacks them.
    """
    return open_idx(embedded_directory("digits", "the embedded digits"), image_size, name="digits")
