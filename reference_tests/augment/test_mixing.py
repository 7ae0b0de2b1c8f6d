"""MixUp and CutMix: pixels, shares and labels, and the distributions that they are drawn from."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.augment import Crop, cutmix, draw_box, draw_ratio, mixed_labels, mixup
from nfnumpy.backend import CounterRNG
from reference_tests.augment.test_cropping import COUNT, expect_inside, expect_one_distribution
from reference_tests.helpers.strategies import seeds

SIZES = st.tuples(st.integers(1, 50), st.integers(1, 50))


def pictures(seed, size=(5, 7)):
    return np.random.default_rng(seed).integers(0, 256, (2, *size, 3), dtype=np.uint8)


@given(seed=seeds, ratio=st.floats(0, 1))
def test_mixup_is_a_weighted_mean(seed, ratio):
    first, second = pictures(seed)
    found = mixup(first, second, ratio)
    expected = ratio * first.astype(float) + (1 - ratio) * second.astype(float)
    assert found.dtype == np.float32 and np.allclose(found, expected, rtol=0, atol=4 * 255 * np.finfo(np.float32).eps)


@given(seed=seeds, size=SIZES, pair=st.integers(0, 10**6))
def test_cutmix_has_the_first_image_in_the_box_and_its_share_of_it(seed, size, pair):
    first, second = pictures(seed, size)
    box = draw_box(size, CounterRNG(seed), pair)
    before = first.copy(), second.copy()
    mixed, ratio = cutmix(first, second, box)
    inside = np.zeros(size, bool)
    inside[box.top:box.top + box.height, box.left:box.left + box.width] = True
    assert np.array_equal(mixed[inside], first[inside]) and np.array_equal(mixed[~inside], second[~inside])
    assert ratio == inside.mean() == pytest.approx(box.height * box.width / inside.size)
    assert np.array_equal(first, before[0]) and np.array_equal(second, before[1])


@given(size=SIZES, seed=st.integers(0, 1000), pair=st.integers(0, 10**6))
def test_a_box_is_inside_or_empty(size, seed, pair):
    box = draw_box(size, CounterRNG(seed), pair)
    assert 0 <= box.top <= box.top + box.height <= size[0] and 0 <= box.left <= box.left + box.width <= size[1]
    if box.height and box.width:
        expect_inside(box, size)


def test_boxes_are_around_uniform_pixels_with_sides_whose_square_is_uniform():
    """Of boxes that no edge cuts: their side is the same share of height and width, and its square is 1 - p."""
    size = 2000, 1000
    boxes = np.array([draw_box(size, CounterRNG(0), pair) for pair in range(4 * COUNT)], float)
    expected = np.sqrt(1 - CounterRNG(0).uniform("any", (4 * COUNT,)))
    row, column = (CounterRNG(1).uniform(site, (4 * COUNT,)) for site in ("row", "column"))
    for at, (center, length) in enumerate(zip((row, column), size, strict=True)):
        low, high = np.clip(center - expected / 2, 0, 1), np.clip(center + expected / 2, 0, 1)
        expect_one_distribution(np.round(boxes[:, at] / length, 2), np.round(low, 2))
        expect_one_distribution(np.round(boxes[:, at + 2] / length, 2), np.round(high - low, 2))


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_ratios_have_the_beta_distribution(alpha):
    torch.manual_seed(0)
    ratios = [draw_ratio(CounterRNG(0), pair, alpha) for pair in range(COUNT)]
    expect_one_distribution(np.array(ratios), torch.distributions.Beta(alpha, alpha).sample((10 * COUNT,)).numpy())
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(np.mean(ratios) - 0.5) < 5 * math.sqrt(variance / COUNT)


def test_what_is_drawn_for_a_pair_depends_on_seed_epoch_and_pair_alone():
    for draw in (draw_ratio, lambda *given: draw_box((500, 400), *given)):
        drawn = {key: draw(CounterRNG(*key[:2]), key[2]) for key in np.ndindex(3, 3, 3)}
        assert len(set(drawn.values())) == 27
        used = CounterRNG(1, 2)
        draw(used, 9)
        assert draw(used, 0) == drawn[1, 2, 0]


@given(seed=seeds, smoothing=st.sampled_from([0.0, 0.1]), classes=st.integers(1, 6))
def test_labels_are_shares_of_two_classes_and_then_smoothed(seed, smoothing, classes):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, classes, (2, 5))
    ratios = random.uniform(size=5)
    found = mixed_labels(first, second, ratios, classes, smoothing)
    one_hot = np.eye(classes)
    mixed = ratios[:, None] * one_hot[first] + (1 - ratios[:, None]) * one_hot[second]
    rounding = np.finfo(np.float32).eps / 2 + 1e-15  # of a share up to 1, and those of float64 before it
    assert np.allclose(found, (1 - smoothing) * mixed + smoothing / classes, rtol=0, atol=rounding)
    assert np.allclose(found.sum(axis=1, dtype=float), 1, rtol=0, atol=classes * rounding) and found.dtype == np.float32


@pytest.mark.parametrize("call", [
    lambda: mixup(np.ones(2), np.ones(2), "half"), lambda: mixup(np.ones(2), np.ones(2), math.nan),
    lambda: draw_ratio(CounterRNG(0), 0, "a"), lambda: mixed_labels([5], [0], [0.5], 3),
    lambda: mixup(np.ones((2, 3)), np.ones((3, 2)), 0.5), lambda: mixup("a", "b", 0.5),
    lambda: cutmix(np.ones((2, 2, 3)), np.ones((2, 2, 1)), Crop(0, 0, 1, 1)),
    lambda: draw_box((0, 3), CounterRNG(0), 0),
    lambda: draw_ratio(CounterRNG(0), 0, 0.0), lambda: draw_ratio(CounterRNG(0), 0, 2.0),
    lambda: mixed_labels(np.array([3]), np.array([0]), np.array([0.5]), 3),
    lambda: mixed_labels(np.array([0.0]), np.array([0]), np.array([0.5]), 3),
    lambda: mixed_labels(np.array([0, 1]), np.array([0]), np.array([0.5]), 3)])
def test_mistakes_are_one_line(call):
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
