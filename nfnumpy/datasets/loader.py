"""Batches of images, decoded ahead of the training loop by a few threads."""

import weakref
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .dataset import Examples

Batch = tuple[np.ndarray, ...]  # images uint8 (n, H, W, 3), labels int64 (n,); of mixed images shares (n, classes)

# Images in a task: enough that submitting it costs little beside decoding them, few enough to stop soon.
CHUNK = 32


class Loader:
    """Reads batches of examples in a given order, `prefetch` batches ahead on `workers` threads.

    With `workers=0`, and for examples that need no decoding, the caller's thread reads. `waited_seconds` is the total
    time for which the caller waited for batches. Use as a context manager, or call `close()`.
    """

    def __init__(self, examples: Examples, batch_size: int, workers: int = 2, prefetch: int = 4) -> None:
        _require("batch_size", batch_size, at_least=1)
        _require("workers", workers, at_least=0)
        _require("prefetch", prefetch, at_least=1)
        self.examples = examples
        self.batch_size = batch_size
        self.workers = workers
        self.prefetch = prefetch
        self.waited_seconds = 0.0
        self._closed = False
        self._streams: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()

    def batches(self, order: npt.ArrayLike) -> Generator[Batch, None, None]:
        """Generate (images uint8 (n, H, W, 3), *targets) in exactly the order of the examples' numbers `order` (M,).

        The targets are those of Examples.targets: labels int64 (n,). The last batch is the short one. Raises
        InputError at once for numbers of no example, and for an image that cannot be read when its batch comes up.
        Closing the generator early stops its threads.
        """
        if self._closed:
            raise InputError("batches() was called on a Loader that is closed, expected an open one")
        order = _checked_order(order, len(self.examples))
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        threaded = self.examples.needs_decoding and self.workers > 0
        read = self._read_ahead if threaded else self._read_directly
        stream = read(batches)
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Stop every generator that `batches` returned, and its threads."""
        self._closed = True
        for stream in list(self._streams):
            stream.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read_directly(self, batches: list[np.ndarray]) -> Generator[Batch, None, None]:
        for batch in batches:
            begin = perf_counter()
            images = self.examples.take(batch)
            self.waited_seconds += perf_counter() - begin
            yield images, *self.examples.targets(batch)

    def _read_ahead(self, batches: list[np.ndarray]) -> Generator[Batch, None, None]:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="nfnumpy-loader")
        try:
            started = (self._submit(pool, batch) for batch in batches)
            ahead = deque(islice(started, self.prefetch))
            while ahead:
                images, targets, tasks = ahead.popleft()
                self._wait_for([*tasks, targets])
                ahead.extend(islice(started, 1))
                yield images, *targets.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, batch: np.ndarray) -> tuple[np.ndarray, Future, list[Future]]:
        """(images to be filled, the task of their targets, tasks that fill them) of one batch."""
        side = self.examples.image_size
        images = np.empty((len(batch), side, side, 3), dtype=np.uint8)
        chunk = min(CHUNK, -(-len(batch) // self.workers))
        cuts = [slice(start, start + chunk) for start in range(0, len(batch), chunk)]
        tasks = [pool.submit(_fill, images[cut], self.examples, batch[cut]) for cut in cuts]
        return images, pool.submit(self.examples.targets, batch), tasks

    def _wait_for(self, tasks: list[Future]) -> None:
        """Wait until all tasks are done; raises the error of the first one that failed."""
        begin = perf_counter()
        try:
            # In order, so that of several bad images the first one in the batch is reported.
            for task in tasks:
                task.result()
        finally:
            self.waited_seconds += perf_counter() - begin


def _fill(images: np.ndarray, examples: Examples, numbers: np.ndarray) -> None:
    images[:] = examples.take(numbers)


def _require(name: str, value: object, at_least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < at_least:
        raise InputError(f"Loader was given {name}={value!r}, expected a whole number of at least {at_least}")


def _checked_order(order: npt.ArrayLike, count: int) -> np.ndarray:
    order = np.asarray(order)
    if order.ndim != 1 or (order.size and order.dtype.kind not in "iu"):
        raise InputError(f"batches() was given an order of {order.dtype} {order.shape}, expected integers (M,)")
    outside = (order < 0) | (order >= count)
    if outside.any():
        raise InputError(f"batches() was given number {order[outside][0]}, expected 0..{count - 1}")
    # A copy: the caller may shuffle its array while batches are still being read.
    return order.astype(np.int64)
