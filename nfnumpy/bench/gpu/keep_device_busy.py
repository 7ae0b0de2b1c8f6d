"""Keeping the GPU busy for a while, so that the next launch is already queued when its time begins.

Without it, the time of a short kernel would be the host's time for launching it.
"""

from collections.abc import Callable

import cupy
import numpy

SOURCE = """
extern "C" __global__ void occupy(float* value, int turns) {
    float x = *value;
    for (int turn = 0; turn < turns; ++turn) x = x * 0.999f + 0.001f;
    *value = x;
}
"""
TRIAL = 1 << 16  # turns that are timed; each waits for the one before


class KeepDeviceBusy:
    """Call it with milliseconds: the current stream is busy that long with one thread that touches 4 bytes."""

    def __init__(self, milliseconds_of: Callable[[Callable[[], object]], float]) -> None:
        """milliseconds_of: the clock, a function that times the work a call starts."""
        module = cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=("occupy",))
        self._kernel = module.get_function("occupy")
        self._value = cupy.ones((1,), dtype=cupy.float32)
        self._start(TRIAL)  # compiles, and raises the clocks from their idle rate
        self._turns_per_millisecond = TRIAL / max(1e-3, milliseconds_of(lambda: self._start(TRIAL)))

    def _start(self, turns):
        self._kernel((1,), (1,), (self._value, numpy.int32(turns)))

    def __call__(self, milliseconds: float) -> None:
        self._start(min(2**31 - 1, int(milliseconds * self._turns_per_millisecond)))
