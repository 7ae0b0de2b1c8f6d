"""How arrays are cut: into shares, one a thread, and these into blocks that stay in the cache."""

import numpy

from ...backend import blas_threads, buffer_pool, scratch, thread_pool

SMALL = 1 << 16  # values: up to here the formulas are as fast
LARGE = 1 << 19  # values: up to here a single pass over an array is as fast in one piece
BLOCK = 1 << 17  # values: enough for a pass to be worth calling NumPy for, few enough for a core's share of the cache
LONG_ROW = 384  # values: NumPy goes along them where they lie (blas_threads.small_ufunc_buffer)
WORTH_A_THREAD = 1 << 18  # values to go through once: this takes several times what handing over costs


def covers(*arrays):
    """Whether the arrays are all float32 or all float64."""
    return arrays[0].dtype.name in ("float32", "float64") and all(array.dtype == arrays[0].dtype for array in arrays)


def split_by_work(count, work):
    """Even slices of `range(count)`: one a thread, or fewer, where they do not pay; work: values to go through."""
    return blas_threads.split_evenly(count, min(blas_threads.thread_count(), max(1, work // max(WORTH_A_THREAD, 1))))


def blocks(share, size):
    """Slices that cover `share`, of at most BLOCK values each (or one index); `size` values belong to an index."""
    step = max(1, BLOCK // max(size, 1))
    return [slice(start, min(start + step, share.stop)) for start in range(share.start, share.stop, step)]


def repeated(name, row, count):
    """The array `row` `count` times, one below the other, until next time.

    An operation with a short row that is repeated by broadcasting takes twice as long as with rows side by side.
    """
    if row.size >= LONG_ROW:
        return numpy.broadcast_to(row, (count, *row.shape))
    rows = scratch.empty(name, (count, *row.shape), row.dtype)
    numpy.copyto(rows, row)
    return rows


def fill(compute, *arrays):
    """A new array of which compute(out, *blocks) fills every block, given the same places of `arrays` of one shape."""
    out = buffer_pool.empty(arrays[0].shape, arrays[0].dtype)
    flat = [array.reshape(-1) for array in (out, *arrays)]

    def work(share):
        for block in blocks(share, 1):
            compute(*(values[block] for values in flat))

    thread_pool.parallel_map(work, split_by_work(out.size, out.size))
    return out
