"""The optimizers' fast paths on NumPy give what their formulas give, on any number of threads, and change no input."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import Tensor, reference
from nfnumpy.optim import agc, chunks, clipped_update, global_norm, moving_average, sam_perturb, sgd
from nfnumpy.optim.fast_numpy import updates as fast_updates
from reference_tests.helpers.fast_paths import DTYPES, LAYOUTS, THREADS, expect_close, in_layout, with_threads
from reference_tests.helpers.strategies import seeds

SHAPES = st.lists(st.sampled_from([(), (1,), (7,), (0,), (0, 4), (4, 0), (3, 5), (11, 1), (2, 3, 4, 6), (1, 1, 9, 13),
                                   (1, 1, 1, 8)]), min_size=1, max_size=6)


def lists_of_arrays(shapes, dtype, layout, seed, count, scale=1.0):
    draws = np.random.default_rng(seed)
    return [[in_layout(np.asarray(scale * draws.standard_normal(shape), dtype=dtype), layout) for shape in shapes]
            for _ in range(count)]


def expect_all_close(fast, formula, roundings, magnitudes):
    for one, other, magnitude in zip(fast, formula, magnitudes, strict=True):
        expect_close(one, other, roundings, magnitude)


@st.composite
def updates(draw):
    """(lists of params, grads, velocities, options): gradients small enough that some units are clipped, some not."""
    shapes, dtype, layout = draw(SHAPES), draw(DTYPES), draw(LAYOUTS)
    lists = lists_of_arrays(shapes, dtype, layout, draw(seeds), 3, scale=draw(st.sampled_from([1.0, 0.1])))
    each = [draw(st.sampled_from([(0.1, 0.5), (0.0, 0.5), (0.1, None), (0.0, 1.0)])) for _ in shapes]
    options = {"lr": draw(st.sampled_from([0.0, 0.3, 1])), "momentum": draw(st.sampled_from([0.0, 0.9])),
               "nesterov": draw(st.booleans()), "weight_decays": [decay for decay, _ in each],
               "clippings": [clipping for _, clipping in each], "eps": 0.01}
    return lists, options


@given(update=updates(), count=THREADS)
def test_an_update_is_the_formulas_within_rounding(update, count):
    """The sum of n squares errs by n roundings in either order, its root by half as many; all else is the same.

    So the factors, and the terms that gradients lead to, differ by n + 4 roundings for n up to 40; terms of velocity
    and parameter by none. With |W| and |V| in the magnitude nothing that is added up is smaller than its parts.
    """
    (params, grads, velocities), options = update
    fast = with_threads(count, clipped_update, params, grads, velocities, **options)
    formula = clipped_update.plain(params, grads, velocities, **options)
    sizes = [np.abs(param) + 2 * np.abs(grad) + 2 * np.abs(velocity)
             for param, grad, velocity in zip(params, grads, velocities, strict=True)]
    for ours, theirs in zip(fast[:2], formula[:2], strict=True):
        expect_all_close(ours, theirs, 44, sizes)
    assert fast[2].dtype == formula[2].dtype == np.int64 and fast[2].tolist() == formula[2].tolist()


NORMS = st.sampled_from([0.0, 1e-30, 1e-7, 2e-6, 0.01, 0.3, 1.0, 1e30, np.inf, np.nan])


@given(norms=st.lists(st.tuples(NORMS, NORMS), min_size=1, max_size=8), clipping=st.sampled_from([1e-3, 0.5, 1.0]),
       dtype=DTYPES)
def test_factors_without_a_shrink_are_the_formulas_bits(norms, clipping, dtype):
    norm, param_norm = np.array(norms, dtype=dtype).T
    factors = agc.unit_factors(norm, np.ones_like(norm), param_norm, clipping, 1e-3)
    factor, clipped = fast_updates._factors_without_shrink(norm, param_norm, clipping, 1e-3)
    assert factor.dtype == dtype and (factors.shrink == 1.0).all()
    assert np.array_equal(factor, factors.factor) and np.array_equal(clipped, factors.clipped)


@given(update=updates(), count=THREADS)
def test_the_same_number_of_threads_gives_the_same_bits(update, count):
    lists, options = update
    first, second = (with_threads(count, clipped_update, *lists, **options) for _ in range(2))
    assert all(np.array_equal(one, other) for k in range(2) for one, other in zip(first[k], second[k], strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(3, 4), (6,)])
def test_infinities_and_nan_stay_in_their_unit(bad, shape):
    for place in range(3):
        lists = lists_of_arrays([shape, (2, 4)], np.float32, "contiguous", 0, 3)
        lists[place][0].reshape(-1)[1] = bad
        options = {"lr": 0.1, "weight_decays": [0.1, 0.1], "clippings": [0.01, 0.01]}
        with np.errstate(invalid="ignore"):
            fast = with_threads(2, clipped_update, *lists, **options)
            formula = clipped_update.plain(*lists, **options)
        assert all(np.array_equal(judge(one), judge(other)) for judge in (np.isfinite, np.isnan)
                   for k in range(2) for one, other in zip(fast[k], formula[k], strict=True))
        assert fast[2].tolist() == formula[2].tolist()


@given(shapes=SHAPES, dtype=DTYPES, layout=LAYOUTS, seed=seeds, count=THREADS)
def test_the_global_norm_is_the_formulas_within_rounding(shapes, dtype, layout, seed, count):
    """A sum of up to 6·144 squares: each order errs by as many roundings, and the root halves that."""
    (arrays,) = lists_of_arrays(shapes, dtype, layout, seed, 1)
    formula = plain_global_norm(arrays)
    expect_all_close([with_threads(count, global_norm, arrays)], [formula], 2 + 6 * 144, [formula])


def plain_global_norm(arrays):
    with reference():
        return global_norm(arrays)


@given(shapes=SHAPES, dtype=DTYPES, layout=LAYOUTS, seed=seeds, count=THREADS, scale=st.sampled_from([1.0, 0.0]))
def test_a_perturbation_is_the_formulas_within_rounding(shapes, dtype, layout, seed, count, scale):
    params, grads = lists_of_arrays(shapes, dtype, layout, seed, 2)
    grads = [grad * dtype(scale) for grad in grads]
    fast = with_threads(count, sam_perturb, params, grads, rho=0.5)
    formula = sam_perturb.plain(params, grads, rho=0.5)
    expect_all_close(fast, formula, 4 + 6 * 144, [np.abs(param) + 0.5 for param in params])


@given(shapes=SHAPES, dtype=DTYPES, layout=LAYOUTS, seed=seeds, count=THREADS)
def test_a_moving_average_is_the_formulas_bit_for_bit(shapes, dtype, layout, seed, count):
    averages, arrays = lists_of_arrays(shapes, dtype, layout, seed, 2)
    fast = with_threads(count, moving_average, averages, arrays, decay=0.3)
    formula = moving_average.plain(averages, arrays, decay=0.3)
    expect_all_close(fast, formula, 0, averages)


@pytest.mark.parametrize("unusual", [{"lr": np.float64(0.1)}, {"inverse_scale": np.asarray(np.float32(0.5))},
                                     {"proceed": np.asarray(False)}], ids=lambda unusual: next(iter(unusual)))
def test_unusual_options_are_left_to_the_formula(unusual):
    lists = lists_of_arrays([(3, 4)], np.float32, "contiguous", 0, 3)
    options = {"lr": 0.1, "weight_decays": [0.0], "clippings": [0.1], **unusual}
    fast, formula = clipped_update(*lists, **options), clipped_update.plain(*lists, **options)
    assert all(np.array_equal(one[0], other[0]) and one[0].dtype == other[0].dtype
               for one, other in zip(fast[:2], formula[:2], strict=True))


def test_lists_of_different_lengths_are_the_formulas_error():
    params, grads = lists_of_arrays([(3, 4), (2,)], np.float32, "contiguous", 0, 2)
    with pytest.raises(ValueError):
        clipped_update(params, grads[:1], grads, lr=0.1, weight_decays=[0.0] * 2, clippings=[None] * 2)
    with pytest.raises(ValueError):
        moving_average(params, grads[:1], decay=0.5)


@given(update=updates(), count=THREADS, part_bytes=st.sampled_from([1, 100]))
def test_a_step_in_chunks_is_the_whole_step(update, count, part_bytes):
    """Where columns are cut into pieces differs, which may change the order of adding squares: see above."""
    (params, grads, _), _ = update
    steps, earlier = [], [param.copy() for param in params]
    for most in (part_bytes, chunks.PART_BYTES):
        parameters = {f"{k}.weight": Tensor(param, requires_grad=True) for k, param in enumerate(params)}
        for parameter, grad in zip(parameters.values(), grads, strict=True):
            parameter.grad = grad
        optimizer = sgd.SGD(parameters, lr=0.1, weight_decay=0.01, clipping=0.5, clipped=lambda name: True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "PART_BYTES", most)
            with_threads(count, optimizer.step)
        assert all(parameter.grad is None for parameter in parameters.values())
        steps.append(([parameter.data for parameter in parameters.values()], int(optimizer.clipped_units)))
    (cut, cut_count), (whole, whole_count) = steps
    magnitudes = [np.abs(param) + 2 * np.abs(grad) for param, grad in zip(params, grads, strict=True)]
    expect_all_close(cut, whole, 44, magnitudes)
    assert cut_count == whole_count and all(map(np.array_equal, params, earlier))


def test_reference_mode_is_the_formula():
    params, grads, velocities = lists_of_arrays([(3, 4)], np.float64, "contiguous", 0, 3)
    options = {"lr": 0.1, "weight_decays": [0.1], "clippings": [0.01]}
    with reference():
        plain = nf.optim.clipped_update(params, grads, velocities, **options)
    assert np.array_equal(plain[0][0], clipped_update.plain(params, grads, velocities, **options)[0][0])
