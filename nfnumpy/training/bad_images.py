"""bad_images.txt in the folder of a run: a line for every picture that could not be read, with the reason.

Used by: epochs.py. Test: reference_tests/training/test_data_options.py.
"""

from collections.abc import Iterable

from ..cli import printable
from ..files import atomic_write
from .progress import log
from .run_folder import BAD_IMAGES, RunFolder


class BadImagesFile:
    """The file, which is there once a picture could not be read; a resumed run adds to it."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.file(BAD_IMAGES)
        self.lines: dict[str, None] = {}
        if folder.has(BAD_IMAGES):
            with open(self.path, encoding="utf-8", errors="replace") as file:
                self.lines = dict.fromkeys(file.read().splitlines())

    def add(self, errors: Iterable[str]) -> None:
        """Add the errors that are not in the file yet."""
        new = [line for line in map(printable, errors) if line not in self.lines]
        if new:
            self.lines.update(dict.fromkeys(new))
            atomic_write(self.path, "".join(f"{line}\n" for line in self.lines).encode("utf-8"))

    def log(self) -> None:
        """Say how many there are, if there are any."""
        if self.lines:
            log(f"pictures left out, because they could not be read: {len(self.lines)}, see {self.path}; the first: "
                f"{next(iter(self.lines))}")
