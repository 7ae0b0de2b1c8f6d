"""The kernel that turns bytes into what a network sees, beside its formula in float64."""

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import backend, reference
from nfnumpy.backend import cuda
from nfnumpy.datasets.preprocessing import MEAN, STANDARD_DEVIATION, to_input
from nfnumpy.functional.images import normalize_images
from reference_tests.helpers.on_gpu import ANY_DTYPE, DTYPES, bits_in_all_orders, launched, put, waits

STATISTICS = {"mean": MEAN, "standard_deviation": STANDARD_DEVIATION}


def pictures(*shape):
    return np.random.default_rng(list(shape)).integers(0, 256, shape).astype(np.uint8)


def assert_formula(images, dtype, mean=MEAN, standard_deviation=STANDARD_DEVIATION):
    """Four roundings of values up to 1 + |mean|, then the division by the deviation; one more to the dtype."""
    dtype, statistics = np.dtype(dtype), {"mean": mean, "standard_deviation": standard_deviation}
    images = cupy.asarray(images) if isinstance(images, np.ndarray) else images
    got = normalize_images(images, dtype=dtype, **statistics)
    expected = normalize_images.plain(cupy.asnumpy(images), dtype=np.dtype(np.float64), **statistics)
    assert got.shape == expected.shape and got.dtype == dtype
    computed, narrow = float(np.finfo(cuda.accumulator_type(dtype)).eps), float(ml_dtypes.finfo(dtype).eps)
    allowed = 4 * computed * (1 + np.abs(mean)) / np.asarray(standard_deviation) + narrow * np.abs(expected)
    assert np.all(np.abs(cupy.asnumpy(got).astype(np.float64) - expected) <= allowed)


@given(shape=st.tuples(st.integers(0, 3), st.integers(0, 7), st.integers(0, 7)), dtype=ANY_DTYPE)
def test_every_byte_becomes_its_channels_normalized_value(shape, dtype):
    assert_formula(pictures(*shape, 3), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_of_a_byte_in_every_channel(dtype):
    assert_formula(np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3), dtype)
    assert_formula(np.arange(3 * 256 * 9, dtype=np.int64).astype(np.uint8).reshape(3, 16, 48, 3), dtype,
                   mean=(0.1, -0.7, 0.4), standard_deviation=(0.5, 0.25, 2.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_that_begin_anywhere_or_are_not_in_order(dtype):
    images = cupy.asarray(pictures(5, 3, 3, 3))
    assert_formula(put(pictures(5, 3, 3, 3), transposed=True), dtype)
    for first in range(4):  # 27 bytes further each
        assert_formula(images[first:], dtype)
    assert_formula(images[:, ::-1, ::2], dtype)
    assert_formula(images.transpose(0, 2, 1, 3), dtype)


def test_one_launch_without_waiting_has_the_same_bits_always():
    images = cupy.asarray(pictures(2, 33, 31, 3))

    def run():
        return normalize_images(images, dtype=np.dtype(np.float32), **STATISTICS)
    assert len(bits_in_all_orders(run)) == 1
    assert launched(run) == ["normalize_images"] and waits(run) == 0


def test_what_is_not_images_of_bytes_is_left_to_the_formula():
    for images in (pictures(2, 3, 3, 3).astype(np.int32), pictures(2, 3, 3, 1)):
        got = normalize_images(cupy.asarray(images), dtype=np.dtype(np.float32), **STATISTICS)
        expected = normalize_images.plain(images, dtype=np.dtype(np.float32), **STATISTICS)
        assert np.array_equal(cupy.asnumpy(got), expected)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype(np.float64)])
def test_images_reach_a_network_in_its_dtype_on_its_backend(dtype):
    images = pictures(2, 4, 5, 3)
    ours = to_input(images, backend.get("numpy"), dtype)
    assert type(ours) is np.ndarray and ours.dtype == dtype
    for array in (images, cupy.asarray(images)):
        theirs = to_input(array, backend.get("cupy"), dtype)
        assert type(theirs) is cupy.ndarray and theirs.dtype == dtype
        np.testing.assert_allclose(cupy.asnumpy(theirs), ours, rtol=1e-5, atol=1e-6)
        with reference():
            by_formula = to_input(array, backend.get("cupy"), dtype)
        np.testing.assert_allclose(cupy.asnumpy(by_formula), ours, rtol=1e-5, atol=1e-6)


def test_numpy_rounds_product_difference_and_quotient_once_each():
    images = pictures(2, 9, 9, 3)
    for dtype in (np.float32, np.float64):
        mean, deviation = (np.asarray(constant, dtype=dtype) for constant in (MEAN, STANDARD_DEVIATION))
        expected = (images.astype(dtype) * (1.0 / 255.0) - mean) / deviation
        assert np.array_equal(to_input(images, backend.get("numpy"), dtype), expected)
