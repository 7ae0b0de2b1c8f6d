"""Matrix products on CuPy, and the operations made of them. Whole numbers: every sum is exact, whatever its order."""

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.backend import cublas, to_host
from nfnumpy.backend.cublas import Matrices
from nfnumpy.functional import linear as formulas
from nfnumpy.functional.fast_cupy import linear as fast

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
SIZES = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))


def whole(shape, dtype, seed, most=2):
    return cupy.asarray(np.random.default_rng(seed).integers(-most, most, shape, endpoint=True).astype(dtype))


# ---- products of spaced matrices


@st.composite
def spaced(draw, shape, batch, dtype, seed, transposed=False):
    """(Matrices, what they are): rows apart by more than their length, matrices by more than their rows."""
    stored = shape[::-1] if transposed else shape
    row = max(1, stored[1]) + draw(st.integers(0, 2))
    apart = row * stored[0] + draw(st.integers(0, 3))
    array = whole((batch * apart + 1,), dtype, seed)
    host = to_host(array).astype(np.float64)
    view = np.lib.stride_tricks.as_strided(host, (batch, *stored), (apart * 8, row * 8, 8))
    return Matrices(array, row, apart, transposed), view.swapaxes(1, 2) if transposed else view, host


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), sizes=SIZES, batch=st.integers(1, 3), accumulate=st.booleans(), into_float32=st.booleans())
def test_each_matrix_of_a_batch_is_its_product(dtype, data, sizes, batch, accumulate,
                                                                             into_float32):
    rows, columns, inner = sizes
    a, a_values, _ = data.draw(spaced((rows, inner), batch, dtype, 0, data.draw(st.booleans())))
    b, b_values, _ = data.draw(spaced((inner, columns), batch, dtype, 1, data.draw(st.booleans())))
    out_dtype = np.float32 if into_float32 and np.dtype(dtype).itemsize == 2 else dtype
    out, out_values, out_host = data.draw(spaced((rows, columns), batch, out_dtype, 2))
    out_values[...] = a_values @ b_values + (out_values if accumulate else 0)
    cublas.multiply(a, b, out, rows=rows, columns=columns, inner=inner, batch=batch, accumulate=accumulate)
    assert np.array_equal(to_host(out.array).astype(np.float64), out_host)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_summed_in_float32_and_kept_there_if_possible(dtype):
    ones = Matrices(cupy.asarray(np.ones(3000, dtype)), 3000)
    for out_dtype in (np.float32, dtype):
        out = cupy.zeros((1, 1), dtype=out_dtype)
        cublas.multiply(ones, ones.T, Matrices(out, 1), rows=1, columns=1, inner=3000)
        assert to_host(out)[0, 0] == np.float32(3000).astype(out_dtype)


def test_a_transposed_twice_matrix_is_itself():
    matrices = Matrices(None, 3, 12)
    assert matrices.T.T == matrices != matrices.T


# ---- matmul and linear


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes=SIZES, transposed=st.booleans())
def test_matmul_and_its_gradients_are_the_formulas(dtype, sizes, transposed):
    rows, columns, inner = sizes
    x = whole((inner, rows), dtype, 0).T if transposed else whole((rows, inner), dtype, 0)
    y, cotangent = whole((inner, columns), dtype, 1), whole((rows, columns), dtype, 2)
    host = [to_host(array).astype(np.float64) for array in (x, y, cotangent)]
    for got, expected in ((fast.matmul(x, y), host[0] @ host[1]),
                          (fast.matmul_x_vjp(cotangent, y, x.shape), host[2] @ host[1].T),
                          (fast.matmul_y_vjp(cotangent, x, y.shape), host[0].T @ host[2])):
        assert got.dtype == dtype and np.array_equal(to_host(got), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes=SIZES, biased=st.booleans())
def test_linear_and_its_gradients_are_the_formulas(dtype, sizes, biased):
    rows, columns, inner = sizes
    x, weight, cotangent = whole((rows, inner), dtype, 0), whole((inner, columns), dtype, 1), \
        whole((rows, columns), dtype, 2)
    bias = whole((columns,), dtype, 3) if biased else None
    host = [to_host(array).astype(np.float64) for array in (x, weight, cotangent)]
    added = to_host(bias).astype(np.float64) if biased else 0
    for got, expected in ((fast.linear(x, weight, bias), host[0] @ host[1] + added),
                          (fast.linear_x_vjp(cotangent, weight), host[2] @ host[1].T),
                          (fast.linear_weight_vjp(cotangent, x), host[0].T @ host[2])):
        assert got.dtype == dtype and np.array_equal(to_host(got), expected)


@pytest.mark.parametrize("function, shapes", [
    ("linear", ((2, 3), (4, 5))), ("linear", ((2, 3, 1), (1, 5))), ("linear", ((2, 3), (3, 5), (4,))),
    ("linear", ((2, 3), (3, 5), (1, 5))), ("matmul", ((2, 3), (4, 5))), ("matmul", ((3,), (4, 5)))])
def test_mistakes_are_the_formulas_errors(function, shapes):
    function, messages = getattr(formulas, function), []
    for make in (np.ones, cupy.ones):
        with pytest.raises(InputError) as caught:
            function(*map(make, shapes))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_batches_mixed_dtypes_and_whole_numbers_are_the_formulas():
    one, batch = cupy.ones((2, 2)), cupy.ones((3, 2, 2))
    for other in (batch, cupy.ones((2, 2), dtype=np.float32)):
        assert fast.matmul(one, other) is fast.matmul(other, one) is NotImplemented
    for gradient in (fast.matmul_x_vjp, fast.matmul_y_vjp):
        assert gradient(batch, batch, batch.shape) is NotImplemented
    assert fast.linear(one, one.astype(np.float32)) is NotImplemented
    assert fast.linear(one, one, cupy.ones((2,), dtype=np.float32)) is NotImplemented
    assert fast.matmul(one.astype(np.int64), one.astype(np.int64)) is NotImplemented
    assert np.array_equal(to_host(formulas.matmul(batch, one)), np.full((3, 2, 2), 2.0))
