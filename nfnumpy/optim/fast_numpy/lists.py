"""Lists of arrays, and how they are shared out to our threads."""

from ...backend import thread_pool, buffer_pool

BLOCK = 1 << 17  # values: enough for a pass to be worth calling NumPy for, few enough for a core's share of the cache
WORTH_THREADS = 1 << 18  # values: some 100 µs of work, a few times what handing over costs


def covered(numbers, *lists):
    """Whether the lists hold arrays of one floating dtype and, side by side, of one shape, and these are numbers."""
    dtype, shapes = lists[0][0].dtype, [array.shape for array in lists[0]]
    return dtype.name in ("float32", "float64") and {type(number) for number in numbers} <= {int, float} and all(
        [array.shape for array in arrays] == shapes and all(array.dtype == dtype for array in arrays)
        for arrays in lists)


def share_out(function, pieces, size):
    """[function(piece) for piece in pieces]; on threads where they have so many values in all that it is worth it."""
    if size >= WORTH_THREADS:
        return thread_pool.parallel_map(function, pieces)
    return thread_pool.parallel_map(lambda some: [function(piece) for piece in some], [pieces])[0]


def size_of(arrays):
    """How many values they have in all."""
    return sum(array.size for array in arrays)


def empty_like(arrays):
    """New arrays of their shapes and dtypes, with nothing in them yet."""
    return [buffer_pool.empty(array.shape, array.dtype) for array in arrays]
