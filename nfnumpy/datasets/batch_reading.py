"""Reading batches of examples in an order, on a few threads or on the calling one.

Used by: loader.py, loader_process.py. Test: reference_tests/datasets/test_loader.py.
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np

from ..backend import blas_threads
from ..errors import InputError
from .bad_images import NoneReadable, read_readable
from .dataset import Examples
from .reading import ADVICE

Order: TypeAlias = np.ndarray | range  # numbers of examples (M,)
Batch: TypeAlias = tuple[np.ndarray, ...]  # images uint8 (n, H, W, 3), labels int64 (n,); of mixed images also shares

# Images in a task: enough that submitting it costs little beside decoding them, few enough to stop soon.
CHUNK = 32


class Rules(NamedTuple):
    """How batches are read.

    batch_size: images a batch; workers: threads; prefetch: batches read ahead; leaves_out: whether images that cannot
    be read make the batch shorter, rather than being an error.
    """

    batch_size: int
    workers: int
    prefetch: int
    leaves_out: bool = False


class Part(NamedTuple):
    """A batch, and number -> error of the examples that were left out of it."""

    batch: Batch
    bad: dict[int, str]


def read_parts(examples: Examples, order: Order, rules: Rules) -> Generator[Part, None, None]:
    """Generate the batches of `order`, also those in which no image can be read.

    Without threads, and where there is no work for them, the caller's thread reads. Closing the generator early stops
    its threads.
    """
    is_work = examples.needs_decoding and rules.workers > 0
    return _read_ahead(examples, order, rules) if is_work else _read_directly(examples, order, rules)


def _cut(order: Order, batch_size: int) -> Iterator[np.ndarray]:
    """The numbers of each batch."""
    return (np.asarray(order[start:start + batch_size]) for start in range(0, len(order), batch_size))


def _read_directly(examples: Examples, order: Order, rules: Rules) -> Generator[Part, None, None]:
    for numbers in _cut(order, rules.batch_size):
        side = examples.image_size
        images = np.empty((len(numbers), side, side, 3), dtype=np.uint8)
        found = [_fill(images, examples, numbers, rules.leaves_out)]
        yield _part(images, examples.targets(numbers), found)


def _read_ahead(examples: Examples, order: Order, rules: Rules) -> Generator[Part, None, None]:
    pool = ThreadPoolExecutor(rules.workers, thread_name_prefix="nfnumpy-loader")
    try:
        started = (_submit(pool, examples, numbers, rules) for numbers in _cut(order, rules.batch_size))
        ahead = deque(islice(started, rules.prefetch))
        while ahead:
            images, targets, tasks = ahead.popleft()
            # In order, so that of several bad images the first one in the batch is reported.
            found = [task.result() for task in tasks]
            part = _part(images, targets.result(), found)
            ahead.extend(islice(started, 1))
            yield part
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ThreadPoolExecutor, examples: Examples, numbers: np.ndarray,
            rules: Rules) -> tuple[np.ndarray, Future, list[Future]]:
    """(images to be filled, the task of their targets, tasks that fill them) of one batch."""
    side = examples.image_size
    images = np.empty((len(numbers), side, side, 3), dtype=np.uint8)
    chunk = min(CHUNK, -(-len(numbers) // rules.workers))
    cuts = [slice(start, start + chunk) for start in range(0, len(numbers), chunk)]
    tasks = [pool.submit(_fill, images[cut], examples, numbers[cut], rules.leaves_out) for cut in cuts]
    return images, pool.submit(examples.targets, numbers), tasks


def _fill(images: np.ndarray, examples: Examples, numbers: np.ndarray,
          leaves_out: bool) -> tuple[np.ndarray, dict[int, str]]:
    """Read the images with these numbers into `images`; (which ones could be read bool (n,), the errors of others).

    Products of the augmentation stay on this thread: others would have other last bits, and in a process of their own
    BLAS's threads would wait for each other most of the time.
    """
    with blas_threads.single_threaded_blas():
        try:
            images[:] = examples.take(numbers)
        except NoneReadable:  # an error also where images are left out
            raise
        except InputError as error:
            if not leaves_out:
                raise InputError(f"{error}; {ADVICE}") from error
            readable, is_readable, bad = read_readable(examples, numbers)
            images[is_readable] = readable
            return is_readable, bad
    return np.ones(len(numbers), dtype=bool), {}


def _part(images: np.ndarray, targets: tuple[np.ndarray, ...], found: list[tuple[np.ndarray, dict[int, str]]]) -> Part:
    """The batch without what could not be read."""
    bad = {number: error for _, errors in found for number, error in errors.items()}
    if bad:
        is_readable = np.concatenate([readable for readable, _ in found])
        images, targets = images[is_readable], tuple(target[is_readable] for target in targets)
    return Part((images, *targets), bad)
