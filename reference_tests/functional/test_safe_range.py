"""The powers of two bring any magnitude where its square, and a sum of many of them, is a number of its dtype."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.functional.safe_range import RANGES, multiplier

MOST_SQUARES = 2.0**27


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_squares_of_any_magnitude_are_normal_numbers(dtype, data):
    info = np.finfo(dtype)
    tiny = float(info.smallest_subnormal)
    value = dtype(data.draw(st.floats(tiny, float(info.max), width=8 * dtype().itemsize)))
    by = multiplier(np.asarray(value))
    square = (value * by) ** 2
    assert square >= info.smallest_normal and MOST_SQUARES * float(square) < float(info.max)
    assert by == 1.0 or not RANGES[np.dtype(dtype).name].least <= value <= RANGES[np.dtype(dtype).name].greatest
    assert np.frexp(by)[0] == 0.5 and by.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_limits_are_those_of_the_dtype(dtype):
    info, limits = np.finfo(dtype), RANGES[np.dtype(dtype).name]
    assert (limits.smallest_normal, limits.largest) == (info.smallest_normal, info.max)


def test_nan_stays_and_infinity_stays():
    assert multiplier(np.asarray(np.nan)) == 1.0 and multiplier(np.asarray(np.inf)) * np.inf == np.inf
