"""Between host and GPU without either waiting: page-locked host memory, a stream for copies, events for their order."""

import contextlib


def copy_to_host_async(array):
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
        self.copied = self.consumed = None

    def copy(self, batch, stream):
        """Start copying; a batch is not overwritten while its last user on the GPU is at work."""
        import cupy
        import cupyx
        if self.copied is not None:
            self.copied.synchronize()  # two batches ago; the host array is free again
        if [(host.shape, host.dtype) for host, _ in self.arrays] != [(array.shape, array.dtype) for array in batch]:
            self.arrays = [(cupyx.empty_pinned(array.shape, array.dtype), cupy.empty(array.shape, array.dtype))
                           for array in batch]
            stream.wait_event(cupy.cuda.get_current_stream().record())  # new buffers may be memory that earlier work still uses
        if self.consumed is not None:
            stream.wait_event(self.consumed)
        for array, (host, device) in zip(batch, self.arrays):
            host[...] = array
            device.set(host, stream=stream)
        self.copied = stream.record()

    @contextlib.contextmanager
    def used(self):
        """Context in which the current stream works on the arrays, which it gets."""
        import cupy
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(self.copied)
        yield tuple(device for _, device in self.arrays)
        self.consumed = stream.record()


def prefetch_to_device(batches):
    """Generate the `batches` (tuples of host arrays) as tuples of GPU arrays, each copied while the last is in use.

    A batch's arrays are overwritten by the next but one: copy what is needed longer.
    """
    import cupy
    stream, slots, ahead = cupy.cuda.Stream(non_blocking=True), (_Slot(), _Slot()), None
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
