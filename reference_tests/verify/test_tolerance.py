"""The distance between two arrays, and what rounding explains of it."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.verify.tolerance import LEEWAY, UNKNOWN, allowed, coarsest, distance, epsilon

NON_FINITE = (np.nan, np.inf, -np.inf)
numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.one_of(numbers, st.sampled_from(NON_FINITE)), min_size=1, max_size=8))
def test_an_array_has_no_distance_from_itself(values):
    assert distance(np.array(values), np.array(values)) == 0.0


@given(st.lists(numbers, min_size=1, max_size=6), st.data())
def test_other_non_finite_values_are_infinitely_far(values, data):
    """At any place: NaN, each infinity and every finite number are four different things."""
    place = data.draw(st.integers(0, len(values) - 1))
    one, other = data.draw(st.permutations([*NON_FINITE, values[place]]))[:2]
    got, expected = np.array(values), np.array(values)
    got[place], expected[place] = one, other
    assert distance(got, expected) == np.inf


@given(st.lists(numbers, min_size=1, max_size=6), st.floats(0.0, 10.0))
def test_the_distance_is_relative_to_the_largest_magnitude(values, scale):
    expected = np.array(values)
    largest = max(scale, float(np.max(np.abs(expected))))
    got = expected.copy()
    got[0] += 0.25 * largest
    assert distance(got, expected, scale) == pytest.approx(0.25 if largest else 0.0, rel=1e-9)


def test_another_shape_is_infinitely_far():
    assert distance(np.zeros((2, 3)), np.zeros((3, 2))) == np.inf


def test_the_limit_is_scaled_from_float32_to_the_precision():
    """An error of one float32 epsilon in float32 is LEEWAY epsilons in any precision; the limit is never less."""
    exact = {"x": np.ones(3), "y": np.ones(3)}
    coarse = {"x": np.ones(3) * (1.0 + 16.0 * epsilon("float32")), "y": np.ones(3)}
    for precision in ("bfloat16", "float16", "float32", "float64"):
        limits = allowed(exact, coarse, {}, precision)
        assert limits["x"] == pytest.approx(16.0 * LEEWAY * epsilon(precision))
        assert limits["y"] == LEEWAY * epsilon(precision)


def test_the_coarsest_known_precision_counts():
    assert coarsest({"float64", "bfloat16", "int64"}) == "bfloat16" and coarsest({"int64"}) == "float64"


def test_an_imaginary_part_is_part_of_the_distance():
    assert distance(np.array([3.0 + 4.0j, 5.0]), np.array([3.0, 5.0])) == 4.0 / 5.0
    assert distance(np.array([3.0 + 0.0j]), np.array([3.0])) == 0.0


def test_what_a_known_variant_leaves_open_is_at_no_distance():
    assert distance(np.array([1.0, 2.0]), UNKNOWN) == 0.0
