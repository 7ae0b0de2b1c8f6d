"""Squeeze-and-excite on CuPy, compared with its formula in float64.

u is half an epsilon of the arrays' dtype, w that of the type that is computed in. Between the launches the means,
hidden layers, gates and their cotangents are rounded to the dtype: a dozen u on the longest path, and every sum on it
adds its number of terms times w. A gate that errs by e changes its sigmoid, and its sigmoid's slope, by at most e of
themselves.
"""

import cupy
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy import InputError
from nfnumpy.backend import cuda, to_host
from nfnumpy.functional import squeeze_excite as formulas
from nfnumpy.functional.fast_cupy import image_means, squeeze_excite as fast
from reference_tests.helpers.on_gpu import (
    ANY_DTYPE,
    DTYPES,
    bits_in_all_orders,
    exact,
    expect,
    hold,
    launched,
    normal,
    put,
    units,
    waits,
    whole,
)

CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 8, 16, 24, 33, 64, 130])
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8), CHANNELS)
ONE_LAUNCH, TWO_LAUNCHES = {"ENOUGH_BLOCKS": 1}, {"ENOUGH_BLOCKS": 512, "WORTH_A_SHARE": 1}
SHARING = st.sampled_from([ONE_LAUNCH, TWO_LAUNCHES])
SCALES = st.sampled_from([2.0, 1.0, 0.5])
OPTIONS = st.fixed_dictionaries({"activation": st.sampled_from(["relu", "silu"]), "scale": SCALES})
RELU, SILU = {"activation": "relu", "scale": 2.0}, {"activation": "silu", "scale": 1.0}


def sharing_out(sharing, function):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sharing.items():
            patch.setattr(image_means, name, value)
        return function()


def problem(shape, hidden, dtype):
    """x, weight0, bias0, weight1, bias1, cotangent; hidden units stay far from the kink of their relu.

    |x| ≤ 1 and |weight0| ≤ 1/C against biases of ±3/2.
    """
    random, channels = np.random.default_rng([*shape, hidden]), shape[3]
    arrays = (random.uniform(-1, 1, shape), random.uniform(-1, 1, (channels, hidden)) / channels,
              random.choice([-1.5, 1.5], hidden), random.standard_normal((hidden, channels)) / hidden,
              random.standard_normal(channels), random.standard_normal(shape))
    return [array.astype(dtype) for array in arrays]


def sizes(x, weight0, bias0, weight1, bias1, cotangent):
    """What is added up, without signs, for the value and each gradient: the formulas on magnitudes, σ' ≤ 1/4.

    relu and silu are no greater than their input, silu's slope is at most 1.1, and the scale is at most 2.
    """
    x, weight0, bias0, weight1, bias1, cotangent = (np.abs(exact(a)) for a in (x, weight0, bias0, weight1, bias1,
                                                                               cotangent))
    pixels, pooled = x.shape[1] * x.shape[2], x.mean(axis=(1, 2))
    hidden = pooled @ weight0 + bias0
    gate = 1 + hidden @ weight1 + bias1
    back = (cotangent * x).sum(axis=(1, 2)) / 2 * gate
    back_hidden = 1.1 * back @ weight1.T
    back_mean = (back_hidden @ weight0.T) / pixels
    return x * 2 * gate[:, None, None], (cotangent * 2 * gate[:, None, None] + back_mean[:, None, None],
                                         pooled.T @ back_hidden, back_hidden.sum(0), hidden.T @ back, back.sum(0))


def roundings(shape, hidden, dtype):
    w, u = units(dtype)
    return 12 * u + (shape[0] + shape[1] * shape[2] + 2 * shape[3] + 2 * hidden + 20) * w


@given(shape=SHAPES, hidden=st.integers(1, 5), dtype=ANY_DTYPE, misaligned=st.booleans(), sharing=SHARING,
       options=OPTIONS)
@example(shape=(2, 10, 10, 136), hidden=7, dtype=np.float32, misaligned=False, sharing=ONE_LAUNCH, options=RELU)
@example(shape=(2, 10, 10, 136), hidden=7, dtype=np.float32, misaligned=False, sharing=TWO_LAUNCHES, options=SILU)
@example(shape=(2, 10, 10, 264), hidden=7, dtype=np.float16, misaligned=False, sharing=TWO_LAUNCHES, options=SILU)
def test_value_and_gradients_err_by_no_more_than_their_roundings(shape, hidden, dtype, misaligned, sharing, options):
    *inputs, cotangent = problem(shape, hidden, dtype)
    wide = [np.float64(array) for array in inputs]
    device = [put(array, misaligned) for array in inputs]
    size, size_back = sizes(*inputs, cotangent)
    error = roundings(shape, hidden, dtype)
    out = sharing_out(sharing, lambda: formulas.squeeze_excite(*device, **options))
    hold(out, formulas.squeeze_excite.plain(*wide, **options), error * size, dtype)
    back = sharing_out(sharing, lambda: formulas.squeeze_excite_vjp(put(cotangent, misaligned), *device, **options))
    expected = formulas.squeeze_excite_vjp.plain(np.float64(cotangent), *wide, **options)
    for got, gradient, magnitude in zip(back, expected, size_back, strict=True):
        hold(got, gradient, error * magnitude, dtype)


# ---- the launches one by one


@given(shape=SHAPES, dtype=ANY_DTYPE, misaligned=st.booleans(), sharing=SHARING)
@example(shape=(2, 24, 24, 64), dtype=np.float32, misaligned=False, sharing=TWO_LAUNCHES)
@example(shape=(2, 12, 12, 136), dtype=np.float16, misaligned=False, sharing=ONE_LAUNCH)
@example(shape=(2, 12, 12, 136), dtype=np.float32, misaligned=True, sharing=ONE_LAUNCH)
def test_one_pass_gives_the_mean_and_the_dot_product(shape, dtype, misaligned, sharing):
    """Of whole numbers, whose sums are exact; those with the cotangent stay in the wide type."""
    x, cotangent, wide = whole(shape, dtype), whole(shape, dtype, seed=1), cuda.accumulator_type(np.dtype(dtype))
    mean, dot = sharing_out(sharing, lambda: image_means.image_mean_and_dot(put(x, misaligned), put(cotangent)))
    expect(mean, (x.astype(wide).mean(axis=(1, 2))).astype(dtype))
    expect(np.sum(to_host(dot), axis=1), np.sum(x.astype(wide) * cotangent.astype(wide), axis=(1, 2)))


@given(shape=SHAPES, dtype=ANY_DTYPE, sharing=SHARING)
@example(shape=(2, 24, 24, 64), dtype=np.float32, sharing=TWO_LAUNCHES)
def test_the_mean_has_the_same_bits_alone_and_beside_the_product(shape, dtype, sharing):
    x = put(normal(shape, dtype))
    alone, (beside, _) = sharing_out(sharing, lambda: (image_means.image_mean(x), image_means.image_mean_and_dot(x, x)))
    assert to_host(alone).tobytes() == to_host(beside).tobytes()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@given(shape=SHAPES, dtype=ANY_DTYPE, misaligned=st.sampled_from(["none", "image", "gate", "mean", "back"]),
       scale=SCALES)
@example(shape=(2, 10, 10, 136), dtype=np.float32, misaligned="none", scale=2.0)
@example(shape=(2, 10, 10, 264), dtype=np.float16, misaligned="none", scale=1.0)
@example(shape=(2, 50, 50, 3), dtype=np.float32, misaligned="none", scale=1.0)
@example(shape=(2, 3, 3, 8), dtype=np.float16, misaligned="image", scale=2.0)
@example(shape=(2, 3, 3, 8), dtype=np.float16, misaligned="gate", scale=2.0)
@example(shape=(2, 3, 3, 8), dtype=np.float16, misaligned="mean", scale=2.0)
@example(shape=(2, 3, 3, 8), dtype=np.float16, misaligned="back", scale=2.0)
def test_every_pixel_is_scaled_by_the_gates_of_its_image(shape, dtype, misaligned, scale):
    """Of the sigmoid, exp errs by 4w, the sum and quotient by w each; its products and the sum by w each."""
    image, gate, mean = (normal(s, dtype, seed) for seed, s in enumerate((shape, (shape[0], shape[3]),
                                                                          (shape[0], shape[3]))))
    gate = (4 * gate).astype(dtype)
    inputs = put(image, misaligned == "image"), put(gate, misaligned == "gate")
    out, back = (put(np.zeros(shape, dtype), misaligned == "back") for _ in range(2))
    number = cuda.accumulator_type(np.dtype(dtype))(scale)
    image_means.map_tiles(fast.KERNELS, "excite", shape, *inputs, out, number)
    image_means.map_tiles(fast.KERNELS, "excite_vjp", shape, *inputs, put(mean, misaligned == "mean"), back, number)
    scaled = exact(image) * scale * sigmoid(exact(gate))[:, None, None]
    shift = exact(mean)[:, None, None] / (shape[1] * shape[2])
    hold(out, scaled, 8 * units(dtype)[0] * np.abs(scaled), dtype)
    hold(back, scaled + shift, 10 * units(dtype)[0] * (np.abs(scaled) + np.abs(shift)), dtype)


def gate_cotangent(dot, gate, scale=2.0):
    back = cupy.empty(gate.shape, gate.dtype)
    fast.KERNELS.launch("gate_vjp", (gate.dtype,), cuda.ceil_div(gate.size, 256), 256, dot, gate, back,
                        np.int64(gate.size), np.int64(gate.shape[1]), np.int32(dot.shape[1]),
                        dot.dtype.type(scale))
    return back


@given(images=st.integers(1, 9), shares=st.integers(1, 5), channels=CHANNELS, dtype=ANY_DTYPE, scale=SCALES)
def test_the_gates_get_the_dot_product_times_the_slope(images, shares, channels, dtype, scale):
    dot = normal((images, shares, channels), cuda.accumulator_type(np.dtype(dtype)))
    gate = (4 * normal((images, channels), dtype, seed=1)).astype(dtype)
    back = gate_cotangent(put(dot), put(gate), scale)
    slope = scale * sigmoid(exact(gate)) * sigmoid(-exact(gate))
    hold(back, exact(dot).sum(axis=1) * slope, (shares + 16) * units(dtype)[0] * np.abs(exact(dot)).sum(1) * slope,
         dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gates_far_out_are_shut_or_open_and_pass_no_gradient(dtype):
    gate = np.array([[-1e4, -200.0, 200.0, 1e4]], dtype=dtype)
    x, out = cupy.ones((1, 1, 1, 4), dtype), cupy.empty((1, 1, 1, 4), dtype)
    scale = cuda.accumulator_type(np.dtype(dtype))(2.0)
    image_means.map_tiles(fast.KERNELS, "excite", x.shape, x, put(gate), out, scale)
    smallest = 1e-38 if np.dtype(dtype) != np.float64 else 1e-80
    np.testing.assert_allclose(np.float64(to_host(out)).ravel(), [0, 0, 2, 2], rtol=0, atol=smallest)
    back = gate_cotangent(cupy.ones((1, 1, 4), cuda.accumulator_type(np.dtype(dtype))), put(gate))
    np.testing.assert_allclose(np.float64(to_host(back)), 0.0, rtol=0, atol=smallest)


# ---- how it runs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sharing", [ONE_LAUNCH, TWO_LAUNCHES], ids=["one launch", "two launches"])
def test_every_order_of_threads_gives_the_same_bits(dtype, sharing):
    *inputs, cotangent = map(put, problem((2, 9, 9, 72), 3, dtype))
    assert len(bits_in_all_orders(lambda: sharing_out(sharing, lambda: (
        formulas.squeeze_excite(*inputs), *formulas.squeeze_excite_vjp(cotangent, *inputs))))) == 1


def test_images_are_read_twice_and_the_host_never_waits():
    *inputs, cotangent = map(put, problem((2, 4, 4, 8), 3, np.float32))
    forward, backward = (lambda: formulas.squeeze_excite(*inputs),
                         lambda: formulas.squeeze_excite_vjp(cotangent, *inputs))
    assert [name for name in launched(forward) if "image" in name or "excite" in name] == ["image_mean", "excite"]
    assert [name for name in launched(backward) if "image" in name or "excite" in name or "gate" in name] == [
        "image_mean_and_dot", "gate_vjp", "excite_vjp"]
    assert waits(forward) == waits(backward) == 0


@pytest.mark.parametrize("shape", [(0, 4, 4, 8), (2, 0, 4, 8)], ids=["batch", "height"])
def test_images_of_no_size_give_such(shape):
    *inputs, _ = map(put, problem((2, 4, 4, 8), 3, np.float32))
    x = cupy.ones(shape, np.float32)
    assert formulas.squeeze_excite(x, *inputs[1:]).shape == shape
    gradients = formulas.squeeze_excite_vjp(x, x, *inputs[1:])
    assert [gradient.shape for gradient in gradients] == [shape, *(array.shape for array in inputs[1:])]


def test_without_biases_the_value_is_that_of_biases_of_zero():
    x, weight0, bias0, weight1, bias1, _ = map(put, problem((2, 4, 4, 8), 3, np.float32))
    without = formulas.squeeze_excite(x, weight0, None, weight1, None)
    zeros = formulas.squeeze_excite(x, weight0, cupy.zeros_like(bias0), weight1, cupy.zeros_like(bias1))
    assert np.array_equal(to_host(without), to_host(zeros))


def test_mistakes_are_the_formulas_errors():
    *inputs, _ = map(put, problem((2, 4, 4, 8), 3, np.float32))
    for position, wrong in ((0, (4, 4, 8)), (1, (8, 4)), (3, (4, 8))):
        arrays = [cupy.ones(wrong, np.float32) if k == position else array for k, array in enumerate(inputs)]
        with pytest.raises(InputError, match="squeeze_excite: expected"):
            formulas.squeeze_excite(*arrays)
    with pytest.raises(InputError, match="weights for 8 channels do not fit"):
        formulas.squeeze_excite(cupy.ones((2, 4, 4, 5), np.float32), *inputs[1:])
    with pytest.raises(InputError, match="bias"):
        formulas.squeeze_excite(*inputs[:2], cupy.ones(4, np.float32), *inputs[3:])


def test_a_scale_of_another_type_is_left_to_the_formula():
    *inputs, cotangent = map(put, problem((2, 4, 4, 8), 3, np.float32))
    scale = np.float32(1.0)
    assert "excite" not in launched(lambda: formulas.squeeze_excite(*inputs, scale=scale))
    assert "excite_vjp" not in launched(lambda: formulas.squeeze_excite_vjp(cotangent, *inputs, scale=scale))


def test_weights_of_another_dtype_are_left_to_the_formula():
    *inputs, _ = map(put, problem((2, 4, 4, 8), 3, np.float32))
    names = launched(lambda: formulas.squeeze_excite(inputs[0].astype(np.float64), *inputs[1:]))
    assert "excite" not in names
