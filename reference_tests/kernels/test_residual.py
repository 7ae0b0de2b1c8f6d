"""The residual update and its derivatives on CuPy, held to their formulas in a longer floating type.

u is half an epsilon of the type that is computed in. alpha·gain errs by 2u of itself (alpha itself is rounded to it), a
product with it and a sum by u each.
"""

import cupy
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy import InputError
from nfnumpy.functional import residual as formulas
from nfnumpy.functional.fast_cupy import residual as fast
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

ALPHA = 0.2
SHAPES = st.lists(st.integers(1, 9), min_size=0, max_size=4).map(tuple)


def problem(shape, dtype):
    """(one image, another, a gain), all unlike one another."""
    return normal(shape, dtype), normal(shape, dtype, seed=1), normal((), np.float64, seed=2).astype(dtype)


@given(shape=SHAPES, dtype=ANY_DTYPE, misaligned=st.booleans(), transposed=st.booleans())
@example(shape=(2, 9, 9, 16), dtype=np.float16, misaligned=False, transposed=False)
def test_the_shortcut_gets_the_residual_times_alpha_and_the_gain(shape, dtype, misaligned, transposed):
    shortcut, residual, gain = problem(shape, dtype)
    out = formulas.skip_init(put(shortcut, misaligned), put(residual, transposed=transposed), put(gain), alpha=ALPHA)
    product = exact(residual) * (ALPHA * exact(gain))
    expected, u = exact(shortcut) + product, units(dtype)[0]
    hold(out, expected, 4 * u * np.abs(product) + u * np.abs(expected), dtype)


@given(shape=SHAPES, dtype=ANY_DTYPE, misaligned=st.booleans())
@example(shape=(2, 9, 9, 16), dtype=np.float16, misaligned=False)
def test_the_residual_gets_alpha_times_gain_times_cotangent(shape, dtype, misaligned):
    cotangent, _, gain = problem(shape, dtype)
    back = formulas.skip_init_residual_vjp(put(cotangent, misaligned), put(gain, misaligned), alpha=ALPHA)
    expected = exact(cotangent) * (ALPHA * exact(gain))
    hold(back, expected, 4 * units(dtype)[0] * np.abs(expected), dtype)


@given(shape=SHAPES, dtype=ANY_DTYPE, misaligned=st.booleans(), blocks=st.integers(1, 5))
@example(shape=(3, 9, 9, 64), dtype=np.float32, misaligned=False, blocks=2)  # every thread goes round several times
@example(shape=(3, 9, 9, 65), dtype=np.float16, misaligned=True, blocks=2)
@example(shape=(7, 41, 41, 65), dtype=np.float32, misaligned=False, blocks=1024)  # more sums than threads, and a rest
def test_the_gain_gets_alpha_times_cotangent_times_residual(shape, dtype, misaligned, blocks):
    """Of whole numbers: half their sum is exact but for being rounded to the dtype."""
    cotangent, residual = whole(shape, dtype), whole(shape, dtype, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "MOST_BLOCKS", blocks)
        back = formulas.skip_init_skip_gain_vjp(put(cotangent, misaligned), put(residual), alpha=0.5)
    with np.errstate(over="ignore"):
        expect(back, np.asarray(np.sum(np.float64(cotangent) * np.float64(residual)) / 2).astype(dtype))


@given(shape=SHAPES, dtype=ANY_DTYPE)
def test_other_numbers_give_the_formula_within_rounding(shape, dtype):
    """n products and as many additions err by n·u of all magnitudes, and alpha by u twice."""
    cotangent, residual, _ = problem(shape, dtype)
    products = exact(cotangent) * exact(residual)
    hold(formulas.skip_init_skip_gain_vjp(put(cotangent), put(residual), alpha=ALPHA), ALPHA * products.sum(),
         (products.size + 3) * units(dtype)[0] * ALPHA * np.abs(products).sum(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_threads_gives_the_same_bits(dtype):
    shortcut, residual, gain = map(put, problem((3, 9, 9, 17), dtype))
    assert len(bits_in_all_orders(lambda: (
        formulas.skip_init(shortcut, residual, gain, alpha=ALPHA),
        formulas.skip_init_residual_vjp(residual, gain, alpha=ALPHA),
        formulas.skip_init_skip_gain_vjp(shortcut, residual, alpha=ALPHA)))) == 1


def test_the_update_is_one_launch_and_the_gain_stays_on_the_gpu():
    shortcut, residual, gain = map(put, problem((2, 3, 3, 8), np.float32))
    for run, kernels in ((lambda: formulas.skip_init(shortcut, residual, gain, alpha=ALPHA), ["skip_init"]),
                         (lambda: formulas.skip_init_residual_vjp(residual, gain, alpha=ALPHA),
                          ["skip_init_residual_vjp"]),
                         (lambda: formulas.skip_init_skip_gain_vjp(shortcut, residual, alpha=ALPHA),
                          ["dot_of_blocks", "scaled_sum_of_blocks"])):
        assert launched(run) == kernels and waits(run) == 0


def test_no_images_are_updated_to_none_and_give_the_gain_nothing():
    none, gain = put(normal((0, 3, 3, 8), np.float32)), put(normal((), np.float64).astype(np.float32))
    assert formulas.skip_init(none, none, gain, alpha=ALPHA).shape == none.shape
    assert formulas.skip_init_residual_vjp(none, gain, alpha=ALPHA).shape == none.shape
    assert cupy.asnumpy(formulas.skip_init_skip_gain_vjp(none, none, alpha=ALPHA)) == 0.0


@pytest.mark.parametrize("residual, gain", [((2, 3, 3, 1), ()), ((3, 3, 8), ()), ((2, 3, 3, 8), (1,))])
def test_mistakes_are_the_formulas_errors(residual, gain):
    with pytest.raises(InputError, match="expected shortcut and residual of one shape"):
        formulas.skip_init(*map(cupy.ones, ((2, 3, 3, 8), residual, gain)), alpha=ALPHA)


def test_a_gain_of_another_dtype_is_left_to_the_formula():
    shortcut, residual, gain = problem((2, 3, 3, 8), np.float32)
    assert launched(lambda: formulas.skip_init(put(shortcut), put(residual), put(gain.astype(np.float64)),
                                               alpha=ALPHA)) == []
