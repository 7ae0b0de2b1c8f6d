"""Color jitter is torchvision's with the drawn factors; random erasing paints a rectangle of the finished image."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image, ImageEnhance

from nfnumpy import InputError
from nfnumpy.augment import ColorJitter, Crop, RandomErasing, TrainingExamples
from nfnumpy.augment.erasing import AREAS, SHAPES
from nfnumpy.backend import CounterRNG
from nfnumpy.datasets import ArraySplit
from reference_tests.augment.test_cropping import expect_inside, expect_one_distribution
from reference_tests.augment.test_operations import PICTURE

COUNT = 3000


@given(example=st.integers(0, 10**6), strength=st.sampled_from([0.1, 0.4, 1.5]))
def test_a_jittered_image_is_pillows_three_enhancements_in_some_order(example, strength):
    shares = CounterRNG(4, 2).uniform(f"color jitter {example}", (2, 3))[0]
    least = max(0.0, 1 - strength)
    factors = dict(zip(("Brightness", "Contrast", "Color"), least + shares * (1 + strength - least), strict=True))
    found = ColorJitter(strength)(PICTURE, CounterRNG(4, 2), example)
    candidates = []
    for order in itertools.permutations(factors):
        picture = Image.fromarray(PICTURE)
        for name in order:
            picture = getattr(ImageEnhance, name)(picture).enhance(factors[name])
        candidates.append(np.asarray(picture))
    assert any(np.array_equal(found, image) for image in candidates)


def box_of(image, before):
    """The rectangle in which an image differs from the one before."""
    rows, columns = np.nonzero(np.any(image != before, axis=-1))
    return Crop(rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)


@given(example=st.integers(0, 10**6), mode=st.sampled_from(["const", "rand", "pixel"]), size=st.integers(8, 40))
def test_what_is_outside_of_the_rectangle_stays_and_what_is_inside_is_painted(example, mode, size):
    image = np.full((size, size, 3), 7, np.uint8)
    erasing = RandomErasing(1.0, mode)
    found = erasing(image, CounterRNG(0), example)
    assert np.all(image == 7)
    box = erasing.draw_box((size, size), CounterRNG(0), example)
    if box is None:
        assert found is image
        return
    expect_inside(box, (size, size))
    inside = found[box.top:box.top + box.height, box.left:box.left + box.width]
    outside = found.copy()
    outside[box.top:box.top + box.height, box.left:box.left + box.width] = 7
    assert np.all(outside == 7)
    if mode == "const":
        assert np.all(inside == (124, 116, 104))
    if mode == "rand":
        assert np.all(inside == inside[0, 0])
    if mode == "pixel" and inside.size >= 30:
        assert len(np.unique(inside)) > 3


def test_the_constant_colour_is_0_once_normalized():
    """To within half of one of 255 steps."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = RandomErasing(1.0)(np.full((64, 64, 3), 255, np.uint8), CounterRNG(0), 0)
    colour = np.unique(image.reshape(-1, 3), axis=0)[0]
    assert np.all(np.abs((colour / 255 - mean) / deviation) <= 0.5 / 255 / deviation)


@pytest.mark.parametrize("mode", ["rand", "pixel"])
def test_random_paint_is_normal_once_normalized_up_to_the_ends_of_the_scale(mode):
    examples = range(1) if mode == "pixel" else range(COUNT)
    painted = []
    for example in examples:
        box = RandomErasing(1.0, mode).draw_box((200, 200), CounterRNG(0), example)
        image = RandomErasing(1.0, mode)(np.zeros((200, 200, 3), np.uint8), CounterRNG(0), example)
        painted.append(image[box.top:box.top + box.height, box.left:box.left + box.width].reshape(-1, 3))
    painted = painted[0] if mode == "pixel" else np.stack([pixels[0] for pixels in painted])
    normal = np.random.default_rng(0).standard_normal((20 * COUNT, 3))
    expected = np.clip(255 * (np.array([0.485, 0.456, 0.406]) + normal * [0.229, 0.224, 0.225]), 0, 255)
    for channel in range(3):
        expect_one_distribution(painted[:, channel], np.rint(expected[:, channel]))


def test_rectangles_have_uniform_areas_and_logarithms_of_shapes():
    """In an image in which nearly all attempts fit; those that do not are left out by drawing again."""
    boxes = np.array([RandomErasing(1.0).draw_box((3000, 3000), CounterRNG(0), example) for example in range(COUNT)],
                     float)
    random = np.random.default_rng(0)
    areas = random.uniform(*AREAS, 20 * COUNT)
    shapes = np.exp(random.uniform(*map(math.log, SHAPES), 20 * COUNT))
    fits = (np.sqrt(areas * shapes) < 1) & (np.sqrt(areas / shapes) < 1)
    expect_one_distribution(boxes[:, 2] * boxes[:, 3] / 9e6, areas[fits])
    expect_one_distribution(np.log(boxes[:, 2] / boxes[:, 3]), np.log(shapes[fits]))
    for place, side in ((0, 2), (1, 3)):
        expect_one_distribution(boxes[:, place] / (3000 - boxes[:, side]), (np.arange(COUNT) + 0.5) / COUNT)


def test_images_are_erased_with_the_given_probability():
    """Off by five standard deviations with a probability of 6e-7."""
    erased = sum(RandomErasing(0.3).draw_box((64, 64), CounterRNG(0), example) is not None for example in range(COUNT))
    assert abs(erased - 0.3 * COUNT) < 5 * math.sqrt(COUNT * 0.3 * 0.7)


def test_an_image_too_small_for_a_rectangle_stays():
    image = np.zeros((1, 1, 3), np.uint8)
    assert np.array_equal(RandomErasing(1.0)(image, CounterRNG(0), 0), image)


def test_another_mode_is_refused_by_name():
    with pytest.raises(InputError, match="'blur'.*const, rand, pixel"):
        RandomErasing(0.5, "blur")


def test_examples_are_jittered_and_then_erased():
    split = ArraySplit(np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8), np.zeros(5))
    jitter, erasing = ColorJitter(0.4), RandomErasing(0.9, "rand")
    examples = TrainingExamples(split, 1, 5, 2, 3, jitter=jitter, erasing=erasing)
    for number in range(10):
        epoch, index = number // 5, examples.index(number)
        randomness = CounterRNG(3, epoch)
        expected = erasing(jitter(split.read(index), randomness, index), randomness, index)
        assert np.array_equal(examples.take([number])[0], expected)
