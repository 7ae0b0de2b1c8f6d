"""The handwritten digits that come with the project, so that everything can be tried without a download."""

from importlib.resources import files
from pathlib import Path

from .idx import open_idx
from ..errors import InputError


def open_digits(image_size=None):
    """The 1,797 digits of UCI, 8x8 grey, as a Dataset of ten classes: 1,438 to train, 359 to test.

    They are resized when `image_size` (pixels) is given. Raises InputError when the installation lacks them.
    """
    return open_idx(_digits_directory(), image_size, name="digits")


def _digits_directory():
    # A wheel carries the files inside the package; a checkout, installed as editable or not, beside it.
    inside = Path(str(files("nfnumpy"))) / "data" / "digits"
    beside = Path(__file__).resolve().parents[2] / "data" / "digits"
    for directory in (inside, beside):
        if directory.is_dir():
            return directory
    raise InputError(f"the embedded digits are in neither {inside} nor {beside}; install nfnumpy again")
