"""Helpers for tests of fast paths on NumPy: memory layouts, numbers of threads, small blocks, bounds."""

import contextlib
import functools

import numpy as np
import pytest
from hypothesis import strategies as st

from nfnumpy.autograd import parallel_backward
from nfnumpy.backend import blas_threads, thread_pool, tuning
from nfnumpy.functional.fast_numpy.convolution import gemm

DTYPES = st.sampled_from([np.float32, np.float64])
THREADS = st.integers(1, 3)
LAYOUTS = st.sampled_from(["contiguous", "transposed", "reversed", "sliced"])

# With these sizes the smallest arrays are cut into several blocks and several threads work on them.
SMALLEST = {
    "PARALLEL_VALUES": 0, "PARALLEL_NONLINEARITY_VALUES": 0, "PARALLEL_MULTIPLY_ADDS": 0, "BLOCK_VALUES": 7,
    "NONLINEARITY_BLOCK_VALUES": 5, "POOLING_BLOCK_VALUES": 40, "WINDOW_BLOCK_BYTES": 300, "SMALL_VALUES": 0,
    "LARGE_VALUES": 0, "SMALL_WEIGHT_VALUES": 0, "SUMMED_CHANNELS": 2, "EXCITED_VALUES": 0, "LINEAR_WEIGHT_VALUES": 0,
    "LONG_ROW_VALUES": 3, "PRODUCT_ROWS": 8, "FEWEST_PRODUCT_ROWS": 1, "THREAD_SUM_BYTES": 0,
    "DEPTHWISE_RUN_VALUES": 7, "DEPTHWISE_PRODUCTS": 0, "DEPTHWISE_BLOCK_PRODUCTS": 40,
    "DEPTHWISE_FRAMED_CHANNELS": 2,
}


def in_layout(array, layout):
    """The same values at other places in memory."""
    if layout == "transposed":
        return np.asarray(array.T.copy()).T
    if layout == "reversed" and array.ndim:
        return np.flip(np.flip(array).copy())
    if layout == "sliced" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return array


@contextlib.contextmanager
def smallest_sizes(count, **sizes):
    """Context in which `count` threads work on even the smallest arrays, in small blocks and small products.

    sizes: names of backend/tuning.py and their values, where others than SMALLEST are wanted.
    """
    sizes = {**SMALLEST, **sizes}
    before = {name: getattr(tuning, name) for name in sizes}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas_threads, "thread_count", lambda: count)
        patch.setattr(gemm, "small_products_are_fast", lambda: True)
        vars(tuning).update(sizes)
        try:
            yield
        finally:
            vars(tuning).update(before)


def with_threads(count, function, *arrays, sizes=None, **options):
    """function(*arrays, **options) within `smallest_sizes(count, **sizes)`; no array, nor one of a list, may change."""
    given = [array for one in arrays for array in (one if isinstance(one, list) else [one])
             if isinstance(array, np.ndarray)]
    before = [array.copy() for array in given]
    with smallest_sizes(count, **(sizes or {})):
        result = function(*arrays, **options)
    for array, copy in zip(given, before, strict=True):
        assert np.array_equal(array, copy, equal_nan=True)
    return result


@functools.cache
def pool_of(count):
    """The caller and as many workers as make `count` threads, on any machine."""
    return thread_pool._WorkerPool(count - 1)


@contextlib.contextmanager
def backward_mode(mode, count=2):
    """Context in which the backward pass of any graph is "parallel", on `count` threads, or "sequential"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas_threads, "thread_count", lambda: count)
        patch.setattr(thread_pool, "_worker_pool", lambda: pool_of(count))
        patch.setattr(parallel_backward, "LARGE", 0 if mode == "parallel" else float("inf"))
        yield


def expect_close(fast, formula, roundings, magnitude):
    """Arrays of one shape and dtype that differ by at most roundings·eps of the magnitudes added up."""
    assert isinstance(fast, np.ndarray) and fast.shape == formula.shape and fast.dtype == formula.dtype
    assert np.all(np.abs(fast - formula) <= roundings * np.finfo(fast.dtype).eps * magnitude)


def expect_same_bits(count, function, *arrays, sizes=None, **options):
    """Two calls on as many threads give the same bits."""
    first, second = (with_threads(count, function, *arrays, sizes=sizes, **options) for _ in range(2))
    first, second = (each if isinstance(each, tuple) else (each,) for each in (first, second))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def gemm_roundings(*sizes):
    """The roundings in a sum of that many products, in two orders: one for each product and each addition."""
    return 2 + int(np.prod(sizes))
