"""Batches of images, decoded ahead of the training loop by a few threads, here or in one process beside it."""

import weakref
from collections.abc import Generator
from contextlib import closing
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ..backend.freed_memory import keep_freed_memory
from ..errors import InputError
from .batch_reading import Batch, Order, Part, Rules, read_parts
from .dataset import Examples
from .loader_process import DecodingProcess

LOADERS = ("threads", "process")


class Loader:
    """Reads batches of examples in a given order, `prefetch` batches ahead on `workers` threads.

    kind: where these threads are, "threads" in this process, or "process" in one that is started for them: decoding
    then competes with the caller for cores, but not for Python's interpreter lock. The batches are the same. With
    `workers=0`, and for examples that need no decoding, the caller's thread reads. leaves_out: whether images that
    cannot be read are left out, rather than being an error; they are in `bad_images`. `waited_seconds` is the total
    time for which the caller waited for batches. Use as a context manager, or call `close()`.
    """

    def __init__(self, examples: Examples, batch_size: int, workers: int = 2, prefetch: int = 4, kind: str = "threads",
                 leaves_out: bool = False) -> None:
        _require("batch_size", batch_size, at_least=1)
        _require("workers", workers, at_least=0)
        _require("prefetch", prefetch, at_least=1)
        if kind not in LOADERS:
            raise InputError(f"Loader was given kind={kind!r}, expected {' or '.join(LOADERS)}")
        self.examples = examples
        self.rules = Rules(batch_size, workers, prefetch, leaves_out)
        self.kind = kind
        self.waited_seconds = 0.0
        if examples.needs_decoding:
            keep_freed_memory()
        self._closed = False
        self._bad: dict[int, str] = {}
        self._process: DecodingProcess | None = None
        self._streams: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()

    @property
    def bad_images(self) -> dict[int, str]:
        """Number -> error of the examples that were left out so far, or of the images that others took the place of."""
        return {**self._bad, **self.examples.bad_images}

    def batches(self, order: npt.ArrayLike) -> Generator[Batch, None, None]:
        """Generate (images uint8 (n, H, W, 3), *targets) in exactly the order of the examples' numbers `order` (M,).

        order: an array, or a range, of which nothing is kept in memory. The targets are those of Examples.targets:
        labels int64 (n,). The last batch is the short one, and one from which images are left out. Raises InputError
        at once for numbers of no example, and for an image that cannot be read when its batch comes up. Closing the
        generator early stops its threads.
        """
        if self._closed:
            raise InputError("batches() was called on a Loader that is closed, expected an open one")
        stream = self._batches(self._parts(_checked_order(order, len(self.examples))))
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Stop every generator that `batches` returned, its threads, and the process."""
        self._closed = True
        for stream in list(self._streams):
            stream.close()
        if self._process is not None:
            self._process.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _parts(self, order: Order) -> Generator[Part, None, None]:
        """The batches with what was left out of them."""
        if self.kind == "threads" or not self.examples.needs_decoding or self.rules.workers == 0:
            return read_parts(self.examples, order, self.rules)
        if self._process is None:
            self._process = DecodingProcess(self.examples, self.rules)
        return self._process.parts(order)

    def _batches(self, parts: Generator[Part, None, None]) -> Generator[Batch, None, None]:
        """The batches that are not empty; what was left out is noted, and the time is measured."""
        is_empty = True
        with closing(parts):
            while (part := self._awaited(parts)) is not None:
                self._bad.update(part.bad)
                if len(part.batch[0]):
                    is_empty = False
                    yield part.batch
        if is_empty and self._bad:
            raise InputError(f"{next(iter(self._bad.values()))}; and none of the other images can be read")

    def _awaited(self, parts: Generator[Part, None, None]) -> Part | None:
        """The next batch, None after the last one; the time is added to what the caller waited."""
        begin = perf_counter()
        try:
            return next(parts, None)
        finally:
            self.waited_seconds += perf_counter() - begin


def _require(name: str, value: object, at_least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < at_least:
        raise InputError(f"Loader was given {name}={value!r}, expected a whole number of at least {at_least}")


def _checked_order(order: npt.ArrayLike, count: int) -> Order:
    if isinstance(order, range):
        outside = [number for number in (*order[:1], *order[-1:]) if not 0 <= number < count]
    else:
        order = np.asarray(order)
        if order.ndim != 1 or (order.size and order.dtype.kind not in "iu"):
            raise InputError(f"batches() was given an order of {order.dtype} {order.shape}, expected integers (M,)")
        outside = order[(order < 0) | (order >= count)].tolist()
    if outside:
        raise InputError(f"batches() was given number {outside[0]}, expected 0..{count - 1}")
    # A copy: the caller may shuffle its array while batches are still being read.
    return order if isinstance(order, range) else order.astype(np.int64)
