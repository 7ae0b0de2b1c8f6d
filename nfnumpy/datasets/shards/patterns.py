"""Which tar files a data set is made of: numbered names in braces, or a folder.

Used by: opening.py. Test: reference_tests/datasets/test_shard_patterns.py.
"""

import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError
from ..folder_layout import TEST_NAMES

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
MOST = 1_000_000  # names that a pattern may stand for
TRAIN_NAMES = ("train", "training")
ENDING = ".tar"


class Shards(NamedTuple):
    """The paths of the training shards, the test shards, which may be none, and other tar files beside them."""

    train: list[str]
    test: list[str]
    unread: list[str]


def expand(pattern: str) -> list[str]:
    """The names that a pattern stands for: {000..146} for numbers with as many digits, {a,b} for one of several.

    Several braces give all combinations, the last one changing first, as in a shell. InputError for braces that are
    neither, and for more than MOST names.
    """
    names = [""]
    position = 0
    for braces in BRACES.finditer(pattern):
        parts = _alternatives(braces[1], pattern)
        if len(names) * len(parts) > MOST:
            raise InputError(f"{pattern}: stands for more than {MOST} names")
        before = pattern[position:braces.start()]
        names = [name + before + part for name in names for part in parts]
        position = braces.end()
    rest = pattern[position:]
    if set("{}") & set(BRACES.sub("", pattern)):
        raise InputError(f"{pattern}: expected every brace closed and none inside another")
    return [name + rest for name in names]


def find_shards(location: str) -> Shards:
    """The shards of a folder or a pattern of names.

    A folder: the tar files in its sub-folders train and test, else those in it with such a word in their names, else
    all as training shards. In the place of test the first name of TEST_NAMES that there is counts. A pattern: the files
    that it names are the training shards; the test shards are those that have a name of TEST_NAMES in the place of its
    last word "train". Names are sorted as text. InputError for a file that is missing, and where there is no shard.
    """
    if os.path.isdir(location):
        return _in_folder(Path(location))
    train = expand(location)
    missing = [path for path in train if not os.path.isfile(path)]
    if missing:
        more = f", like {len(missing) - 1} more of the {len(train)} shards" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: there is no such file{more}; expected tar files or a folder of them")
    return Shards(train, _counterparts(location), [])


def _alternatives(text: str, pattern: str) -> list[str]:
    """What may stand for braces with this text."""
    numbers = RANGE.fullmatch(text)
    if not numbers:
        if "," not in text:
            raise InputError(f"{pattern}: holds {{{text}}}, expected numbers like {{000000..000146}} or {{a,b}}")
        return text.split(",")
    first, last = int(numbers[1]), int(numbers[2])
    if not 0 <= last - first < MOST:
        raise InputError(f"{pattern}: holds {{{text}}}, expected two ascending numbers, at most {MOST} of them")
    is_padded = any(len(digits) > 1 and digits[0] == "0" for digits in numbers.groups())
    width = max(map(len, numbers.groups())) if is_padded else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]


def _in_folder(folder: Path) -> Shards:
    """The shards of a folder."""
    beside = _tar_files(folder)
    train_folder = _one_of(folder, TRAIN_NAMES)
    test_folders = [place for name in TEST_NAMES if (place := _one_of(folder, (name,)))]
    in_train = _tar_files(train_folder) if train_folder else []
    if in_train:
        tests = [shards for place in test_folders if (shards := _tar_files(place))]
        return Shards(in_train, tests[0] if tests else [], [*chain.from_iterable(tests[1:]), *beside])
    if not beside:
        raise InputError(f"{folder}: has no tar files, expected train-….tar and test-….tar, or folders train and test")
    train = [path for path in beside if _has_word(path, TRAIN_NAMES)]
    others = [path for path in beside if path not in train]
    tests = [shards for name in TEST_NAMES if (shards := [path for path in others if _has_word(path, (name,))])]
    if tests and not train:
        raise InputError(f"{folder}: has no tar file with the word train in its name, but {Path(tests[0][0]).name}")
    if not train:
        return Shards(beside, [], [])
    test = tests[0] if tests else []
    return Shards(train, test, [path for path in others if path not in test])


def _counterparts(pattern: str) -> list[str]:
    """The test shards beside the training shards of a pattern: those of the first name of TEST_NAMES that has any."""
    folder, name = os.path.split(pattern)
    for place, text in (("name", name), ("folder", os.path.basename(folder))):
        words = list(re.finditer(r"(?<![a-z])train(ing)?(?![a-z])", text, re.IGNORECASE))
        if not words:
            continue
        for other in TEST_NAMES:
            replaced = text[:words[-1].start()] + other + text[words[-1].end():]
            if place == "folder":
                found = _tar_files(Path(folder).parent / replaced)
            else:
                found = [path for path in _tar_files(Path(folder)) if _fits(replaced, os.path.basename(path))]
            if found:
                return found
    return []


def _fits(pattern: str, name: str) -> bool:
    """Whether a file's name is of the pattern with anything for its braces."""
    literal = [re.escape(part) for part in BRACES.split(pattern)[::2]]
    return re.fullmatch(".+".join(literal), name, re.DOTALL) is not None


def _has_word(path: str, words: Sequence[str]) -> bool:
    """Whether one of the words is in a file's name, not inside of a longer word."""
    found = re.split(r"[^a-z]+", os.path.basename(path).lower())
    return any(word in found for word in words)


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The sub-folder with the first of the names, in any case."""
    try:
        inside = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    except OSError as error:
        raise InputError(f"{folder}: expected a folder that can be read: {error}") from error
    return next((inside[name] for name in names if name in inside), None)


def _tar_files(folder: Path) -> list[str]:
    """The paths of the tar files in a folder, sorted as text; none where there is no folder."""
    try:
        found = [entry.path for entry in os.scandir(folder)
                 if entry.name.lower().endswith(ENDING) and not entry.name.startswith(".") and entry.is_file()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: expected a folder that can be read: {error}") from error
    return sorted(found)
