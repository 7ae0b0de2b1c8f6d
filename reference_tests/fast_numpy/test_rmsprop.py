"""The fast path of RMSProp on NumPy gives what its formula gives, on any number of threads, and changes no input."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import Tensor
from nfnumpy.optim import RMSProp, chunks, clipped_rmsprop_update
from reference_tests.fast_numpy.test_optimizer import SHAPES, expect_all_close, lists_of_arrays
from reference_tests.helpers.fast_paths import DTYPES, LAYOUTS, THREADS, with_threads
from reference_tests.helpers.strategies import seeds


@st.composite
def updates(draw):
    """(lists of params, grads, mean squares, velocities, options): some units are clipped, some not."""
    shapes, dtype, layout = draw(SHAPES), draw(DTYPES), draw(LAYOUTS)
    lists = lists_of_arrays(shapes, dtype, layout, draw(seeds), 4, scale=draw(st.sampled_from([1.0, 0.1])))
    lists[2] = [np.abs(array) for array in lists[2]]
    each = [draw(st.sampled_from([(0.1, 0.5), (0.0, 0.5), (0.1, None), (0.0, 1.0)])) for _ in shapes]
    return lists, {"lr": draw(st.sampled_from([0.0, 0.3, 1])), "decay": draw(st.sampled_from([0.0, 0.9])),
                   "momentum": draw(st.sampled_from([0.0, 0.9])), "epsilon": draw(st.sampled_from([1e-3, 1.0])),
                   "weight_decays": [decay for decay, _ in each], "clippings": [clipping for _, clipping in each],
                   "eps": 0.01}


@given(update=updates(), count=THREADS)
def test_an_update_is_the_formulas_within_rounding(update, count):
    """Gradients that are clipped differ by 44 roundings (see test_optimizer.py); all else is the same.

    With G = |g| + decay·|w|: squares differ by twice as much, and g/√(s + epsilon), whose slope in g is below
    1/√epsilon, by 44 of G/√epsilon at most.
    """
    lists, options = update
    before = [[array.copy() for array in arrays] for arrays in lists]
    fast = with_threads(count, clipped_rmsprop_update, *lists, **options)
    formula = clipped_rmsprop_update.plain(*lists, **options)
    params, grads, squares, velocities = lists
    sizes = [np.abs(w) + np.abs(g) for w, g in zip(params, grads, strict=True)]
    steps = [np.abs(v) + options["lr"] * g / np.sqrt(np.asarray(options["epsilon"], g.dtype))
             for v, g in zip(velocities, sizes, strict=True)]
    magnitudes = ([np.abs(w) + step for w, step in zip(params, steps, strict=True)],
                  [s + 2 * g * g for s, g in zip(squares, sizes, strict=True)], steps)
    for ours, theirs, magnitude in zip(fast[:3], formula[:3], magnitudes, strict=True):
        expect_all_close(ours, theirs, 44, magnitude)
    assert fast[3].dtype == formula[3].dtype == np.int64 and fast[3].tolist() == formula[3].tolist()
    assert all(np.array_equal(one, other) for k in range(4) for one, other in zip(lists[k], before[k], strict=True))


@given(update=updates(), count=THREADS)
def test_without_clipping_it_is_the_formula_bit_for_bit(update, count):
    lists, options = update
    options = {**options, "clippings": [None] * len(lists[0])}
    fast = with_threads(count, clipped_rmsprop_update, *lists, **options)
    formula = clipped_rmsprop_update.plain(*lists, **options)
    assert all(np.array_equal(one, other) and one.dtype == other.dtype
               for k in range(3) for one, other in zip(fast[k], formula[k], strict=True))


@given(update=updates(), count=THREADS, part_bytes=st.sampled_from([1, 100]))
def test_a_step_in_chunks_is_the_whole_step(update, count, part_bytes):
    (params, grads, *_), _ = update
    steps = []
    for most in (part_bytes, chunks.PART_BYTES):
        parameters = {f"{k}.weight": Tensor(param, requires_grad=True) for k, param in enumerate(params)}
        for parameter, grad in zip(parameters.values(), grads, strict=True):
            parameter.grad = grad
        optimizer = RMSProp(parameters, lr=0.1, weight_decay=0.01)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "PART_BYTES", most)
            with_threads(count, optimizer.step)
        steps.append([*(p.data for p in parameters.values()), *optimizer.velocity.values(),
                      *optimizer.state["square_average"].values()])
    assert all(map(np.array_equal, *steps))


@pytest.mark.parametrize("unusual", [{"lr": np.float64(0.1)}, {"epsilon": np.float32(0.1)},
                                     {"inverse_scale": np.asarray(np.float32(0.5))}, {"proceed": np.asarray(False)}],
                         ids=lambda unusual: next(iter(unusual)))
def test_unusual_options_are_left_to_the_formula(unusual):
    lists = lists_of_arrays([(3, 4)], np.float32, "contiguous", 0, 4)
    lists[2] = [np.abs(array) for array in lists[2]]
    options = {"lr": 0.1, "weight_decays": [0.0], "clippings": [0.1], **unusual}
    fast, formula = clipped_rmsprop_update(*lists, **options), clipped_rmsprop_update.plain(*lists, **options)
    assert all(np.array_equal(one[0], other[0]) and one[0].dtype == other[0].dtype
               for one, other in zip(fast[:3], formula[:3], strict=True))
