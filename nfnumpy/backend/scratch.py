"""Working memory of one thread, used again under the same name."""

import math
import threading

import numpy

_own = threading.local()


def empty(name, shape, dtype):
    """Room for an array that is needed for a moment: the same memory whenever this thread asks under this `name`.

    Fresh memory costs a page fault every 4096 bytes the first time it is written. Whatever was there is still there.
    """
    rooms = _own.__dict__.setdefault("rooms", {})
    size = math.prod(shape) * numpy.dtype(dtype).itemsize
    room = rooms.get(name)
    if room is None or room.size < size:
        room = rooms[name] = numpy.empty(size, dtype=numpy.uint8)
    return room[:size].view(dtype).reshape(shape)
