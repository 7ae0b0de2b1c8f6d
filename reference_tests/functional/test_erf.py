"""erf and erfc, compared with mpmath.

An error is counted in units in the last place (the spacing of floats at the exact value) where that is the claim, and
relatively, in epsilons, where a bound is derived by adding up roundings. With u = epsilon / 2 the relative error of
one rounding, erfc(x) = exp(-square) (1 - rest) P / (x + 1/2) collects at most
    exp            2 u in float64 (1 unit in the last place), 5 u in float32 (NumPy documents 2.52 units)
    (1 - rest)     1 u     x + 1/2  1 u     division 1 u     product 1 u
    P              2 u     (constant coefficient, last addition, and the rest of the polynomial, a tenth as large)
that is 8 u = 4 epsilons in float64 and 11 u = 5.5 epsilons in float32.

erf at |x| < 1 adds to x the product x Q, at most a sixth of the sum and good to about 4 u: 0.7 units, and half a unit
for the addition. Beyond, where the unit is u, it subtracts from 1 at most 0.157, good to the 8 u or 11 u above (the
square is rounded, 1 u at x = 1, in place of the factor 1 - rest): 1.3 or 1.7 units, and half a unit for the
subtraction. So 2 units hold in float64. In float32 the worst conceivable is 2.3, but there one can try every number:
from 2^-14, below which Q no longer changes, to 4.1, the largest error was 1.25 with NumPy 2.4.
"""

import array_api_strict
import mpmath
import numpy as np
import pytest
from array_api_strict import ArrayAPIStrictFlags
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from nfnumpy.errors import InputError
from nfnumpy.functional import erf as package
from nfnumpy.functional.erf import erf, erfc
from reference_tests.tools.derive_erf import DEGREES, derive, interpolant, outer_argument, pieces

DTYPES = ("float64", "float32")
TABLES = {"float64": package._FLOAT64, "float32": package._FLOAT32}
UNIT_ROUNDOFF_DIGITS = {"float64": 53, "float32": 24}
ERFC_EPSILONS = {"float64": 4.0, "float32": 5.5}


def exact(function, x):
    """mpmath's value of `function` at every element of `x`, to 30 digits."""
    with mpmath.workdps(30):
        return [function(mpmath.mpf(value)) for value in x.tolist()]


def units_in_the_last_place(result, reference):
    """The largest |result - reference| in spacings of floats of the dtype of `result`."""
    return max(
        float(abs(value - true) / float(np.spacing(result.dtype.type(abs(true)))))
        for value, true in zip(result.tolist(), reference, strict=True)
    )


def points(dtype, seed):
    """Dense at the borders of the pieces, then log-spaced over the whole dtype, then uniform where erf is not 1."""
    generator = np.random.default_rng(seed)
    information = np.finfo(dtype)
    borders = []
    for centre in (0.5, 1.0, 3.84, 4.0, 5.93, 6.25):
        spacing = np.spacing(np.dtype(dtype).type(centre))
        borders.append(centre + spacing * np.arange(-150, 151))
    log_spaced = np.geomspace(float(information.tiny), float(information.max) / 2, 1500)
    uniform = np.concatenate([generator.uniform(0.0, 1.3, 5000), generator.uniform(1.0, 6.5, 3000)])
    subnormal = float(information.smallest_subnormal) * np.arange(1.0, 20.0)
    magnitude = np.concatenate([*borders, log_spaced, uniform, subnormal])
    sign = generator.choice([-1.0, 1.0], magnitude.size)
    return (sign * magnitude).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_are_exactly_those_derived(dtype):
    table = TABLES[dtype]
    assert {
        "centre": table.centre, "middle": table.middle.coefficients, "tail": table.tail.coefficients
    } == derive(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ("centre", "middle", "tail"))
def test_degrees_are_the_smallest_whose_truncation_hardly_shows(dtype, name):
    """Below three tenths of the unit roundoff, relative to the result; one degree less is above."""

    def truncation(degree):
        function, low, high, _ = pieces(dtype)[name]
        polynomial = interpolant(function, low, high, degree)[::-1]
        worst = mpmath.mpf(0)
        for position in mpmath.linspace(-1, 1, 101):
            # The sine gathers the points where such a polynomial errs most, near the ends.
            variable = (low + high) / 2 + (high - low) / 2 * mpmath.sin(mpmath.pi / 2 * position)
            true = function(variable)
            error = abs(mpmath.polyval(polynomial, variable) - true)
            if name == "centre":
                error /= 1 + true
            else:
                error /= true
            if name == "middle":
                x = outer_argument(variable, TABLES[dtype].middle.pivot)
                error *= mpmath.erfc(x) / mpmath.erf(x)
            worst = max(worst, error)
        return worst * mpmath.mpf(2) ** UNIT_ROUNDOFF_DIGITS[dtype]

    with mpmath.workdps(40):
        assert truncation(DEGREES[dtype][name]) < 0.3 < truncation(DEGREES[dtype][name] - 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_is_within_two_units_in_the_last_place(dtype):
    x = points(dtype, seed=1)
    assert units_in_the_last_place(erf(x), exact(mpmath.erf, x)) < 2.0


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hypothesis_numpy.arrays(
            dtype,
            st.integers(1, 60),
            elements=st.floats(-7, 7, width=32 if dtype == "float32" else 64)
            | st.floats(width=32 if dtype == "float32" else 64, allow_nan=False, allow_infinity=False),
        )
    )
)
def test_erf_is_within_two_units_at_any_point(x):
    assert units_in_the_last_place(erf(x), exact(mpmath.erf, x)) < 2.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_erfc_is_relatively_precise_until_it_underflows(dtype):
    """Subnormal results are rounded to multiples of the smallest one, twice: in exp(-square) and in the product."""
    information = np.finfo(dtype)
    generator = np.random.default_rng(2)
    last = 27.5 if dtype == "float64" else 10.2
    x = np.concatenate([points(dtype, seed=3), generator.uniform(0.5, last, 8000).astype(dtype)])
    x = x[np.abs(x) < 100]  # mpmath cannot hold exp(-x^2) for the largest; the special values below go that far
    bound = ERFC_EPSILONS[dtype] * float(information.eps)
    floor = float(information.smallest_subnormal)
    for value, true in zip(erfc(x).tolist(), exact(mpmath.erfc, x), strict=True):
        assert abs(value - true) <= bound * true + floor


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_is_odd_to_the_bit(dtype):
    x = points(dtype, seed=4)
    assert np.array_equal(erf(-x), -erf(x))
    assert np.array_equal(np.signbit(erf(x)), np.signbit(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_rises_and_erfc_falls_up_to_their_errors(dtype):
    """erf may fall by one unit in the last place; two values of erfc each carry their own error."""
    x = np.sort(points(dtype, seed=5))
    value = erf(x)
    assert np.all(np.diff(value) >= -np.spacing(np.abs(value[1:])))
    complement = erfc(x)
    slack = 2.0 * ERFC_EPSILONS[dtype] * np.finfo(dtype).eps * complement[1:]
    assert np.all(np.diff(complement) <= slack)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_are_right(dtype):
    x = np.asarray([0.0, -0.0, np.inf, -np.inf, np.nan, 1e38, -1e38], dtype=dtype)
    np.testing.assert_array_equal(erf(x), np.asarray([0, 0, 1, -1, np.nan, 1, -1], dtype=dtype))
    assert np.signbit(erf(x)).tolist()[:2] == [False, True]
    np.testing.assert_array_equal(erfc(x), np.asarray([1, 1, 0, 2, np.nan, 0, 2], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", (erf, erfc))
def test_no_finite_or_infinite_input_overflows_or_is_invalid(dtype, function):
    largest = float(np.finfo(dtype).max)
    x = np.asarray([largest, -largest, 1e38, 1e19, 1e-38, np.inf, -np.inf, np.nan, 0.0], dtype=dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        result = function(np.concatenate([x, points(dtype, seed=6)]))
    assert np.isnan(result[7]) and np.isfinite(np.delete(result, 7)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", (erf, erfc))
@pytest.mark.parametrize("shape", ((), (0,), (3, 0, 2), (2, 3, 4)))
def test_shape_and_dtype_are_kept(dtype, function, shape):
    result = function(np.ones(shape, dtype=dtype))
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == (shape, np.dtype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", (erf, erfc))
def test_the_input_is_left_as_it_was(dtype, function):
    x = points(dtype, seed=7)
    before = x.copy()
    function(x)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", (erf, erfc))
def test_the_array_standard_is_enough_and_gives_the_same_bits(dtype, function):
    x = points(dtype, seed=8)
    with ArrayAPIStrictFlags(api_version="2023.12", boolean_indexing=False, data_dependent_shapes=False):
        result = function(array_api_strict.asarray(x))
        scalar = function(array_api_strict.asarray(1.5, dtype=getattr(array_api_strict, dtype)))
    assert isinstance(result, type(array_api_strict.asarray(x)))
    assert scalar.shape == ()
    assert np.array_equal(np.asarray(result), function(x))


@pytest.mark.parametrize("function", (erf, erfc))
@pytest.mark.parametrize("given_value", (1.0, [0.5], np.arange(3), np.ones(2, dtype=np.float16)))
def test_anything_but_a_floating_array_is_one_clear_error(function, given_value):
    with pytest.raises(InputError, match=f"^{function.__name__}: expected an array of float32 or float64, got "):
        function(given_value)
