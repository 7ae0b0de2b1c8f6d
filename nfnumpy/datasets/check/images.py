"""What is to be known of every image of a split, read on threads.

Used by: findings.py. Test: reference_tests/datasets/test_check.py.
"""

import hashlib
import io
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...errors import InputError
from ..dataset import ArraySplit, Split
from ..images import FORMATS, PIXEL_LIMIT, read_image

CHUNK = 32  # images in a task
AHEAD = 4  # tasks a thread that wait for it
DIGEST = 16  # bytes of a hash: two different files of a million share one with a probability below 1e-26
UNKNOWN = b""  # the hash of a file that could not be opened


class Facts(NamedTuple):
    """What is known of one image; `broken` says why it cannot be read, and what is known is then 0 or ""."""

    digest: bytes
    size: int
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    is_animated: bool = False
    broken: str = ""


@dataclass
class SplitFacts:
    """What is known of the N images of a split.

    digests: bytes (N,) of a hash of each file, or of each array's pixels. sizes, widths, heights: int64 (N,), bytes of
    the files and pixels of the upright images, 0 for broken ones. formats, modes: counts by Pillow's names. broken:
    index -> why the image cannot be read.
    """

    digests: np.ndarray
    sizes: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    animated: int = 0
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, index: int, facts: Facts) -> None:
        """Enter what is known of one image."""
        self.digests[index], self.sizes[index] = facts.digest, facts.size
        self.widths[index], self.heights[index] = facts.width, facts.height
        if facts.broken:
            self.broken[index] = facts.broken
        else:
            self.formats[facts.format] += 1
            self.modes[facts.mode] += 1
            self.animated += facts.is_animated


def examine_split(split: Split, threads: int, max_pixels: int = PIXEL_LIMIT,
                  progress: Callable[[int], object] = lambda count: None) -> SplitFacts:
    """Read and decode every image of a split. progress: called with the number of images that were read since."""
    count = len(split)
    found = SplitFacts(np.zeros(count, f"S{DIGEST}"), np.zeros(count, np.int64), np.zeros(count, np.int64),
                       np.zeros(count, np.int64))
    chunks = (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="nfnumpy-check")
    try:
        for indices, records in _in_order_of_indices(pool, split, chunks, max_pixels, threads * AHEAD):
            for index, facts in zip(indices, records, strict=True):
                found.add(index, facts)
            progress(len(indices))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return found


def _in_order_of_indices(pool: ThreadPoolExecutor, split: Split, chunks: Iterator[range], max_pixels: int,
                         ahead: int) -> Iterator[tuple[range, list[Facts]]]:
    """(indices, what is known of these images) of all chunks, at most `ahead` of them at work or waiting."""
    started = ((chunk, pool.submit(_examine, split, chunk, max_pixels)) for chunk in chunks)
    waiting: deque[tuple[range, Future[list[Facts]]]] = deque(islice(started, ahead))
    while waiting:
        chunk, task = waiting.popleft()
        yield chunk, task.result()
        waiting.extend(islice(started, 1))


def _examine(split: Split, indices: range, max_pixels: int) -> list[Facts]:
    examine = _facts_of_array if isinstance(split, ArraySplit) else _facts_of_file
    return [examine(split, index, max_pixels) for index in indices]


def _facts_of_array(split: Split, index: int, max_pixels: int) -> Facts:
    assert isinstance(split, ArraySplit)
    image = split.images[index]
    digest = hashlib.blake2b(image.tobytes(), digest_size=DIGEST).digest()
    return Facts(digest, image.nbytes, image.shape[1], image.shape[0], "array", "L" if image.ndim == 2 else "RGB")


def _facts_of_file(split: Split, index: int, max_pixels: int) -> Facts:
    try:
        content, _ = split.encoded(index)
    except InputError as error:
        return Facts(UNKNOWN, 0, broken=str(error))
    digest = hashlib.blake2b(content, digest_size=DIGEST).digest()
    try:
        height, width, _ = read_image(io.BytesIO(content), max_pixels=max_pixels, name=split.name(index)).shape
    except InputError as error:
        return Facts(digest, len(content), broken=str(error))
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return Facts(digest, len(content), width, height, image.format or "", image.mode, _is_animated(image))


def _is_animated(image: Image.Image) -> bool:
    """Whether an image has several frames; False where what follows the first one is damaged."""
    try:
        return getattr(image, "is_animated", False)
    except Exception:  # Pillow looks for a second frame, and damaged files make it raise nearly everything.
        return False
