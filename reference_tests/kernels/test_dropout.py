"""Dropout and stochastic depth on CuPy: to the bit what their formulas give, computed in the wider type, rounded once.

Masks are 0 or 1, so that only the product with the rescaling rounds.
"""

import cupy
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy import InputError
from nfnumpy.functional import dropout as formulas
from reference_tests.helpers.on_gpu import (
    ANY_DTYPE,
    DTYPES,
    bits_in_all_orders,
    expect,
    launched,
    normal,
    put,
    rounded,
)

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
RATES = st.sampled_from([0, 0.25, 0.3, 0.9])


def per_example(shape):
    return shape[0], *(1 for _ in shape[1:])


def problem(shape, dtype, mask_shape):
    """(values, some of them infinite or NaN; a mask)."""
    x, random = normal(shape, dtype), np.random.default_rng(3)
    x[random.random(shape) < 0.1] = np.inf
    x[random.random(shape) < 0.1] = np.nan
    return x, (random.random(mask_shape) < 0.6).astype(dtype)


@pytest.mark.parametrize("function", [formulas.dropout, formulas.dropout_x_vjp])
@given(shape=SHAPES, dtype=ANY_DTYPE, rate=RATES, misaligned=st.booleans(), transposed=st.booleans())
@example(shape=(3, 1111), dtype=np.float16, rate=0.3, misaligned=False, transposed=False)
def test_dropout_keeps_and_rescales_as_its_formula_does(function, shape, dtype, rate, misaligned, transposed):
    x, mask = problem(shape, dtype, shape)
    expect(function(put(x, misaligned), put(mask, transposed=transposed), rate=rate),
           rounded(function, dtype, x, mask, rate=rate))


@pytest.mark.parametrize("function", [formulas.stochastic_depth, formulas.stochastic_depth_x_vjp])
@given(shape=SHAPES, dtype=ANY_DTYPE, rate=RATES, rescale=st.booleans(), misaligned=st.booleans())
@example(shape=(3, 2200), dtype=np.float32, rate=0.3, rescale=True, misaligned=False)  # several blocks an example
@example(shape=(3, 2201), dtype=np.float16, rate=0.3, rescale=True, misaligned=True)
def test_stochastic_depth_keeps_and_rescales_as_its_formula(function, shape, dtype, rate, rescale,
                                                                          misaligned):
    x, mask = problem(shape, dtype, per_example(shape))
    options = {"rate": rate, "rescale": rescale}
    expect(function(put(x, misaligned), put(mask), **options),
           rounded(formulas.stochastic_depth, dtype, x, mask, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_threads_gives_the_same_bits(dtype):
    x, mask = problem((3, 7, 7, 17), dtype, (3, 7, 7, 17))
    x, mask, of_example = put(x), put(mask), put(mask[:, :1, :1, :1])
    assert len(bits_in_all_orders(lambda: (formulas.dropout(x, mask, rate=0.3),
                                           formulas.stochastic_depth(x, of_example, rate=0.3, rescale=True)))) == 1


def test_each_is_one_launch_and_for_nothing_none():
    x, mask, of_example = cupy.ones((2, 3, 8)), cupy.ones((2, 3, 8)), cupy.ones((2, 1, 1))
    for run, kernel in ((lambda k: formulas.dropout(x[:k], mask[:k], rate=0.5), "dropout"),
                        (lambda k: formulas.dropout_x_vjp(x[:k], mask[:k], rate=0.5), "dropout"),
                        (lambda k: formulas.stochastic_depth(x[:k], of_example[:k], rate=0.5), "stochastic_depth"),
                        (lambda k: formulas.stochastic_depth_x_vjp(x[:k], of_example[:k], rate=0.5),
                         "stochastic_depth")):
        assert launched(lambda run=run: run(2)) == [kernel] and launched(lambda run=run: run(0)) == []
        assert run(0).shape == (0, 3, 8)
    assert formulas.stochastic_depth(cupy.ones((2, 0)), cupy.ones((2, 1)), rate=0.5).shape == (2, 0)


def test_mistakes_are_the_formulas_errors():
    x = cupy.ones((2, 3))
    for mask in ((2, 1), (3, 2), (6,)):
        with pytest.raises(InputError, match="dropout: expected a mask"):
            formulas.dropout(x, cupy.ones(mask), rate=0.5)
    for mask in ((2, 3), (1, 1), (2,)):
        with pytest.raises(InputError, match="stochastic_depth: expected a mask"):
            formulas.stochastic_depth(x, cupy.ones(mask), rate=0.5)
    for rate in (1.0, -0.1, 2):
        with pytest.raises(InputError, match="drop rate"):
            formulas.dropout(x, x, rate=rate)
        with pytest.raises(InputError, match="drop rate"):
            formulas.dropout_x_vjp(x, x, rate=rate)
        with pytest.raises(InputError, match="drop rate"):
            formulas.stochastic_depth(x, cupy.ones((2, 1)), rate=rate, rescale=True)


def test_without_rescaling_what_is_kept_stays():
    kept = formulas.stochastic_depth(cupy.ones((1, 2)), cupy.ones((1, 1)), rate=0.75)
    assert cupy.asnumpy(kept).tolist() == [[1, 1]]


def test_a_mask_of_another_dtype_is_left_to_the_formula():
    x, mask = cupy.ones((2, 3), np.float32), cupy.ones((2, 3), np.float64)
    assert launched(lambda: formulas.dropout(x, mask, rate=0.5)) == []
