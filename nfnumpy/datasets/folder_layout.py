"""Where the training and the test pictures of a folder are.

DIR/train/CLASS/… and DIR/test/CLASS/…, whose names may be in any case, or DIR/CLASS/… alone, of which a share is
drawn for testing.

Used by: folder.py. Test: reference_tests/datasets/test_folder.py.
"""

import os
from dataclasses import dataclass

from ..errors import InputError

TRAIN = "train"
TEST_NAMES = ("test", "val", "valid", "validation")  # the first that is there is read


@dataclass(frozen=True)
class Layout:
    """The folder whose sub-folders are the classes to train on, that of the test, or None, and remarks for a log.

    Both are the same where there is nothing to train on.
    """

    train: str
    test: str | None
    remarks: tuple[str, ...] = ()


def layout_of(directory: str | os.PathLike[str], test_share: float | None, needs_training: bool = True) -> Layout:
    """The layout of the folder `directory`.

    With a `test_share` the test pictures are drawn from the training pictures, whatever other folders there are.
    InputError where there is nothing to train on, unless that is not needed, or nothing to test on.
    """
    directory = os.fspath(directory)
    folders = _sub_folders(directory)
    train = _named(directory, folders, TRAIN)
    tests = [found for name in TEST_NAMES if (found := _named(directory, folders, name)) is not None]
    if train is None and tests and (needs_training or test_share is not None):
        raise InputError(f"{os.path.join(directory, TRAIN)}: expected a folder with one sub-folder for each class, "
                         f"beside {tests[0]}")
    if train is None and not folders:
        raise InputError(f"{directory}: has no sub-folders, expected {TRAIN} and test, or one for each class")
    if test_share is None and not tests:
        raise InputError(f"{directory}: has no folder {', '.join(TEST_NAMES[:-1])} or {TEST_NAMES[-1]} to test on; "
                         f"--test-share 0.1 draws a tenth of every class's pictures for that")
    unread = tests if test_share is not None else tests[1:]
    remarks = (f"not read: {', '.join(unread)} in {directory}",) if unread else ()
    if test_share is not None:
        return Layout(directory if train is None else os.path.join(directory, train), None, remarks)
    return Layout(os.path.join(directory, train or tests[0]), os.path.join(directory, tests[0]), remarks)


def _sub_folders(directory: str) -> list[str]:
    """The names of the folders in `directory` that are not hidden."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: expected a folder that can be read: {error}") from error


def _named(directory: str, folders: list[str], name: str) -> str | None:
    """The folder called `name` in any case; None if there is none. InputError if there are several."""
    found = [folder for folder in folders if folder.lower() == name]
    if len(found) > 1:
        raise InputError(f"{directory}: has the folders {' and '.join(found)}, expected one of them")
    return found[0] if found else None
