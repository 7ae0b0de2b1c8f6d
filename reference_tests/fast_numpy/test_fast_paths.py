"""Every fast path gives what its formula gives, whatever the number of threads, and can be switched off."""

import importlib.util
import threading

import numpy as np
from reference_tests.helpers import strategies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from nfnumpy import InputError, backend, reference
from nfnumpy.backend import blas_threads, thread_pool
from nfnumpy.functional import activations, convolution
from nfnumpy.functional.fast_numpy import activations as fast_activations
from nfnumpy.functional.fast_numpy import convolution as fast_convolution
from nfnumpy.functional.fast_numpy.convolution import im2col, gemm, implicit_im2col

DTYPES = st.sampled_from([np.float32, np.float64])
THREADS = st.integers(1, 3)


def with_threads(count, function, block_bytes=300, small_sum=0, rows=8, by_rows=False):
    """What `function()` returns on `count` threads, to which even the smallest arrays are handed, in small blocks.

    rows: how many are multiplied at a time, 0 for all; by_rows: whether windows' rows are used where they lie.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas_threads, "thread_count", lambda: count)
        patch.setattr(fast_convolution, "WORTH_A_THREAD", 0)
        patch.setattr(fast_convolution, "SMALL_SUM", small_sum)
        patch.setattr(im2col, "BLOCK_BYTES", block_bytes)
        patch.setattr(gemm, "small_products_are_fast", lambda: bool(rows))
        patch.setattr(gemm, "MOST_ROWS", rows)
        patch.setattr(gemm, "FEWEST_ROWS", 1)
        patch.setattr(implicit_im2col, "FEWEST_CHANNELS", 1 if by_rows else 1 << 30)
        patch.setattr(implicit_im2col, "NARROWEST", 1)
        patch.setattr(fast_activations, "WORTH_A_THREAD", 0)
        patch.setattr(fast_activations, "BLOCK", 5)
        return function()


def strided(array, way):
    """The same values lying differently in memory."""
    if way == "reversed":
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if way == "every other":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return np.asfortranarray(array) if way == "transposed" else array


def expect_close(fast, formula, magnitude, roundings):
    """Equal but for the order of adding: each order errs by at most roundings·eps/2 of the magnitudes added up."""
    assert fast.shape == formula.shape and fast.dtype == formula.dtype
    assert np.all(np.abs(fast - formula) <= roundings * np.finfo(fast.dtype).eps * magnitude)


def gemm_roundings(*sizes):
    """A sum of that many products: a rounding for each product and each addition."""
    return 2 + int(np.prod(sizes))


@settings(max_examples=100)
@given(problem=strategies.convolutions(), dtype=DTYPES, count=THREADS, block_bytes=st.sampled_from([1, 300, 1 << 20]),
       small_sum=st.sampled_from([0, 1 << 20]), rows=st.sampled_from([0, 8]), by_rows=st.booleans(),
       way=st.sampled_from(["", "reversed", "every other", "transposed"]))
def test_convolution_on_threads_is_the_formula_but_for_the_order_of_adding(
        problem, dtype, count, block_bytes, small_sum, rows, by_rows, way):
    arrays = [None if array is None else strided(array.astype(dtype), way) for array in problem.inputs]
    x, weight, bias = arrays if len(arrays) == 3 else (*arrays, None)
    options, sizes = problem.options, [None if array is None else np.abs(array) for array in (x, weight, bias)]

    def fast(function, *inputs):
        return with_threads(count, lambda: function(*inputs, **options), block_bytes, small_sum, rows,
                            by_rows)

    out = convolution.conv2d.plain(x, weight, bias, **options)
    expect_close(fast(convolution.conv2d, x, weight, bias), out, convolution.conv2d.plain(*sizes, **options),
                 gemm_roundings(*weight.shape[:3]))
    cotangent = strided(out, way)
    back = convolution.conv2d_x_vjp.plain(cotangent, weight, x.shape, **options)
    expect_close(fast(convolution.conv2d_x_vjp, cotangent, weight, x.shape), back,
                 convolution.conv2d_x_vjp.plain(np.abs(out), sizes[1], x.shape, **options),
                 gemm_roundings(*weight.shape[:2], weight.shape[3]))
    back = convolution.conv2d_weight_vjp.plain(cotangent, x, weight.shape, **options)
    expect_close(fast(convolution.conv2d_weight_vjp, cotangent, x, weight.shape), back,
                 convolution.conv2d_weight_vjp.plain(np.abs(out), sizes[0], weight.shape, **options),
                 gemm_roundings(*out.shape[:3]))


@given(x=arrays_of.arrays(np.float64, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
                          elements=st.floats(-30, 30)),
       name=st.sampled_from(sorted(set(activations.NONLINEARITIES) - {"glu"})), dtype=DTYPES, count=THREADS,
       transposed=st.booleans())
def test_nonlinearities_in_blocks_are_the_formula_within_the_rounding_of_a_vectorized_function(
        x, name, dtype, count, transposed):
    """Block ends fall elsewhere than array ends, and NumPy's vectorized exp and tanh may round their rests otherwise.

    An ulp or two there is multiplied by the few operations around it: 16 eps of the larger of input and result.
    """
    if x.ndim == 0 and name == "log_softmax":
        x = x[None]
    if name == "log_softmax" and 0 in x.shape:
        return
    x = (x.T if transposed else x).astype(dtype)
    cotangent = (np.cos(x) + 1).astype(dtype)
    for function, inputs in ((activations.scaled_nonlinearity, (x,)),
                             (activations.scaled_nonlinearity_vjp, (cotangent, x))):
        formula = np.asarray(function.plain(*inputs, name=name, scale=1.7))
        fast = np.asarray(with_threads(count, lambda: function(*inputs, name=name, scale=1.7)))
        expect_close(fast, formula, np.maximum(np.abs(formula), 1 + np.abs(x)), 16)


@given(groups=st.integers(1, 3), sizes=st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)),
       dtype=DTYPES, seed=st.integers(0, 2**32 - 1), transposed=st.booleans())
def test_products_cut_into_rows_are_the_whole_ones(groups, sizes, dtype, seed, transposed):
    """Each value is a sum of `inner` products; cut or not, it errs by at most (inner + 1)/2 eps of their magnitudes."""
    (rows, inner, columns), draws = sizes, np.random.default_rng(seed)
    left, right = (draws.standard_normal(shape).astype(dtype) for shape in ((groups, rows, inner),
                                                                           (groups, inner, columns)))
    right = np.ascontiguousarray(right.swapaxes(1, 2)).swapaxes(1, 2) if transposed else right
    into = np.empty((rows, groups, columns), dtype).transpose(1, 0, 2)
    with_threads(1, lambda: gemm.multiply(left, right, into))
    expect_close(into, left @ right, np.abs(left) @ np.abs(right), inner + 1)
    other, back = draws.standard_normal((groups, rows, columns)).astype(dtype), np.empty_like(right)
    with_threads(1, lambda: gemm.multiply_transposed(left, other, back))
    left = left.swapaxes(1, 2)
    expect_close(back, left @ other, np.abs(left) @ np.abs(other), rows + 1)


def test_the_same_number_of_threads_gives_the_same_bits():
    draws = np.random.default_rng(0)
    x, weight = (draws.standard_normal(shape, dtype=np.float32) for shape in ((7, 9, 9, 8), (3, 3, 4, 6)))
    out = convolution.conv2d(x, weight, None, groups=2)
    for count in (1, 2, 3):
        first, second = (with_threads(count, lambda: convolution.conv2d_weight_vjp(out, x, weight.shape, groups=2))
                         for _ in range(2))
        assert np.array_equal(first, second)


def test_within_reference_no_fast_path_runs(monkeypatch):
    x = np.ones((2, 4, 4, 3))
    calls = []

    def counted(name, fast):
        return lambda *arrays, **options: calls.append(name) or fast(*arrays, **options)

    for formula in backend.formulas():
        if "numpy" in formula.fast_paths:
            fast = counted(formula.__name__, formula.fast_paths["numpy"])
            monkeypatch.setitem(formula.fast_paths, "numpy", fast)
    with reference():
        activations.scaled_nonlinearity(x, name="gelu", scale=1.0)
        convolution.conv2d(x, np.ones((1, 1, 3, 2)), None)
    assert calls == []
    activations.scaled_nonlinearity(x, name="gelu", scale=1.0)
    convolution.conv2d(x, np.ones((1, 1, 3, 2)), None)
    assert calls == ["scaled_nonlinearity", "conv2d"]


def test_every_fast_path_has_the_name_of_its_formula():
    paths = [(formula, path) for formula in backend.formulas() for path in formula.fast_paths.values()]
    assert len(paths) > 40
    for formula, path in paths:
        assert path is not formula.plain and path.__name__ == formula.__name__


def test_mistakes_are_the_formulas_errors_on_the_fast_path_too():
    for bad in (np.ones((2, 4, 4)), np.ones((2, 4, 4, 5))):
        with pytest.raises(InputError, match="conv2d"):
            convolution.conv2d(bad, np.ones((3, 3, 3, 2)), None)


def test_threads_compute_with_blas_to_themselves_and_give_it_back():
    before = [library.num_threads for library in blas_threads._blas_libraries()]
    seen = with_threads(2, lambda: thread_pool.parallel_map(
        lambda piece: [library.num_threads for library in blas_threads._blas_libraries()], range(4)))
    assert before and all(count == 1 for counts in seen for count in counts)
    assert [library.num_threads for library in blas_threads._blas_libraries()] == before


@given(length=st.integers(0, 50), count=st.integers(1, 9))
def test_shares_cover_every_index_once_and_differ_by_one_at_most(length, count):
    shares = with_threads(count, lambda: blas_threads.split_by_thread(length))
    assert [k for share in shares for k in range(share.start, share.stop)] == list(range(length))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1 and len(shares) == max(1, min(count, length))


def test_an_error_on_a_thread_reaches_the_caller():
    def fail(piece):
        raise InputError(f"piece {piece} on {threading.current_thread().name}")
    with pytest.raises(InputError, match="piece 0"):
        with_threads(2, lambda: thread_pool.parallel_map(fail, range(3)))


def test_threads_know_the_contexts_of_their_caller():
    from nfnumpy.backend import dispatch
    with reference(), np.errstate(over="raise"):
        seen = with_threads(2, lambda: thread_pool.parallel_map(
            lambda piece: (dispatch._reference.get(), np.geterr()["over"]), range(3)))
    assert seen == [(True, "raise")] * 3


@pytest.mark.parametrize("x, scale", [(np.arange(9), 1.7), (np.arange(9, dtype=np.float32), np.float64(1.7))])
def test_what_the_blocks_would_round_is_left_to_the_formula(x, scale):
    fast = with_threads(2, lambda: activations.scaled_nonlinearity(x, name="relu", scale=scale))
    formula = activations.scaled_nonlinearity.plain(x, name="relu", scale=scale)
    assert fast.dtype == formula.dtype and np.array_equal(fast, formula)
