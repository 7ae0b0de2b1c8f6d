"""The kernel of RMSProp gives what the formula gives in float64, within rounding. What it shares with that of SGD, the
cutting into pieces and the clipping, is tested more closely in test_optimizer.py.
"""

import cupy
import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import optim
from nfnumpy.optim.fast_cupy import updates as fast
from reference_tests.kernels.test_optimizer import (
    DTYPES,
    SHAPES,
    bits,
    doubles,
    expect_within,
    lists,
    on_device,
    parameters_of,
    roundings,
    set_gradients,
)

OPTIONS = {"lr": 0.3, "decay": 0.9, "momentum": 0.9, "epsilon": 1e-3, "eps": 1e-3}


@st.composite
def updates(draw):
    """(params, grads, mean squares, velocities), options."""
    four = draw(lists(4))
    four[2] = [np.abs(array) for array in four[2]]
    count = len(four[0])
    return four, {"lr": draw(st.sampled_from([0.0, 0.3])), "decay": draw(st.sampled_from([0.0, 0.9])),
                  "momentum": draw(st.sampled_from([0.0, 0.9])), "epsilon": draw(st.sampled_from([1e-3, 1.0])),
                  "eps": draw(st.sampled_from([1e-3, 0.5])),
                  "clippings": draw(st.lists(st.sampled_from([None, 0.01, 1.0]), min_size=count, max_size=count)),
                  "weight_decays": draw(st.lists(st.sampled_from([0.0, 0.1]), min_size=count, max_size=count))}


def magnitudes_of(four, options):
    """What is added up, in magnitude, to make (each new parameter, each new mean square, each new velocity).

    With G the clipped gradient and the decay in magnitude: s + G², and m·v + lr·G/√(s' + epsilon), where s' is the mean
    square with what the roundings of G may add to or take from it: they change G/√(s' + epsilon) by less than itself.
    """
    params, grads, squares, velocities = four
    clip_only = {"weight_decays": [0.0] * len(params), "momentum": 0.0, "lr": 0.0, "eps": options["eps"],
                 "clippings": options["clippings"], "inverse_scale": options["inverse_scale"]}
    clipped = optim.clipped_update.plain(params, grads, grads, **clip_only)[1]
    sizes = [np.abs(g) + d * np.abs(w) for w, g, d in zip(params, clipped, options["weight_decays"], strict=True)]
    averages = optim.clipped_rmsprop_update.plain(*four, **options)[1]
    steps = [options["momentum"] * np.abs(v) + options["lr"] * g / np.sqrt(s + options["epsilon"])
             for v, g, s in zip(velocities, sizes, averages, strict=True)]
    return ([np.abs(w) + step for w, step in zip(params, steps, strict=True)],
            [s + g * g for s, g in zip(squares, sizes, strict=True)], steps)


@given(problem=updates(), inverse_scale=st.sampled_from([None, 1 / 3]), proceed=st.sampled_from([None, True]))
def test_a_whole_update_is_the_formula_within_rounding(problem, inverse_scale, proceed):
    """A clipped gradient is two norms and 8 roundings off, its square twice that; the rest adds 16."""
    four, options = problem
    dtype = four[0][0].dtype
    scale = None if inverse_scale is None else np.asarray(inverse_scale, dtype)
    options_64 = {**options, "inverse_scale": None if scale is None else scale.astype(np.float64)}
    in_double = list(map(doubles, four))
    expected = optim.clipped_rmsprop_update.plain(*in_double, **options_64)
    results = fast.clipped_rmsprop_update(
        *map(on_device, four), **options, inverse_scale=None if scale is None else cupy.asarray(scale),
        proceed=None if proceed is None else cupy.asarray(np.asarray(proceed)))
    for result, value, magnitudes in zip(results[:3], expected[:3], magnitudes_of(in_double, options_64), strict=True):
        expect_within(result, value, [2 * roundings(w, 24) * m for w, m in zip(four[0], magnitudes, strict=True)],
                      dtype)
    assert results[3].shape == (len(four[0]),) and results[3].dtype == np.int64


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_step_of_a_constant_gradient_is_known(dtype):
    """g = 2, s = 1: s' = 0.9 + 0.1·4 = 1.3 and v = 0.9·0.5 + 0.3·2/√1.301, 8 roundings of numbers below 2."""
    arrays = [[cupy.asarray(np.full((5, 9), value, dtype))] for value in (1.0, 2.0, 1.0, 0.5)]
    (w,), (s,), (v,), _ = fast.clipped_rmsprop_update(*arrays, **OPTIONS, weight_decays=[0.0], clippings=[None])
    velocity = 0.9 * 0.5 + 0.6 / np.sqrt(1.301)
    for got, expected in ((w, 1.0 - velocity), (s, 1.3), (v, velocity)):
        np.testing.assert_allclose(cupy.asnumpy(got), expected, rtol=0, atol=16 * np.finfo(dtype).eps)


@given(problem=updates(), value=st.sampled_from([np.nan, np.inf, 1.0]))
def test_a_step_that_does_not_proceed_changes_no_bit(problem, value):
    four, options = problem
    four[1][0] = np.full_like(four[1][0], value)
    arrays = [on_device(given) for given in four]
    *new, _ = fast.clipped_rmsprop_update(*arrays, **options, proceed=cupy.asarray(np.asarray(False)))
    assert [bits(given) for given in new] == [bits(arrays[k]) for k in (0, 2, 3)]


def one_update(four):
    """Everything that the kernel leaves of four lists of arrays."""
    count = len(four[0])
    *new, counts = fast.clipped_rmsprop_update(*four, **OPTIONS, weight_decays=[0.1] * count, clippings=[0.5] * count)
    return [*(array for arrays in new for array in arrays), counts]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_in_which_threads_run_changes_no_bit(dtype, monkeypatch):
    random = np.random.default_rng(2)
    four = [on_device([np.abs(np.asarray(random.standard_normal(shape))).astype(dtype) for shape in SHAPES])
            for _ in range(4)]
    results = []
    for order in "012":
        monkeypatch.setenv("CUDA_ON_CPU_ORDER", order)
        results.append(bits(one_update(four)))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
def test_views_are_read_as_what_they_show_bit_for_bit(dtype, place):
    """One entry into a buffer, where no 16-byte access may start, in one of the four lists."""
    random = np.random.default_rng(3)
    buffers = [np.abs(random.standard_normal((2, 641))).astype(dtype) for _ in range(4)]
    whole = [[cupy.asarray(np.ascontiguousarray(buffer[0, 1:].reshape(16, 40)))] for buffer in buffers]
    shifted = list(whole)
    shifted[place] = [cupy.asarray(buffers[place][0])[1:].reshape(16, 40)]
    assert bits(one_update(whole)) == bits(one_update(shifted))


def test_what_the_kernel_does_not_know_is_left_to_the_formula():
    one, half = (cupy.asarray(np.ones((3, 4), dtype)) for dtype in ("float64", "float16"))
    options = {**OPTIONS, "weight_decays": [0.1], "clippings": [0.01]}
    assert fast.clipped_rmsprop_update(*[[half]] * 4, **options) is NotImplemented
    assert fast.clipped_rmsprop_update([one], [one], [half], [one], **options) is NotImplemented
    for other in ({"decay": np.float32(0.9)}, {"epsilon": np.float64(0.1)}, {"weight_decays": [0.1, 0.1]}):
        assert fast.clipped_rmsprop_update(*[[one]] * 4, **{**options, **other}) is NotImplemented


def trained(put, steps=4):
    """SAM around RMSProp: what it leaves, on the host, and the shares of units clipped."""
    parameters, shares = parameters_of(put), []
    optimizer = optim.RMSProp(parameters, lr=0.1, weight_decay=0.1, clipping=0.5,
                              lr_factor=lambda name: 0.1 if "linear" in name else 1.0)
    sam = optim.SAM(optimizer, rho=0.05)
    for step in range(steps):
        set_gradients(parameters, put, 2 * step)
        sam.first_step()
        set_gradients(parameters, put, 2 * step + 1)
        sam.second_step()
        shares.append(optimizer.clipped_fraction())
    kept = [*(parameter.data for parameter in parameters.values()),
            *(array for arrays in optimizer.state.values() for array in arrays.values())]
    return [nf.backend.to_host(array) for array in kept], shares


def test_steps_on_the_gpu_are_those_on_the_host_within_rounding():
    """4 steps of numbers below 10, each two norms of 612 numbers and some 20 roundings, squared."""
    (on_gpu, shares), (on_cpu, expected) = trained(cupy.asarray), trained(lambda array: array)
    assert shares == expected and any(0.0 < share < 1.0 for share in shares)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * 2 * (2 * 612 + 20) * 10 * np.finfo(np.float64).eps)
