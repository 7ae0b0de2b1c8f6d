"""What the tests of kernels share: arrays on the GPU (or where kernels run without one) and what came of them."""

import importlib

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from nfnumpy.backend import cuda, to_host
from reference_tests.conftest import GPU

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
ANY_DTYPE = st.sampled_from(DTYPES)
ORDERS = ("0", "1", "2")
WAITS = {} if GPU else importlib.import_module("cupy._array").waits


def normal(shape, dtype, seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def whole(shape, dtype, seed=0, low=-2, high=4):
    """Small whole numbers, of which sums and products are exact in the type that is computed in."""
    return np.asarray(np.random.default_rng(seed).integers(low, high, shape, endpoint=True)).astype(dtype)


def put(array, misaligned=False, transposed=False):
    """`array` on the GPU; at an address that is no multiple of 16, or in Fortran's order."""
    if transposed:
        return cupy.asarray(np.array(array.T, order="C")).T
    flat = cupy.asarray(np.concatenate([np.zeros(int(misaligned), array.dtype), array.ravel()]))
    return flat[int(misaligned):].reshape(array.shape)


def exact(array):
    """In NumPy's longest floating type, whose roundings are small beside float64's."""
    return np.asarray(array, dtype=np.float64).astype(np.longdouble)


def rounded(function, dtype, *arrays, **options):
    """What a formula gives for the values of `arrays` in the type that kernels compute in, rounded to `dtype` once."""
    wide = cuda.accumulator_type(np.dtype(dtype))
    with np.errstate(all="ignore"):
        result = function.plain(*(a.astype(wide) if isinstance(a, np.ndarray) else a for a in arrays), **options)
        return np.asarray(result).astype(dtype)


def units(dtype):
    """(half an epsilon of the type that values of `dtype` are computed in, and of `dtype` itself)."""
    return tuple(float(ml_dtypes.finfo(kind).eps) / 2 for kind in (cuda.accumulator_type(np.dtype(dtype)), dtype))


def hold(got, expected, error, dtype):
    """Assert that `got` is `expected` to within `error`, both of what is computed, and one rounding to `dtype`.

    A value below dtype's smallest normal number is rounded to a multiple of its smallest.
    """
    got = to_host(got)
    assert got.dtype == dtype and got.shape == np.shape(expected)
    allowed = error + units(dtype)[1] * (np.abs(expected) + error) + float(ml_dtypes.finfo(dtype).smallest_subnormal)
    assert np.all(np.abs(exact(got) - expected) <= allowed)


def expect(got, expected):
    """Assert that `got` is `expected` to the bit, but for the sign of a zero and what a NaN looks like."""
    got = to_host(got)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    np.testing.assert_array_equal(np.float64(got), np.float64(expected))


def launched(function):
    """The names of the kernels that `function()` starts."""
    names = []

    def noted(file, kernel, parameters, grid, *arguments):
        if 0 not in (grid if isinstance(grid, tuple) else (grid,)):
            names.append(kernel)
        launch(file, kernel, parameters, grid, *arguments)
    with pytest.MonkeyPatch.context() as patch:
        launch = cuda.KernelFile.launch
        patch.setattr(cuda.KernelFile, "launch", noted)
        function()
    return names


def waits(function):
    """How often the host waited for the GPU in `function()`."""
    before = sum(WAITS.values())
    function()
    return sum(WAITS.values()) - before


def bits_in_all_orders(function):
    """The bytes of the arrays that `function()` returns, in every order of threads and twice: a set of one."""
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        for order in (*ORDERS, ORDERS[0]):
            patch.setenv("CUDA_ON_CPU_ORDER", order)
            results = function()
            results = results if isinstance(results, tuple) else (results,)
            seen.add(b"".join(to_host(result).tobytes() for result in results))
    return seen
