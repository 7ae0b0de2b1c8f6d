"""timm's operations are Pillow's, pixel for pixel, with the arguments that timm makes of a level.

Pillow's processor may fuse a multiplication and an addition on some machines; on those that the tests run on it does
not, and the bits agree.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image, ImageEnhance, ImageOps

from nfnumpy.augment import enhancement
from nfnumpy.augment.interpolation import affine, rotation
from nfnumpy.augment.timm_operations import FILL, INCREASING, PLAIN, Drawn

IMAGES = arrays_of.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
DRAWN = st.builds(Drawn, st.floats(0, 1), st.sampled_from([1, -1]), st.sampled_from(list(FILTERS)))
FACTORS = st.floats(0, 2)


def moved(picture, matrix, of):
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, FILTERS[of.interpolation], fillcolor=FILL)


def posterized(picture, bits):
    return ImageOps.posterize(picture, bits) if bits else Image.new("RGB", picture.size)


def solarize_added(picture, addition):
    return picture.point([min(255, value + addition) if value < 128 else value for value in range(256)] * 3)


EXPECTED = {  # what timm calls, with the arguments that it makes of a level: (picture, drawn) -> picture
    "AutoContrast": lambda picture, of: ImageOps.autocontrast(picture),
    "Equalize": lambda picture, of: ImageOps.equalize(picture),
    "Invert": lambda picture, of: ImageOps.invert(picture),
    "Rotate": lambda picture, of: picture.rotate(of.sign * of.share * 30, FILTERS[of.interpolation], fillcolor=FILL),
    "SolarizeAdd": lambda picture, of: solarize_added(picture, int(of.share * 110)),
    "ShearX": lambda picture, of: moved(picture, (1, of.sign * of.share * 0.3, 0, 0, 1, 0), of),
    "ShearY": lambda picture, of: moved(picture, (1, 0, 0, of.sign * of.share * 0.3, 1, 0), of),
    "TranslateXRel": lambda picture, of: moved(picture, (1, 0, of.sign * of.share * 0.45 * picture.width, 0, 1, 0), of),
    "TranslateYRel": lambda picture, of: moved(picture, (1, 0, 0, 0, 1, of.sign * of.share * 0.45 * picture.height),
                                               of),
    "Posterize": lambda picture, of: posterized(picture, int(of.share * 4)),
    "PosterizeIncreasing": lambda picture, of: posterized(picture, 4 - int(of.share * 4)),
    "Solarize": lambda picture, of: ImageOps.solarize(picture, int(of.share * 256)),
    "SolarizeIncreasing": lambda picture, of: ImageOps.solarize(picture, 256 - int(of.share * 256)),
    **{name: lambda picture, of, name=name: getattr(ImageEnhance, name)(picture).enhance(of.share * 1.8 + 0.1)
       for name in ("Color", "Contrast", "Brightness", "Sharpness")},
    **{f"{name}Increasing": lambda picture, of, name=name: getattr(ImageEnhance, name)(picture).enhance(
        max(0.1, 1 + of.sign * of.share * 0.9)) for name in ("Color", "Contrast", "Brightness", "Sharpness")},
}


def test_both_sets_have_the_fifteen_operations_of_timm():
    assert len(PLAIN) == len(INCREASING) == 15 and set(PLAIN) | set(INCREASING) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
@given(image=IMAGES, of=DRAWN)
def test_an_operation_gives_pillows_pixels(name, image, of):
    before = image.copy()
    found = {**PLAIN, **INCREASING}[name](image, of)
    assert np.array_equal(found, np.asarray(EXPECTED[name](Image.fromarray(image), of)))
    assert np.array_equal(image, before)


@given(image=IMAGES, interpolation=st.sampled_from(list(FILTERS)), degrees=st.floats(-180, 180),
       matrix=st.tuples(*[st.floats(-3, 3)] * 6))
def test_any_affine_transform_is_pillows(image, interpolation, degrees, matrix):
    picture = Image.fromarray(image)
    for given_matrix in (matrix, rotation(image.shape[:2], degrees)):
        expected = picture.transform(picture.size, Image.Transform.AFFINE, given_matrix, FILTERS[interpolation],
                                     fillcolor=FILL)
        assert np.array_equal(affine(image, given_matrix, interpolation, FILL), np.asarray(expected))


@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness", "Sharpness"])
@given(image=IMAGES, factor=FACTORS)
def test_an_enhancement_is_pillows_for_any_factor(name, image, factor):
    expected = getattr(ImageEnhance, name)(Image.fromarray(image)).enhance(factor)
    assert np.array_equal(getattr(enhancement, name.lower())(image, factor), np.asarray(expected))
