"""Streams that run everything at once, and the device's figures."""

import time

from .. import _capture
from .._capture import Graph
from .._memory import MemoryHook, MemoryPool, set_allocator, using_allocator
from . import cublas, device, runtime

__all__ = ["Event", "Graph", "MemoryHook", "MemoryPool", "Stream", "cublas", "device", "get_current_stream",
           "get_elapsed_time", "runtime", "set_allocator", "using_allocator"]


class Event:
    """Has always happened."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.done = True

    def record(self, stream=None):
        self.moment = time.perf_counter()

    def synchronize(self):
        from .._array import waiting
        waiting("Event.synchronize")


class Stream:
    """Everything on it has always run."""

    null = None
    ptr = 0

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        pass

    def synchronize(self):
        from .._array import waiting
        waiting("Stream.synchronize")

    def begin_capture(self, mode=None):
        if self is Stream.null:
            raise _capture.CaptureError("the default stream cannot capture")
        _capture.begin()

    def end_capture(self):
        return _capture.end()


Stream.null = Stream()


def get_elapsed_time(start_event, end_event):
    return 1e3 * (end_event.moment - start_event.moment)


def get_current_stream(device_id=-1):
    return Stream.null
