"""Crops are inside of the picture and within their limits, and distributed as the frameworks draw them."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.augment import Crop, center_crop, released_crop, timm_crop
from nfnumpy.backend import CounterRNG

DRAWN = np.load(Path(__file__).parent / "released" / "crops.npz")
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))
EXAMPLES = st.integers(0, 10**6)
COUNT = 4000
FEATURES = {"top": lambda crops: crops[:, 0], "left": lambda crops: crops[:, 1], "height": lambda crops: crops[:, 2],
            "width": lambda crops: crops[:, 3], "area": lambda crops: crops[:, 2] * crops[:, 3],
            "shape": lambda crops: crops[:, 3] / crops[:, 2], "bottom": lambda crops: crops[:, 0] + crops[:, 2]}


def expect_one_distribution(first, second):
    """The test of Kolmogorov and Smirnov: samples of one distribution differ by more with a probability below 1e-6."""
    first, second = np.sort(first), np.sort(second)
    places = np.concatenate([first, second])
    shares = [np.searchsorted(sample, places, "right") / len(sample) for sample in (first, second)]
    limit = math.sqrt(-math.log(1e-6 / 2) / 2 * (1 / len(first) + 1 / len(second)))
    assert np.max(np.abs(shares[0] - shares[1])) < limit


def expect_inside(crop, size):
    assert crop.top >= 0 and crop.left >= 0 and crop.height > 0 and crop.width > 0
    assert crop.top + crop.height <= size[0] and crop.left + crop.width <= size[1]


@pytest.mark.parametrize("size", DRAWN.files)
def test_the_released_crop_is_distributed_as_tensorflows(size):
    """Of 21 comparisons. The whole picture, which becomes the middle crop, is left out of both."""
    height, width = map(int, size.split("x"))
    theirs = DRAWN[size].astype(float)
    ours = np.array([released_crop((height, width), 10**9, CounterRNG(0), example) for example in range(COUNT)], float)
    theirs = theirs[(theirs[:, 2] < height) | (theirs[:, 3] < width)]
    ours = ours[np.any(ours != center_crop((height, width), 10**9), axis=1)]
    for feature in FEATURES.values():
        expect_one_distribution(feature(ours), feature(theirs))


@given(size=SIZES, target=st.integers(1, 400), example=EXAMPLES)
def test_a_released_crop_is_within_its_limits_or_the_middle(size, target, example):
    """Sides are whole pixels: a shape is within its limits if some sides that round to these are."""
    crop = released_crop(size, target, CounterRNG(0), example)
    expect_inside(crop, size)
    if crop != center_crop(size, target):
        assert crop.height * crop.width >= 0.1 * size[0] * size[1]
        assert 3 / 4 - 0.5 / crop.height <= crop.width / crop.height <= 4 / 3 + 0.5 / crop.height


@given(size=SIZES, example=EXAMPLES, area=st.sampled_from([(0.08, 1.0), (0.35, 0.5)]))
def test_a_timm_crop_is_within_its_limits_or_around_the_middle(size, example, area):
    crop = timm_crop(size, CounterRNG(0), example, area)
    expect_inside(crop, size)
    is_middle = (crop.top, crop.left) == ((size[0] - crop.height) // 2, (size[1] - crop.width) // 2)
    rounding = 0.5 * (crop.height + crop.width) + 0.25
    pixels = size[0] * size[1]
    is_drawn = area[0] * pixels - rounding <= crop.height * crop.width <= area[1] * pixels + rounding
    assert is_drawn or (is_middle and (crop.height == size[0] or crop.width == size[1]))


def test_a_timm_crop_has_uniform_areas_and_logarithms_of_shapes():
    """In a picture in which every attempt fits: a square one, areas up to a half."""
    crops = np.array([timm_crop((3000, 3000), CounterRNG(0), example, (0.08, 0.5)) for example in range(COUNT)], float)
    even = (np.arange(COUNT) + 0.5) / COUNT
    expect_one_distribution(crops[:, 2] * crops[:, 3] / 9e6, 0.08 + even * 0.42)
    expect_one_distribution(np.log(crops[:, 3] / crops[:, 2]), (2 * even - 1) * math.log(4 / 3))
    for place, side in ((0, 2), (1, 3)):
        expect_one_distribution(crops[:, place] / (3000 - crops[:, side]), even)


@pytest.mark.parametrize("draw", [lambda *given: released_crop((300, 200), 64, *given),
                                  lambda *given: timm_crop((300, 200), *given)])
def test_a_crop_depends_on_seed_epoch_and_example_alone(draw):
    crops = {key: draw(CounterRNG(*key[:2]), key[2]) for key in np.ndindex(3, 3, 3)}
    assert len(set(crops.values())) == 27
    used = CounterRNG(2, 1)
    used.uniform("something else", (100,))
    draw(used, 7)
    assert draw(used, 2) == crops[2, 1, 2]


@pytest.mark.parametrize("size, target, expected", [
    ((256, 256), 224, Crop(16, 16, 224, 224)), ((512, 300), 224, Crop(125, 19, 262, 262)),
    ((33, 100), 1, Crop(16, 50, 1, 1)), ((1, 1), 224, Crop(0, 0, 1, 1))])
def test_the_middle_crop_leaves_16_pixels_at_the_networks_size(size, target, expected):
    assert center_crop(size, target) == expected


@given(size=SIZES, target=st.integers(1, 1000))
def test_the_middle_crop_is_inside_and_in_the_middle(size, target):
    crop = center_crop(size, target)
    expect_inside(crop, size)
    assert crop.height == crop.width
    assert abs(crop.top * 2 + crop.height - size[0]) <= 1 and abs(crop.left * 2 + crop.width - size[1]) <= 1


@pytest.mark.parametrize("call", [
    lambda: center_crop((0, 5), 3), lambda: center_crop((5, 5), 0), lambda: center_crop(5, 3),
    lambda: released_crop((2.5, 5), 3, CounterRNG(0), 0), lambda: timm_crop("ab", CounterRNG(0), 0)])
def test_mistakes_are_one_line(call):
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
