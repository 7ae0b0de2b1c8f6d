"""The image files that the arguments of a command name: files, folders, and lists of paths on standard input.

Used by: predict.py. Test: reference_tests/evaluation/test_sources.py.
"""

import os
from collections.abc import Iterable, Iterator
from typing import IO, Any

from ..datasets import ENDINGS, image_files
from ..errors import InputError
from .predictions import Prediction

STANDARD_INPUT = "-"
CHUNK = 2**16  # bytes


def picture_paths(arguments: Iterable[str], listed: IO[bytes] | None = None,
                  separator: bytes = b"\n") -> Iterator[str | Prediction]:
    """The paths of the image files that `arguments` name, in their order, found while they are asked for.

    A folder stands for the image files at any depth below it, in the order of their names, and "-" for the paths in
    the stream `listed`, each ended by `separator`, which may name folders too. A folder that cannot be read or has no
    image files gives a Prediction with the InputError in its place.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT and listed is not None:
            for path in _listed_paths(listed, separator):
                yield from _below(path)
        else:
            yield from _below(argument)


def _below(path: str) -> Iterator[str | Prediction]:
    """`path` itself, or the image files below it if it is a folder."""
    if not os.path.isdir(path):
        yield path
        return
    found = False
    try:
        for image in image_files(path):
            found = True
            yield image
        if not found:
            raise InputError(f"{path}: has no images, expected files ending in {', '.join(ENDINGS)}")
    except InputError as error:
        yield Prediction(path, error)


def _listed_paths(stream: IO[bytes], separator: bytes) -> Iterator[str]:
    """The paths in a stream, any bytes but the separator; empty ones are left out."""
    pieces: Iterable[bytes] = stream if separator == b"\n" else _pieces(stream, separator)
    for piece in pieces:
        path = piece.removesuffix(separator)
        if path:
            yield os.fsdecode(path)


def _pieces(stream: Any, separator: bytes) -> Iterator[bytes]:
    """What stands before every separator in a buffered stream, and after the last one."""
    rest = b""
    while chunk := stream.read1(CHUNK):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    yield rest
