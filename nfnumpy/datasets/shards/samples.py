"""From the members of a shard to labelled images, by WebDataset's rules.

A member's name up to the first dot of its last part is its key, the rest, in lower case, its field. Members with the
same key that follow each other are one sample: the image, and its label in the field "cls" (a whole number) or "json".
Rules: https://github.com/webdataset/webdataset, tariterators.py.

Used by: index.py. Test: reference_tests/datasets/test_shards.py.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from ...errors import InputError
from .tar import Member

LABEL, DESCRIPTION = "cls", "json"
LABEL_KEYS = ("label", "cls")  # where a description has the label
LARGEST_LABEL = 999_999  # the number of classes is the largest label + 1, and a list of their names is made
LONGEST_LABEL = 2**20  # bytes of a member that holds a label
METADATA = re.compile(r"__[^/]*__($|/)")  # members that describe the shard

Read = Callable[[Member], bytes]


class Sample(NamedTuple):
    """A labelled image: its name and its bytes in the shard."""

    image: Member
    field: str
    label: int


def split_name(name: str) -> tuple[str, str] | None:
    """(key, field) of a member's name; None for a name without a dot, a hidden file, and what describes the shard."""
    folder, slash, last = name.rpartition("/")
    stem, dot, field = last.partition(".")
    if not stem or not dot or METADATA.match(name):
        return None
    return folder + slash + stem, field.lower()


def samples(members: Iterable[Member], read: Read, endings: Collection[str], path: str,
            ignored: Counter[str]) -> Iterator[Sample]:
    """Generate the samples of the shard at `path`, in their order.

    read: the bytes of a member. endings: the fields that are images, such as "jpg". ignored: where the members that
    are neither image nor label are counted, by field. InputError for a repeated field, for two images under one key,
    for an image without a label and a label without an image.
    """
    for key, group in groupby(_named(members, ignored), key=lambda named: named[0]):
        fields: dict[str, Member] = {}
        for _, field, member in group:
            if field in fields:
                raise InputError(f"{path}: {key!r} has the field .{field} twice, expected each field once")
            fields[field] = member
        sample = _sample(key, fields, read, endings, path)
        used = () if sample is None else (sample.field, LABEL if LABEL in fields else DESCRIPTION)
        ignored.update(field for field in fields if field not in used)
        if sample is not None:
            yield sample


def _named(members: Iterable[Member], ignored: Counter[str]) -> Iterator[tuple[str, str, Member]]:
    """(key, field, member) of every member that has a key."""
    for member in members:
        parts = split_name(member.name)
        if parts is None:
            ignored["(no key)"] += 1
        else:
            yield *parts, member


def _sample(key: str, fields: dict[str, Member], read: Read, endings: Collection[str], path: str) -> Sample | None:
    """The sample of the members under one key; None where they are neither an image nor a label."""
    images = [field for field in fields if field in endings]
    if not images and LABEL not in fields:
        return None
    apart = "the members of a sample must follow each other"
    if not images:
        found = ", ".join(f".{field}" for field in fields)
        raise InputError(f"{path}: {key!r} has a label but no image, only {found}; {apart}")
    if len(images) > 1:
        raise InputError(f"{path}: {key!r} has two images, .{images[0]} and .{images[1]}; expected one")
    if LABEL not in fields and DESCRIPTION not in fields:
        raise InputError(f"{path}: {key!r} has no label, expected the class's number in .cls or .json under the same "
                         f"name; {apart}; python -m nfnumpy.data shards makes such shards of a folder")
    holder = fields.get(LABEL) or fields[DESCRIPTION]
    if holder.size > LONGEST_LABEL:
        raise InputError(f"{path}: {holder.name!r} has {holder.size} bytes, expected a class's number")
    content = read(holder)
    label = _whole(content) if LABEL in fields else _label_in_json(content)
    if label is None:
        wanted = "a whole number" if LABEL in fields else "an object with a whole number as \"label\" or \"cls\""
        raise InputError(f"{path}: {holder.name!r} holds {content[:40]!r}, expected {wanted} from 0 to {LARGEST_LABEL}")
    return Sample(fields[images[0]], images[0], label)


def _whole(content: bytes) -> int | None:
    """The label in ASCII digits, with white space around them or not; None if it is none."""
    digits = content.strip()
    is_label = digits.isdigit() and len(digits) <= 20 and int(digits) <= LARGEST_LABEL
    return int(digits) if is_label else None


def _label_in_json(content: bytes) -> int | None:
    """The label in a JSON number, or in an object under a key of LABEL_KEYS; None if there is none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = next((value[key] for key in LABEL_KEYS if key in value), None)
    is_label = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_LABEL
    return value if is_label else None
