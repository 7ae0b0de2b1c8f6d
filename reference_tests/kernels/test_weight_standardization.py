"""The kernels of weight standardization give what the formula gives in float64, within the rounding of their dtype.

Where there is a GPU they run on it; elsewhere on the CPU, in guarded memory.
"""

import cupy
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.functional import weight_standardization as formulas
from nfnumpy.functional.fast_cupy import weight_standardization as fast
from reference_tests.conftest import GPU

SHAPES = [(3, 4), (1, 4), (5, 1), (1, 1), (3, 3, 5, 33), (1, 1, 7, 130), (2, 3, 4, 5, 6), (300, 9), (70, 65),
          (200, 8), (2, 0), (0, 3)]
DTYPES = [np.float32, np.float64]


@st.composite
def problems(draw):
    """(cotangent, weight, gain, eps) on the host: units of any size and mean, and floors below, among and above them.

    No unit's N·sigma² is within a hundredth of eps, where rounding decides on which side it is.
    """
    shape, dtype = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread, mean = 10.0 ** random.integers(-4, 3, shape[-1:]), draw(st.sampled_from([0.0, 1.0, 100.0]))
    weight = spread * (random.standard_normal(shape) + mean)
    cotangent, gain = random.standard_normal(shape) + mean, random.uniform(-2, 2, shape[-1:])
    arrays = [np.asarray(array).astype(dtype) for array in (cotangent, weight, gain)]
    eps = draw(st.sampled_from([1e-4, 1e-6, 1.0, 1e4]))
    squares = (centred(arrays[1].astype(np.float64)) ** 2).sum(axis=tuple(range(len(shape) - 1)))
    while np.any(np.abs(squares / eps - 1) < 0.01):
        eps *= 1.1
    return *arrays, eps


def centred(weight):
    return weight - weight.sum(axis=tuple(range(weight.ndim - 1)), keepdims=True) / max(1, weight[..., :1].size)


def bounds(cotangent, weight, gain, eps, unit_roundoff):
    """How far (What, cotangent of W, cotangent of gain) may be off, u being the unit roundoff, to first order.

    A sum of n terms is n·u of the magnitudes off, so a centred weight d = (n + 2)·u·max|W|. The norm of the centred
    weights is then √n·d and, by its own roundings, (n + 5)·u of itself off; what it is floored at is not, so that the
    scale s is r = s·√n·d + (n + 5)·u of itself off. The rest are products of these; 1.1 for what is of second order.
    """
    axes, n, u = tuple(range(weight.ndim - 1)), weight[..., :1].size, unit_roundoff
    largest = np.max(np.abs(weight), axis=axes, keepdims=True, initial=0.0)
    c, d = centred(weight), (n + 2) * u * largest
    s = 1 / np.sqrt(np.maximum((c * c).sum(axis=axes, keepdims=True), eps))
    r = s * np.sqrt(n) * d + (n + 5) * u
    out = np.abs(gain) * s * (d + np.abs(c) * (r + 3 * u))

    norm = np.sqrt((cotangent * cotangent).sum(axis=axes, keepdims=True))
    unit, along = np.abs(c * s), np.abs((c * s * cotangent).sum(axis=axes, keepdims=True))
    c_norm = np.sqrt((c * c).sum(axis=axes, keepdims=True))
    along_off = s * norm * (np.sqrt(n) * d + (n + 2) * u * c_norm) + along * (r + u)
    mean_off = (n + 2) * u * np.max(np.abs(cotangent), axis=axes, keepdims=True, initial=0.0)
    terms = np.abs(cotangent) + np.max(np.abs(cotangent), axis=axes, keepdims=True, initial=0.0) + unit * along
    tangential_off = mean_off + (s * d + unit * r) * along + unit * along_off + 3 * u * terms
    back = np.abs(gain) * s * (tangential_off + terms * (r + 3 * u))
    assert np.all(r < 0.1)
    return 1.1 * out, 1.1 * back, 1.1 * along_off.reshape(gain.shape)


def in_float64(cotangent, weight, gain, eps):
    """(What, cotangent of W, cotangent of gain) by the formulas."""
    arrays = [array.astype(np.float64) for array in (cotangent, weight, gain)]
    with np.errstate(all="ignore"):
        return (formulas.standardize_weight.plain(*arrays[1:], eps=eps),
                *formulas.standardize_weight_vjp.plain(*arrays, eps=eps))


def by_kernels(cotangent, weight, gain, eps):
    """The same, as host arrays; fails unless the kernels took it on."""
    arrays = [cupy.asarray(array) for array in (cotangent, weight, gain)]
    out, back = fast.standardize_weight(*arrays[1:], eps=eps), fast.standardize_weight_vjp(*arrays, eps=eps)
    assert out is not NotImplemented and back is not NotImplemented
    return tuple(cupy.asnumpy(array) for array in (out, *back))


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@given(problem=problems(), lanes=st.sampled_from([1, 2, 4]), threads=st.sampled_from([32, 96, 512]))
def test_value_and_derivatives_are_the_formulas_within_rounding(problem, lanes, threads):
    """With few threads a block's registers cannot hold its columns, with many some threads have no row."""
    def layout(rows, columns, itemsize):
        return lanes, -(-columns * itemsize // (16 * lanes)), threads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_layout", layout)
        results = by_kernels(*problem)
    *arrays, eps = problem
    limits = bounds(*(array.astype(np.float64) for array in arrays), eps, np.finfo(arrays[0].dtype).eps / 2)
    for result, expected, limit in zip(results, in_float64(*problem), limits, strict=True):
        assert result.dtype == arrays[0].dtype and result.shape == expected.shape
        assert np.all(np.abs(result - expected) <= limit)


@pytest.mark.parametrize("rows, columns, itemsize, layout", [
    (1152, 768, 4, (2, 96, 480)), (1152, 256, 4, (1, 64, 256)), (1153, 256, 8, (1, 128, 320)),
    (1280, 532, 4, (2, 67, 512)), (1281, 532, 4, (1, 133, 288)), (4608, 512, 4, (1, 128, 512)), (0, 3, 4, (1, 1, 32))])
def test_a_block_holds_its_columns_and_blocks_fill_the_gpu(rows, columns, itemsize, layout):
    assert fast._layout(rows, columns, itemsize) == layout


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["cotangent", "weight", "gain"])
def test_what_is_not_a_number_comes_through_as_in_the_formula(which, value):
    random = np.random.default_rng(0)
    problem = {"cotangent": random.standard_normal((5, 7)), "weight": random.standard_normal((5, 7)),
               "gain": random.standard_normal(7)}
    problem[which][..., 3] = value
    results, expected = by_kernels(**problem, eps=1e-4), in_float64(**problem, eps=1e-4)
    for result, formula in zip(results, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(result), np.isnan(formula))
        assert not np.isnan(np.delete(result, 3, axis=-1)).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3, 5, 33), (300, 9)])
def test_the_order_in_which_threads_run_changes_no_bit(shape, dtype, monkeypatch):
    random = np.random.default_rng(1)
    problem = (*(random.standard_normal(s).astype(dtype) for s in (shape, shape, shape[-1:])), 1e-4)
    results = []
    for order in "012":
        monkeypatch.setenv("CUDA_ON_CPU_ORDER", order)
        results.append([result.tobytes() for result in by_kernels(*problem)])
    assert results[0] == results[1] == results[2]


def test_views_are_read_as_what_they_show():
    """Transposed, and one entry into a buffer, where no 16-byte access may start."""
    random = np.random.default_rng(2)
    cotangent, weight, gain = (random.standard_normal(s).astype(np.float32) for s in ((7, 5), (36,), (6,)))
    transposed, shifted = cupy.asarray(cotangent).T, cupy.asarray(weight)[1:].reshape(5, 7)
    arrays = transposed, shifted, cupy.asarray(np.tile(gain, 2))[2:9]
    host = [np.ascontiguousarray(cupy.asnumpy(array)) for array in arrays]
    back = fast.standardize_weight_vjp(*arrays)
    for result, expected in zip([fast.standardize_weight(*arrays[1:]), *back], by_kernels(*host, 1e-4), strict=True):
        np.testing.assert_array_equal(cupy.asnumpy(result), expected)


@pytest.mark.parametrize("weight, gain", [((3,), (3,)), ((3, 4), (3,)), ((3, 4), (1, 4)), ((), ())])
def test_shapes_that_do_not_fit_are_the_formulas_error(weight, gain):
    with pytest.raises(InputError, match="standardize_weight: expected weight"):
        formulas.standardize_weight(cupy.asarray(np.ones(weight)), cupy.asarray(np.ones(gain)))


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float16", "float16")])
def test_what_the_kernels_do_not_know_is_left_to_the_formula(dtypes):
    weight, gain = cupy.asarray(np.ones((3, 4), dtypes[0])), cupy.asarray(np.ones(4, dtypes[1]))
    assert fast.standardize_weight(weight, gain) is NotImplemented
    assert fast.standardize_weight_vjp(weight, weight, gain) is NotImplemented


def test_a_cotangent_that_broadcasts_is_left_to_the_formula():
    weight, row = cupy.asarray(np.ones((3, 4))), cupy.asarray(np.ones(4))
    assert fast.standardize_weight_vjp(row, weight, row) is NotImplemented


def test_each_is_one_launch_that_nobody_waits_for():
    """The stand-in counts both; CuPy itself does not."""
    launches = getattr(getattr(cupy, "_raw", None), "launches", {})
    waits = getattr(getattr(cupy, "_array", None), "waits", {})
    weight, gain = cupy.asarray(np.ones((3, 3, 5, 33))), cupy.asarray(np.ones(33))
    before, waited = dict(launches), dict(waits)
    formulas.standardize_weight(weight, gain)
    formulas.standardize_weight_vjp(weight, weight, gain)
    started = {name: count - before.get(name, 0) for name, count in launches.items() if count != before.get(name, 0)}
    assert waits == waited and (not launches or started == {
        "standardize_weight<double>": 1, "standardize_weight_vjp<double>": 1})
    assert formulas.standardize_weight.fast_paths["cupy"] is fast.standardize_weight


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size, eps", [(1e20, 1e-4), (1e38, 1e-4), (1e-25, 0.0), (1e-25, 1e-60)])
def test_squares_out_of_range_give_the_formula(dtype, size, eps):
    """One unit of that size beside an ordinary one; the formula in float64, where nothing leaves the range.

    With the rounding of 12 numbers, that is some 20 units of what is added up. Kernels of float32 that CuPy compiles
    have 0 in place of subnormal numbers (-ftz=true).
    """
    information = np.finfo(dtype)
    vanishing = information.smallest_normal if GPU and dtype == np.float32 else information.smallest_subnormal
    random = np.random.default_rng(6)
    cotangent, weight = (random.standard_normal((2, 2, 3, 2)).astype(dtype) for _ in range(2))
    weight[..., 0] *= dtype(size)
    gain = random.uniform(1, 2, 2).astype(dtype)
    in_double = [array.astype(np.float64) for array in (cotangent, weight, gain)]
    expected = [formulas.standardize_weight.plain(*in_double[1:], eps=eps),
                *formulas.standardize_weight_vjp.plain(*in_double, eps=eps)]
    on_device = [cupy.asarray(array) for array in (cotangent, weight, gain)]
    results = [fast.standardize_weight(*on_device[1:], eps=eps), *fast.standardize_weight_vjp(*on_device, eps=eps)]
    for result, value in zip(results, expected, strict=True):
        found = cupy.asnumpy(result)
        assert np.all(np.isfinite(found))
        largest = np.max(np.abs(value), axis=tuple(range(value.ndim - 1)))
        limit = 60 * information.eps * largest + vanishing
        assert np.all(np.abs(found - value) <= limit)
