"""RandAugment's operations: pixel for pixel those of the released code, and what their definitions say."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image, ImageOps

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.augment import FORMS, OPERATIONS, apply_operation, blending, geometry

VECTORS = np.load(Path(__file__).parent / "released" / "vectors.npz")
PICTURE = VECTORS["image"]
RESULTS = [name for name in VECTORS.files if name.partition("/")[0] in OPERATIONS]
IMAGES = arrays_of.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
MAGNITUDES = st.one_of(st.integers(0, 20), st.floats(0, 20))
SIGNS = st.sampled_from([1, -1])


@pytest.mark.parametrize("result", RESULTS)
def test_an_operation_gives_the_released_codes_pixels(result):
    name, magnitude, *sign = result.split("/")
    found = apply_operation(PICTURE, name, float(magnitude), {"-": -1}.get("".join(sign), 1))
    assert np.array_equal(found, VECTORS[result])


def test_the_released_results_cover_all_operations_but_cutout():
    assert {name.partition("/")[0] for name in RESULTS} == set(OPERATIONS) - {"Cutout"} and len(OPERATIONS) == 16


@given(image=IMAGES, name=st.sampled_from(OPERATIONS), magnitude=MAGNITUDES, sign=SIGNS, form=st.sampled_from(FORMS))
def test_every_image_stays_an_image_and_the_given_one_as_it_was(image, name, magnitude, sign, form):
    before = image.copy()
    found = apply_operation(image, name, magnitude, sign, form)
    assert found.shape == image.shape and found.dtype == np.uint8
    assert np.array_equal(image, before)


@given(image=IMAGES, form=st.sampled_from(FORMS),
       name=st.sampled_from(["Color", "Contrast", "Brightness", "Sharpness"]))
def test_a_blend_of_magnitude_5_changes_nothing(image, name, form):
    assert np.array_equal(apply_operation(image, name, 5, form=form), image)


@given(image=IMAGES, sign=SIGNS, name=st.sampled_from(
    ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "SolarizeAdd", "Cutout"]))
def test_an_operation_of_magnitude_0_changes_nothing(image, name, sign):
    assert np.array_equal(apply_operation(image, name, 0, sign), image)


# ---- values


@given(image=IMAGES)
def test_equalize_and_invert_are_pillows(image):
    picture = Image.fromarray(image)
    assert np.array_equal(apply_operation(image, "Equalize", 1), np.asarray(ImageOps.equalize(picture)))
    assert np.array_equal(apply_operation(image, "Invert", 1), np.asarray(ImageOps.invert(picture)))


@given(image=IMAGES, bits=st.integers(1, 8))
def test_posterize_and_solarize_are_pillows(image, bits):
    picture = Image.fromarray(image)
    assert np.array_equal(blending.posterize(image, bits), np.asarray(ImageOps.posterize(picture, bits)))
    assert np.array_equal(blending.solarize(image, 32 * bits), np.asarray(ImageOps.solarize(picture, 32 * bits)))


def test_no_bits_are_black_and_more_magnitude_keeps_more():
    assert not blending.posterize(PICTURE, 0).any()
    kept = [int(np.bitwise_or.reduce(apply_operation(PICTURE, "Posterize", m), axis=None)) for m in (0, 2.5, 5, 10, 20)]
    assert kept == [0, 0b10000000, 0b11000000, 0b11110000, 0b11111111]


@given(image=IMAGES)
def test_autocontrast_spans_everything_in_order(image):
    """Every channel of two values or more; 255 may be cut to 254, as products are rounded before they are cut."""
    found = apply_operation(image, "AutoContrast", 1)
    for channel in range(3):
        before, after = image[..., channel].ravel(), found[..., channel].ravel()
        if before.min() == before.max():
            assert np.array_equal(before, after)
        else:
            assert after.min() <= 1 and after.max() >= 254
            assert np.all(np.diff(after[np.argsort(before, kind="stable")].astype(int)) >= 0)


def test_solarize_wraps_as_released_and_does_not_when_corrected():
    """At M = 10 the threshold is 256: as a uint8 it is 0, and everything is inverted."""
    assert np.array_equal(apply_operation(PICTURE, "Solarize", 10), 255 - PICTURE)
    assert np.array_equal(apply_operation(PICTURE, "Solarize", 10, form="corrected"), PICTURE)
    for form in FORMS:
        assert np.array_equal(apply_operation(PICTURE, "Solarize", 5, form=form), blending.solarize(PICTURE, 128))


@given(image=IMAGES, magnitude=MAGNITUDES)
def test_contrast_goes_away_from_the_mean_grey_when_corrected(image, magnitude):
    mean = int(np.mean(blending.grey(image)))
    factor = magnitude / 10 * 1.8 + 0.1
    expected = np.clip(mean + factor * (image.astype(float) - mean), 0, 255)
    found = apply_operation(image, "Contrast", magnitude, form="corrected")
    assert np.all(np.abs(found - expected) < 1 + 1e-4)  # cut to whole numbers, computed in float32


def test_contrast_as_released_starts_from_the_number_of_pixels():
    """66·88/256 is 22.7; of a large image it is 255, white."""
    assert np.array_equal(apply_operation(PICTURE, "Contrast", 0), blending.contrast(PICTURE, 0.1, 22))
    large = np.zeros((256, 256, 3), np.uint8)
    assert np.all(apply_operation(large, "Contrast", 0) == 229)  # 255 + 0.1·(0 - 255), cut


def test_sharpness_leaves_the_outermost_pixels():
    found = apply_operation(PICTURE, "Sharpness", 0)
    changed = np.any(found != PICTURE, axis=-1)
    assert changed[1:-1, 1:-1].any()
    changed[1:-1, 1:-1] = False
    assert not changed.any()


# ---- places


@given(image=IMAGES, pixels=st.integers(-10, 10))
def test_a_translation_by_whole_pixels_moves_them_and_fills_with_grey(image, pixels):
    for translate, axis in ((geometry.translate_x, 1), (geometry.translate_y, 0)):
        expected = np.full_like(image, 128)
        for place in range(image.shape[axis]):
            if 0 <= place + pixels < image.shape[axis]:
                np.moveaxis(expected, axis, 0)[place] = np.moveaxis(image, axis, 0)[place + pixels]
        assert np.array_equal(translate(image, pixels), expected)


@given(side=st.integers(1, 9), turns=st.integers(-4, 4), data=st.data())
def test_a_square_turns_anticlockwise_by_quarters(side, turns, data):
    image = data.draw(arrays_of.arrays(np.uint8, (side, side, 3)))
    assert np.array_equal(geometry.rotate(image, 90.0 * turns), np.rot90(image, turns))


@given(image=IMAGES, level=st.floats(-0.9, 0.9))
def test_the_two_shears_are_each_others_transpose(image, level):
    assert np.array_equal(geometry.shear_y(image, level), geometry.shear_x(image.swapaxes(0, 1), level).swapaxes(0, 1))


def test_a_shear_moves_a_row_by_its_number():
    image = np.arange(5, dtype=np.uint8)[None, :, None] * np.ones((4, 1, 3), np.uint8)
    expected = [[column + row if column + row < 5 else 128 for column in range(5)] for row in range(4)]
    assert geometry.shear_x(image, 1.0)[..., 0].tolist() == expected


@given(image=IMAGES, half=st.integers(0, 5), place=st.tuples(st.integers(0, 8), st.integers(0, 8)))
def test_cutout_is_a_square_around_its_center(image, half, place):
    found = geometry.cutout(image, half, place)
    for row, column in np.ndindex(*image.shape[:2]):
        inside = all(-half <= at - middle < half for at, middle in zip((row, column), place, strict=True))
        assert found[row, column].tolist() == ([128] * 3 if inside else image[row, column].tolist())


@given(image=IMAGES, sign=SIGNS, name=st.sampled_from(OPERATIONS))
def test_lengths_in_pixels_shrink_and_nothing_else_does(image, sign, name):
    found = apply_operation(image, name, 8, sign, pixel=0.05)
    expected = {"TranslateX": lambda: geometry.translate_x(image, sign * 4), "TranslateY": lambda: geometry.translate_y(
        image, sign * 4), "Cutout": lambda: geometry.cutout(image, 1, (image.shape[0] // 2, image.shape[1] // 2))}
    if name in expected:
        assert np.array_equal(found, expected[name]())
    else:
        assert np.array_equal(found, apply_operation(image, name, 8, sign))


# ---- mistakes


@pytest.mark.parametrize("change", [
    {"name": "rotate"}, {"name": ["Rotate"]}, {"name": None}, {"magnitude": "10"}, {"magnitude": -1},
    {"magnitude": math.nan}, {"magnitude": math.inf}, {"sign": 0},
    {"sign": "+"}, {"form": "mended"}, {"image": PICTURE[..., 0]},
    {"pixel": -1}, {"pixel": "small"}, {"pixel": math.inf},
    {"image": PICTURE.astype(float)}, {"image": PICTURE[:0]}, {"image": "picture.png"}, {"image": PICTURE[..., :1]}],
    ids=str)
def test_mistakes_are_one_line(change):
    given = {"image": PICTURE, "name": "Rotate", "magnitude": 10, **change}
    with pytest.raises(InputError) as error:
        nf.augment.apply_operation(**given)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@given(image=IMAGES, horizontal=st.booleans(), halves=st.booleans(), pixels=st.floats(-15, 15))
def test_a_translation_is_that_of_a_transform_with_a_slope_of_nothing(image, horizontal, halves, pixels):
    """A slope so small that it changes no place in float32 takes the way of shears: pixel by pixel."""
    pixels = round(2 * pixels) / 2 if halves else pixels
    shift = (pixels, 0.0) if horizontal else (0.0, pixels)
    moved = (geometry.translate_x if horizontal else geometry.translate_y)(image, pixels)
    slope = 1e-30
    sheared = geometry.transform(image, (1.0, slope, shift[0], slope, 1.0, shift[1]))
    assert np.array_equal(moved, sheared)
