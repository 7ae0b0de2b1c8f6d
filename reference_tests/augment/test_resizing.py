"""Bicubic resizing: TensorFlow's values, Pillow's where both interpolate, and what a cubic kernel reproduces."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from nfnumpy import InputError
from nfnumpy.augment import bicubic_resize
from nfnumpy.augment.resizing import STEP, keys, taps
from reference_tests.augment.test_operations import VECTORS
from reference_tests.helpers.strategies import seeds

SIDES = st.integers(1, 12)
STEEPEST = 2.0  # the sum over four pixels of the kernel's slopes is less


def test_a_picture_is_resized_as_tensorflow_does():
    """Values are not clamped. Both compute in float32, of up to four numbers in each of two directions."""
    expected = VECTORS["bicubic/48"]
    found = bicubic_resize(VECTORS["image"], (48, 48))
    assert found.dtype == np.float32 and expected.min() < 0.0 and expected.max() > 255.0
    assert np.max(np.abs(found - expected)) < 16 * 255 * np.finfo(np.float32).eps


@given(old=st.tuples(SIDES, SIDES), factor=st.tuples(st.integers(1, 4), st.integers(1, 4)), seed=seeds)
def test_enlarging_is_pillows_in_floating_point(old, factor, seed):
    """Enlarged, Pillow's kernel is as wide as this one. Places are to the next half STEP here."""
    values = np.random.default_rng(seed).uniform(0, 255, old).astype(np.float32)
    new = tuple(side * times for side, times in zip(old, factor, strict=True))
    expected = np.asarray(Image.fromarray(values).resize(new[::-1], Image.Resampling.BICUBIC))
    assert np.max(np.abs(bicubic_resize(values[..., None], new)[..., 0] - expected)) < 2 * STEEPEST * STEP / 2 * 255


@given(old=st.tuples(SIDES, st.integers(1, 90)), new=st.tuples(SIDES, st.integers(1, 60)), seed=seeds)
def test_the_mirror_image_is_resized_without_being_made(old, new, seed):
    """The four terms of a pixel are added in another order."""
    image = np.random.default_rng(seed).integers(0, 256, (*old, 3), dtype=np.uint8)
    found, expected = bicubic_resize(image, new, mirrored=True), bicubic_resize(image[:, ::-1], new)
    assert np.max(np.abs(found - expected)) < 16 * 255 * np.finfo(np.float32).eps


@pytest.mark.parametrize("old, new", [((3, 500), (40, 33)), ((100, 1), (16, 17)), ((7, 9), (1, 160)),
                                      ((900, 301), (17, 40))])
def test_every_pixel_is_the_sum_of_its_four_shares(old, new):
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    (rows, row_shares), (columns, column_shares) = (taps(*sides) for sides in zip(old, new, strict=True))
    values = image[np.clip(rows, 0, old[0] - 1)][:, :, np.clip(columns, 0, old[1] - 1)].astype(float)
    expected = np.einsum("yixjc,yi,xj->yxc", values, row_shares.astype(float), column_shares.astype(float))
    assert np.max(np.abs(bicubic_resize(image, new) - expected)) < 16 * 255 * np.finfo(np.float32).eps


@given(size=st.tuples(SIDES, SIDES), seed=seeds)
def test_the_same_size_is_the_same_picture(size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(bicubic_resize(image, size), image)


@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), value=st.integers(0, 255))
def test_an_even_picture_stays_even(old, new, value):
    found = bicubic_resize(np.full((*old, 3), value, np.uint8), new)
    assert found.shape == (*new, 3) and np.allclose(found, value, rtol=16 * np.finfo(np.float32).eps, atol=0)


@given(old=st.integers(4, 40), new=st.integers(1, 60))
def test_a_slope_is_kept_away_from_the_edges(old, new):
    """Keys' kernel reproduces polynomials of the second degree."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    inner = (places >= 1) & (places < old - 2)
    found = bicubic_resize(np.arange(old, dtype=np.float32)[None, :, None] ** 2, (1, new))[0, :, 0]
    assert np.all(np.abs(found - places ** 2)[inner] < 2 * old * STEP / 2 + 1e-5 * old ** 2)


def test_the_kernel_is_1_at_0_and_0_at_other_pixels_and_smooth_between():
    assert keys(np.array([0.0, 1.0, 2.0, 3.0])).tolist() == [1.0, 0.0, 0.0, 0.0]
    for joint in (1.0, 2.0):
        slopes = [(keys(np.array(joint + side * 1e-6)) - keys(np.array(joint))) / (side * 1e-6) for side in (1, -1)]
        assert abs(slopes[0] - slopes[1]) < 1e-5


@pytest.mark.parametrize("image, size", [
    ("picture", (2, 2)), (np.ones((2, 2)), (2, 2)), (np.ones((0, 2, 3)), (2, 2)), (np.ones((2, 2, 3), complex), (2, 2)),
    (np.ones((2, 2, 3)), 2), (np.ones((2, 2, 3)), (2,)), (np.ones((2, 2, 3)), (0, 2)), (np.ones((2, 2, 3)), (2, 1.5))])
def test_mistakes_are_one_line(image, size):
    with pytest.raises(InputError) as error:
        bicubic_resize(image, size)
    assert "\n" not in str(error.value)
