"""Arrays (…, C) as blocks of rows, and steps on them whose numbers differ from channel to channel.

(x - mean)·f = x·f - mean·f saves a pass over a block, but loses the digits that both terms have in common: channels
whose mean is several deviations from 0 are computed as the formula has it. Short rows of channels are taken several at
a time.

Used by: normalization.py, group_normalization.py. Test: fast_numpy/test_normalization.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

from ...backend import blocking, buffer_pool, thread_pool, tuning
from .dtypes import share_float_dtype

FAR = 8.0  # how many deviations from 0 a mean may be: x·f - mean·f loses up to three bits then
MOST_PICKED = 1 / 8  # of the channels of a block; picking values out costs as much as several passes over them


def covers(x: numpy.ndarray, *others: numpy.ndarray) -> bool:
    """Whether x is large, and all have its dtype, float32 or float64."""
    return x.size > tuning.SMALL_VALUES and share_float_dtype(x, *others)


def rows_together(x: numpy.ndarray) -> int:
    """How many rows of channels are taken as one."""
    rows, channels = math.prod(x.shape[:-1]), x.shape[-1]
    if channels >= tuning.LONG_ROW_VALUES:
        return 1
    return math.gcd(rows, 1 << (tuning.LONG_ROW_VALUES // max(channels, 1)).bit_length())


def as_rows(x: numpy.ndarray, together: int) -> numpy.ndarray:
    """(…, C) as (rows, together·C)."""
    return x.reshape(-1, together * x.shape[-1])


def blocks_of(rows: numpy.ndarray) -> list[list[slice]]:
    """Slices of rows: one list for each thread, of blocks that stay in the cache."""
    step = blocking.rows_in_block(rows.shape[1])
    return [blocking.split_by_step(share, step) for share in blocking.split_by_work(len(rows), rows.size)]


def are_far(mean: numpy.ndarray, variance: numpy.ndarray, deviations: float = FAR) -> numpy.ndarray:
    """Whether the means are more than so many deviations from 0; True where a square overflows."""
    with numpy.errstate(over="ignore", invalid="ignore"):
        return ~(mean * mean <= deviations**2 * variance)


def chosen(is_far: numpy.ndarray) -> numpy.ndarray | slice | None:
    """An index of the far channels: None without any, and all of them where they are too many to be picked out."""
    count = numpy.count_nonzero(is_far)
    if count == 0:
        return None
    return slice(None) if count > len(is_far) * MOST_PICKED else numpy.flatnonzero(is_far)


class Step(NamedTuple):
    """compute(out, *arrays, *channels) fills a block `out` from blocks of arrays and from values of each channel."""

    compute: Callable[..., object]
    channels: Sequence[numpy.ndarray]


class ChannelStep:
    """step(out, *arrays) on blocks of `together` rows at a time: `exact` for channels far from 0, else `near`."""

    def __init__(self, together: int, is_far: numpy.ndarray, near: Step, exact: Step) -> None:
        far = chosen(numpy.tile(is_far, together))
        usual = exact if isinstance(far, slice) else near
        self.compute, self.channels = usual.compute, [numpy.tile(channel, together) for channel in usual.channels]
        self.far = None if isinstance(far, slice) else far
        self.exact = exact.compute
        self.picked = [numpy.tile(channel, together)[self.far] for channel in exact.channels]

    def __call__(self, out: numpy.ndarray, *arrays: numpy.ndarray) -> None:
        """Fill `out`, which may be one of the arrays."""
        picked = None if self.far is None else [array[:, self.far] for array in arrays]
        self.compute(out, *arrays, *self.channels)
        if picked is not None:
            values = numpy.empty_like(picked[0])
            self.exact(values, *picked, *self.picked)
            out[:, self.far] = values


def fill(step: Callable[..., object], together: int, out: numpy.ndarray | None,
         *arrays: numpy.ndarray) -> numpy.ndarray:
    """step(block of out, *blocks of arrays) for all blocks; out: None for a new array like the first of the others."""
    out = buffer_pool.empty(arrays[0].shape, arrays[0].dtype) if out is None else out
    views = [as_rows(array, together) for array in (out, *arrays)]

    def compute(blocks: list[slice]) -> None:
        for block in blocks:
            step(*(view[block] for view in views))

    thread_pool.parallel_map(compute, blocks_of(views[0]))
    return out
