"""The names of the classes of shards: a list beside them, as labels in shards are only numbers.

Used by: opening.py, export.py. Test: reference_tests/datasets/test_shards.py.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError
from .patterns import TRAIN_NAMES
from .samples import LARGEST_LABEL

TEXT, JSON = "classes.txt", "classes.json"
LONGEST_FILE = 2**26  # bytes


def read_class_names(shard: str, count: int) -> tuple[str, ...]:
    """The names of `count` classes: of classes.txt (a name a line) or classes.json (a list), in the folder of `shard`
    or, where that is called train, the one above it; else "class 0", "class 1", …

    A name that several classes share gets the class's number. InputError for a list that cannot be read or is shorter.
    """
    folder = Path(shard).parent
    places = (folder, folder.parent) if folder.name.lower() in TRAIN_NAMES else (folder,)
    for path in (place / name for place in places for name in (TEXT, JSON)):
        if os.path.isfile(path):
            names = _read(path)
            if len(names) < count:
                raise InputError(f"{path}: has {len(names)} names, expected {count}: a label in the shards is "
                                 f"{count - 1}")
            return _distinct(names)
    return tuple(f"class {label}" for label in range(count))


def class_names_file(names: Sequence[str]) -> bytes:
    """The content of classes.txt; InputError for a name that is no line."""
    for name in names:
        if name != name.strip() or len(name.splitlines()) != 1:
            raise InputError(f"class {name!r}: {TEXT} has a name in each line, expected one without line breaks and "
                             "without spaces around it")
    return "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that several classes share with the class's number, again where another one is called so."""
    shared = Counter(names)
    taken = set(names)
    distinct = []
    for label, name in enumerate(names):
        if shared[name] > 1:
            while name in taken:
                name += f" ({label})"
            taken.add(name)
        distinct.append(name)
    return tuple(distinct)


def _read(path: Path) -> list[str]:
    """The names in a file."""
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise ValueError(f"it has more than {LONGEST_FILE} bytes")
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        names = json.loads(text) if path.name == JSON else [line.strip() for line in text.strip().splitlines()]
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ValueError("a class has no name" if isinstance(names, list) else "it holds no list")
        if not 1 <= len(names) <= LARGEST_LABEL + 1:
            raise ValueError(f"it has {len(names)} names")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected the names of the classes, one each: {error}") from error
    return names
