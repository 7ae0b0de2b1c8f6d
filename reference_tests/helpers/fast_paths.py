"""What the tests of fast paths on NumPy share: layouts in memory, numbers of threads, small blocks, bounds."""

import contextlib
import functools

import numpy as np
import pytest
from hypothesis import strategies as st

from nfnumpy.autograd import parallel_backward
from nfnumpy.backend import blas_threads, thread_pool
from nfnumpy.functional.fast_numpy import blocks, linear, pooling, squeeze_excite, weight_standardization
from nfnumpy.optim.fast_numpy import lists

DTYPES = st.sampled_from([np.float32, np.float64])
THREADS = st.integers(1, 3)
LAYOUTS = st.sampled_from(["contiguous", "transposed", "reversed", "sliced"])


def in_layout(array, layout):
    """The same values at other places in memory."""
    if layout == "transposed":
        return np.asarray(array.T.copy()).T
    if layout == "reversed" and array.ndim:
        return array[::-1].copy()[::-1]
    if layout == "sliced" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return array


def with_threads(count, function, *arrays, **options):
    """function(*arrays, **options) on `count` threads, even for the smallest arrays; none of `arrays` may change."""
    given = [array for array in arrays if array is not None]
    before = [np.array(array) for array in given]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas_threads, "thread_count", lambda: count)
        for module, name, value in SMALLEST:
            patch.setattr(module, name, value)
        result = function(*arrays, **options)
    assert all(np.array_equal(array, copy, equal_nan=True) for array, copy in zip(given, before))
    return result


@functools.cache
def crew_of_four():
    """The caller and three more, on any machine."""
    return thread_pool._WorkerPool(3)


@contextlib.contextmanager
def walking(how, count=2):
    """Context in which even the smallest graphs go back "side by side" on `count` threads, or "one after the other"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas_threads, "thread_count", lambda: count)
        patch.setattr(thread_pool, "_worker_pool", crew_of_four)
        patch.setattr(parallel_backward, "LARGE", 0 if how == "side by side" else float("inf"))
        yield


SMALLEST = [(blocks, "BLOCK", 7), (blocks, "WORTH_A_THREAD", 0), (blocks, "SMALL", 0), (blocks, "LARGE", 0),
            (blocks, "LONG_ROW", 3), (weight_standardization, "SMALL", 0), (pooling, "GROUP", 40),
            (linear, "FEW_CHANNELS", 2), (linear, "LARGE_WEIGHT", 0), (squeeze_excite, "MANY_VALUES", 0),
            (lists, "BLOCK", 5), (lists, "WORTH_THREADS", 0)]


def expect_close(fast, formula, roundings, magnitude):
    """Arrays of one shape and dtype that differ by at most roundings·eps of the magnitudes added up."""
    assert isinstance(fast, np.ndarray) and fast.shape == formula.shape and fast.dtype == formula.dtype
    assert np.all(np.abs(fast - formula) <= roundings * np.finfo(fast.dtype).eps * magnitude)


def expect_same_bits(count, function, *arrays, **options):
    """Twice on as many threads is twice the same."""
    first, second = (with_threads(count, function, *arrays, **options) for _ in range(2))
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (first, second))):
        assert np.array_equal(one, other, equal_nan=True)
