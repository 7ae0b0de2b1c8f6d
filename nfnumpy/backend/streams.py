"""Copies between host and GPU that overlap with computing: page-locked host memory, a stream of their own, events."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import numpy

from .arrays import Array


def copy_to_host_async(array: Array) -> Callable[[], numpy.ndarray]:
    """A function that returns a GPU `array` as a NumPy array once it is computed; later work does not delay it."""
    import cupy
    import cupyx
    host = cupyx.empty_pinned(array.shape, array.dtype)
    stream = cupy.cuda.get_current_stream()
    array.get(stream=stream, out=host, blocking=False)
    arrived = stream.record()

    def read():
        arrived.synchronize()
        return host
    return read


class _Slot:
    """Buffers for one batch on host and GPU, used for every second batch."""

    def __init__(self):
        self.arrays = []  # (page-locked host array, GPU array)
        self.copied = None  # the event after the last copy
        self.consumed = None  # the event after the last use

    def copy(self, batch, stream):
        """Start copying on `stream`; a batch is not overwritten while work on the GPU still reads it."""
        import cupy
        import cupyx
        if self.copied is not None:
            self.copied.synchronize()  # two batches ago; the host array is free again
        present = [(host.shape, host.dtype) for host, _ in self.arrays]
        if present != [(array.shape, array.dtype) for array in batch]:
            self.arrays = [(cupyx.empty_pinned(array.shape, array.dtype), cupy.empty(array.shape, array.dtype))
                           for array in batch]
            # the memory of the new buffers may be in use by earlier work
            stream.wait_event(cupy.cuda.get_current_stream().record())
        if self.consumed is not None:
            stream.wait_event(self.consumed)
        for array, (host, device) in zip(batch, self.arrays, strict=True):
            host[...] = array
            device.set(host, stream=stream)
        self.copied = stream.record()

    @contextlib.contextmanager
    def used(self):
        """Context in which the current stream may use the GPU arrays: a tuple of them."""
        import cupy
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(self.copied)
        yield tuple(device for _, device in self.arrays)
        self.consumed = stream.record()


def prefetch_to_device(batches: Iterable[tuple[numpy.ndarray, ...]]) -> Iterator[tuple[Array, ...]]:
    """Generate the `batches` (tuples of host arrays) as tuples of GPU arrays, each copied while the last is in use.

    The next batch but one overwrites a batch's arrays: copy what is needed longer.
    """
    import cupy
    stream = cupy.cuda.Stream(non_blocking=True)
    slots = (_Slot(), _Slot())
    ahead = None
    for number, batch in enumerate(batches):
        slot = slots[number % 2]
        slot.copy(batch, stream)
        if ahead is not None:
            with ahead.used() as arrays:
                yield arrays
        ahead = slot
    if ahead is not None:
        with ahead.used() as arrays:
            yield arrays
