"""Cache blocking: arrays are cut into shares, one for a thread, and the shares into blocks that stay in the cache.

Used by: functional/fast_numpy/ and optim/fast_numpy/. Sizes: tuning.py. Test: backend/test_blocking.py.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy

from . import blas_threads, buffer_pool, scratch, thread_pool, tuning


def split_evenly(length: int, parts: int) -> list[slice]:
    """`range(length)` cut into `parts` slices whose lengths differ by one at most; fewer where some would be empty."""
    parts = max(1, min(parts, length))
    return [slice(length * k // parts, length * (k + 1) // parts) for k in range(parts)]


def split_by_thread(length: int) -> list[slice]:
    """`range(length)` cut into as many even slices as there are threads, none of them empty."""
    return split_evenly(length, blas_threads.thread_count())


def split_by_work(length: int, values: int) -> list[slice]:
    """`range(length)` in even slices, one for a thread; fewer where one pass over so many values is too little."""
    worth = values // max(tuning.PARALLEL_VALUES, 1)
    return split_evenly(length, min(blas_threads.thread_count(), max(1, worth)))


def split_by_step(share: slice, step: int) -> list[slice]:
    """The slice `share` (start and stop given) cut into slices of length `step`, the last possibly shorter."""
    return [slice(start, min(start + step, share.stop)) for start in range(share.start, share.stop, step)]


def rows_in_block(row_values: int) -> int:
    """How many rows of so many values are one block; at least 1."""
    return max(1, tuning.BLOCK_VALUES // max(row_values, 1))


def repeat_row(name: str, row: numpy.ndarray, count: int) -> numpy.ndarray:
    """The array `row` `count` times, (count, *row.shape), in the scratch buffer `name`: valid until its next use.

    An operation with a short row repeated by broadcasting takes twice as long as with a full copy. Long rows are
    broadcast.
    """
    if row.size >= tuning.LONG_ROW_VALUES:
        return numpy.broadcast_to(row, (count, *row.shape))
    rows = scratch.empty(name, (count, *row.shape), row.dtype)
    numpy.copyto(rows, row)
    return rows


def write_blocks(function: Callable[..., object], share: slice, step: int, arrays: Sequence[numpy.ndarray],
                 rows: Sequence[numpy.ndarray] = ()) -> None:
    """function(*blocks of the arrays, *rows repeated as often as a block is long), for blocks of `step` in `share`."""
    blocks = split_by_step(share, step)
    longest = min(step, share.stop - share.start)
    repeated = [repeat_row(f"row {k}", row, longest) for k, row in enumerate(rows)]
    for block in blocks:
        length = block.stop - block.start
        function(*(array[block] for array in arrays), *(row[:length] for row in repeated))


def blockwise(function: Callable[..., object], out: numpy.ndarray, *arrays: numpy.ndarray,
              rows: Sequence[numpy.ndarray] = (), block_values: int | None = None,
              shares: Iterable[slice] | None = None) -> numpy.ndarray:
    """Fill `out` block by block, on threads, and return it.

    function(block of out, *blocks of the arrays, *rows) writes one block. Blocks are cut along the first axis, which
    `out` and `arrays` have in common; the largest of them has at most `block_values` values in a block (None:
    BLOCK_VALUES), or one index. rows: arrays that belong to every index alike; the function receives each repeated as
    often as its block is long. shares: the slices of the first axis that are one piece of work each (None: by work).
    """
    largest = max(array.size for array in (out, *arrays))
    if shares is None:
        shares = split_by_work(len(out), largest)
    if block_values is None:
        block_values = tuning.BLOCK_VALUES
    step = max(1, block_values * len(out) // max(largest, 1))
    thread_pool.parallel_map(lambda share: write_blocks(function, share, step, (out, *arrays), rows), shares)
    return out


def elementwise(function: Callable[..., object], *arrays: numpy.ndarray, block_values: int | None = None,
                shares: Iterable[slice] | None = None) -> numpy.ndarray:
    """A new array of the shape and dtype of all `arrays`, of which function(out, *arrays) fills every block.

    Blocks are cut from the flattened arrays; block_values and shares as `blockwise` takes them.
    """
    out = buffer_pool.empty(arrays[0].shape, arrays[0].dtype)
    flat = [array.reshape(-1) for array in (out, *arrays)]
    blockwise(function, *flat, block_values=block_values, shares=shares)
    return out


def split_arrays(arrays: Sequence[numpy.ndarray]) -> list[tuple[int, slice]]:
    """(number of an array, slice of its flattened values) for blocks that cover all arrays, the largest first."""
    blocks = [(k, block) for k, array in enumerate(arrays)
              for block in split_by_step(slice(0, array.size), tuning.BLOCK_VALUES)]
    return sorted(blocks, key=lambda block: block[1].start - block[1].stop)


def map_by_work(function: Callable[[Any], Any], pieces: Sequence[Any], values: int) -> list[Any]:
    """[function(piece) for piece in pieces], on threads where a pass over all their values is enough work."""
    if values >= tuning.PARALLEL_VALUES:
        return thread_pool.parallel_map(function, pieces)
    return thread_pool.parallel_map(lambda some: [function(piece) for piece in some], [pieces])[0]


def multi_tensor_elementwise(function: Callable[..., object],
                             *lists: Sequence[numpy.ndarray]) -> list[numpy.ndarray]:
    """New arrays like the first list's, of which function(out, *blocks of corresponding arrays) fills every block."""
    out = [buffer_pool.empty(array.shape, array.dtype) for array in lists[0]]
    flat = [[array.reshape(-1) for array in arrays] for arrays in (out, *lists)]

    def fill(piece):
        k, block = piece
        function(*(arrays[k][block] for arrays in flat))

    map_by_work(fill, split_arrays(out), sum(array.size for array in out))
    return out


def reduce_blocks(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Any:
    """The sum of function(piece) over all pieces: computed on threads, added in the order of the pieces."""
    parts = thread_pool.parallel_map(function, pieces)
    return sum(parts[1:], start=parts[0])
