"""Winograd's 3×3 convolutions compute what the formula does, within what their sums may cost.

Bound. With all transforms taken of absolute values, F = |Aᵀ| (Σ |G||g||Gᵀ| ⊙ |Bᵀ||d||B|) |A| is what adds up to an
output before anything cancels. On its way a value is rounded twice in Bᵀ d B, 6 times in G g Gᵀ, `channels` times in
the product, 4 times in Aᵀ m A and once with the bias: channels + 13 roundings, each of at most eps/2 of F. For the
weight's cotangent tiles are added up, not channels, and Gᵀ u G rounds 6 times. The formula's own roundings, one for
each product and sum, are within the same F, as F is at least Σ |d||g|. Both together: summed + 20 times eps.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy.functional import convolution
from nfnumpy.functional.fast_numpy.convolution import winograd
from reference_tests.helpers.fast_paths import DTYPES, LAYOUTS, THREADS, in_layout, with_threads
from reference_tests.helpers.strategies import seeds

B_T = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], dtype=float)
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A_T = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], dtype=float)
PADDINGS = st.sampled_from(["SAME", "VALID", 2, ((0, 1), (3, 0))])


def tiles_of(image, size, step, count):
    """(N, H, W, C) as (N, tiles down, tiles along, size, size, C), with zeros beyond its end."""
    down, along = count
    padded = np.zeros((image.shape[0], step * (down - 1) + size, step * (along - 1) + size, image.shape[3]))
    image = image[:, :padded.shape[1], :padded.shape[2]]
    padded[:, :image.shape[1], :image.shape[2]] = image
    return np.stack([np.stack([padded[:, step * i:step * i + size, step * j:step * j + size] for j in range(along)], 1)
                     for i in range(down)], 1)


def both_axes(matrix, values, axes):
    """The matrix along two axes of values."""
    for axis in axes:
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values


def without_cancelling(x, weight, bias, cotangent, groups, padding):
    """F for the outputs and for the weight's cotangent, in float64."""
    seen = convolution.conv2d_windows(x.shape, weight.shape, groups=groups, padding=padding)
    count = tuple(-(-size // 2) for size in seen.out)
    d = both_axes(np.abs(B_T), tiles_of(np.abs(seen.pad(x)).astype(float), 4, 2, count), (3, 4))
    y = both_axes(np.abs(A_T.T), tiles_of(np.abs(cotangent).astype(float), 2, 2, count), (3, 4))
    g = both_axes(np.abs(G), np.abs(weight).astype(float), (0, 1))
    d, y = (values.reshape(*values.shape[:5], groups, -1) for values in (d, y))
    g = g.reshape(4, 4, g.shape[2], groups, -1)
    out = both_axes(np.abs(A_T), np.einsum("nyxijgc,ijcgo->nyxijgo", d, g), (3, 4))
    out = out.transpose(0, 1, 3, 2, 4, 5, 6).reshape(len(x), 2 * count[0], 2 * count[1], -1)
    back = both_axes(np.abs(G.T), np.einsum("nyxijgc,nyxijgo->ijcgo", d, y), (0, 1)).reshape(weight.shape)
    return out[:, :seen.out[0], :seen.out[1]] + (0 if bias is None else np.abs(bias)), back, np.prod(count) * len(x)


def sizes_for(block_bytes):
    """This strategy is taken whatever the size, in such blocks."""
    return {"WINOGRAD_CHANNELS": 1, "WINOGRAD_TILES": 1, "WINOGRAD_BLOCK_BYTES": block_bytes}


@settings(max_examples=100)
@given(shape=st.tuples(st.integers(1, 2), st.integers(3, 7), st.integers(3, 7)), groups=st.integers(1, 3),
       fan_in=st.integers(1, 3), outs=st.integers(1, 3), padding=PADDINGS, biased=st.booleans(), dtype=DTYPES,
       count=THREADS, block_bytes=st.sampled_from([1, 2000, 1 << 20]), seed=seeds,
       layout=LAYOUTS)
def test_outputs_and_kernel_gradient_are_the_formulas(shape, groups, fan_in, outs, padding, biased, dtype, count,
                                                  block_bytes, seed, layout):
    draws, options = np.random.default_rng(seed), {"groups": groups, "padding": padding}
    x, weight, bias = (draws.standard_normal(size).astype(dtype) for size in (
        (*shape, groups * fan_in), (3, 3, fan_in, groups * outs), (groups * outs,)))
    bias = bias if biased else None
    x, weight = in_layout(x, layout), in_layout(weight, layout)
    out = convolution.conv2d.plain(x, weight, bias, **options)
    cotangent = in_layout(draws.standard_normal(out.shape).astype(dtype), layout)
    forward, back, tiles = without_cancelling(x, weight, bias, cotangent, groups, padding)
    eps = np.finfo(dtype).eps

    def expect(fast, formula, magnitude, summed):
        assert fast.shape == formula.shape and fast.dtype == formula.dtype
        assert np.all(np.abs(fast - formula) <= (summed + 20) * eps * magnitude)

    sizes = sizes_for(block_bytes)
    expect(with_threads(count, convolution.conv2d, x, weight, bias, sizes=sizes, **options), out, forward, 9 * fan_in)
    expect(with_threads(count, convolution.conv2d_weight_vjp, cotangent, x, weight.shape, sizes=sizes, **options),
           convolution.conv2d_weight_vjp.plain(cotangent, x, weight.shape, **options), back, 4 * tiles)


@settings(max_examples=60)
@given(shape=st.tuples(st.integers(1, 2), st.integers(3, 7), st.integers(3, 7)), groups=st.integers(1, 2),
       padding=st.sampled_from(["SAME", "VALID", 2, ((0, 1), (2, 0))]), dtype=DTYPES, count=THREADS,
       block_bytes=st.sampled_from([1, 2000, 1 << 20]), seed=seeds)
def test_the_input_gradient_is_the_formulas(shape, groups, padding, dtype, count, block_bytes, seed):
    """Which is the convolution of the cotangent, framed by 2 - padding, with the kernel turned around."""
    draws, options = np.random.default_rng(seed), {"groups": groups, "padding": padding}
    x_shape, weight = (*shape, groups * 2), draws.standard_normal((3, 3, 2, groups * 3)).astype(dtype)
    seen = convolution.conv2d_windows(x_shape, weight.shape, **options)
    cotangent = draws.standard_normal((shape[0], *seen.out, groups * 3)).astype(dtype)
    turned = weight[::-1, ::-1].reshape(3, 3, 2, groups, 3).transpose(0, 1, 4, 3, 2).reshape(3, 3, 3, groups * 2)
    frame = tuple((2 - before, 2 - after) for before, after in seen.padding)
    formula = convolution.conv2d_x_vjp.plain(cotangent, weight, x_shape, **options)
    magnitude, _, _ = without_cancelling(cotangent, turned, None, formula, groups, frame)
    fast = with_threads(count, convolution.conv2d_x_vjp, cotangent, weight, x_shape, sizes=sizes_for(block_bytes),
                        **options)
    assert fast.shape == formula.shape and fast.dtype == formula.dtype
    assert np.all(np.abs(fast - formula) <= (9 * 3 + 20) * np.finfo(dtype).eps * magnitude)


@pytest.mark.parametrize("shape, channels, taken", [((8, 8, 8), 32, True), ((8, 8, 8), 16, False),
                                                    ((1, 6, 6), 128, False)])
def test_only_many_channels_and_tiles_go_this_way(monkeypatch, shape, channels, taken):
    """Without this the properties above would also hold for im2col."""
    calls = []
    for name in ("forward", "weight_vjp"):
        compute = getattr(winograd, name)
        monkeypatch.setattr(winograd, name, lambda *arrays, compute=compute: calls.append(1) or compute(*arrays))
    x, weight = np.ones((*shape, channels)), np.ones((3, 3, channels, channels))
    convolution.conv2d(x, weight, None)
    convolution.conv2d_weight_vjp(x, x, weight.shape)
    assert len(calls) == (2 if taken else 0)
