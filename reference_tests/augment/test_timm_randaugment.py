"""timm's strings are parsed strictly, and layers are drawn as they say."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from nfnumpy import InputError
from nfnumpy.augment import TimmAugmentation, TimmRandAugment, augmentation_of, parse_rand_augment, timm_crop
from nfnumpy.augment.timm_operations import INCREASING, PLAIN
from nfnumpy.backend import CounterRNG
from reference_tests.augment.test_cropping import expect_one_distribution
from reference_tests.augment.test_operations import PICTURE

COUNT = 6000


@pytest.mark.parametrize("text, expected", [
    ("rand", TimmRandAugment()), ("rand-m9-mstd0.5-inc1", TimmRandAugment(9, deviation=0.5, increasing=True)),
    ("rand-m7-n3-p0.6-inc1", TimmRandAugment(7, 3, 0.6, increasing=True)),
    ("rand-inc0-n1-mmax15-m15-mstdinf", TimmRandAugment(15, 1, deviation=math.inf, greatest=15)),
    ("rand-m9-mstd101", TimmRandAugment(9, deviation=101.0)), ("rand-p.25", TimmRandAugment(probability=0.25))])
def test_a_string_is_read_as_timm_reads_it(text, expected):
    assert parse_rand_augment(text) == expected


@pytest.mark.parametrize("text", [
    "", "rand-", "rand-m", "rand-m9.5", "rand-m9-m8", "rand-x3", "rand-inc2", "rand-p1.5", "rand-tweights", "rand m9",
    "original-mstd0.5", "augmix-m5-w4-d2", "rand-M9", "rand-m-9", "rand-mstdnan", "rand-n2\n", "rand-minf",
    "rand-pinf", "rand-m" + "9" * 5000, "rand-n1000", "rand-mmax1000000000", "rand-mstd" + "9" * 5000,
    "rand-p." + "0" * 5000, "rand-m٣"])
def test_another_string_is_a_line_that_says_what_is_known(text):
    with pytest.raises(InputError) as error:
        parse_rand_augment(text)
    assert "mstdS" in str(error.value) or "p up to 1" in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@given(seed=st.integers(0, 100), epoch=st.integers(0, 100), example=st.integers(0, 10**6))
def test_an_examples_layers_depend_on_nothing_else(seed, epoch, example):
    three, four = (TimmRandAugment(9, layers, 1.0, 0.5) for layers in (3, 4))
    drawn = three.draw(CounterRNG(seed, epoch), example)
    other = CounterRNG(seed, epoch)
    four.draw(other, example + 1)
    assert four.draw(other, example)[:3] == drawn and len(drawn) == 3


def expect(count, of, probability):
    """Off by five standard deviations with a probability of 6e-7."""
    assert abs(count - of * probability) < 5 * math.sqrt(of * probability * (1 - probability))


@pytest.mark.parametrize("increasing, names", [(False, PLAIN), (True, INCREASING)])
def test_operations_signs_and_interpolations_are_as_frequent(increasing, names):
    layers = TimmRandAugment(9, COUNT, 0.4, 0.5, increasing=increasing).draw(CounterRNG(0), 0)
    expect(len(layers), COUNT, 0.4)
    counts = Counter(layer.name for layer in layers)
    assert set(counts) == set(names)
    for count in counts.values():
        expect(count, len(layers), 1 / 15)
    expect(sum(layer.drawn.sign == 1 for layer in layers), len(layers), 0.5)
    expect(sum(layer.drawn.interpolation == "bicubic" for layer in layers), len(layers), 0.5)


@pytest.mark.parametrize("deviation", [0.5, 3.0, math.inf])
def test_levels_are_normal_and_cut_at_the_ends_or_uniform(deviation):
    layers = TimmRandAugment(9, COUNT, 1.0, deviation).draw(CounterRNG(3), 1)
    shares = np.array([layer.drawn.share for layer in layers])
    random = np.random.default_rng(0)
    expected = random.uniform(0, 9, 10 * COUNT) if deviation == math.inf else random.normal(9, deviation, 10 * COUNT)
    expect_one_distribution(shares, np.clip(expected, 0, 10) / 10)


def test_without_a_deviation_all_levels_are_m_up_to_the_greatest():
    for text, share in (("rand-m7", 0.7), ("rand-m15", 1.0), ("rand-m15-mmax20", 1.5)):
        assert {layer.drawn.share for layer in parse_rand_augment(text).draw(CounterRNG(0), 0) * 2} <= {share}


def test_the_operations_are_applied_one_by_one():
    augment = TimmRandAugment(9, 3, 0.7, 0.5, increasing=True)
    for example in range(20):
        expected = PICTURE
        for name, drawn in augment.draw(CounterRNG(1), example):
            expected = INCREASING[name](expected, drawn)
        assert np.array_equal(augment(PICTURE, CounterRNG(1), example), expected)


@pytest.mark.parametrize("name, operation", {**PLAIN, **INCREASING}.items())
def test_every_operation_takes_the_greatest_level_that_can_be_asked_for(name, operation):
    (layer,) = {layer.drawn for layer in parse_rand_augment("rand-m999-mmax999-p1-n1").draw(CounterRNG(0), 0)}
    result = operation(PICTURE, layer)
    assert layer.share == 99.9 and result.shape == PICTURE.shape and result.dtype == np.uint8
    if name == "Posterize":
        assert np.array_equal(result, PICTURE)  # as timm has it from 8 bits on


@given(example=st.integers(0, 10**6), size=st.integers(1, 40))
def test_an_example_is_timms_crop_resized_by_pillow(example, size):
    top, left, height, width = timm_crop(PICTURE.shape[:2], CounterRNG(0, 2), example)
    part = Image.fromarray(PICTURE).crop((left, top, left + width, top + height))
    candidates = [np.asarray(part.resize((size, size), resample)) for resample in (2, 3)]
    found = TimmAugmentation(size)(PICTURE, CounterRNG(0, 2), example)
    assert any(np.array_equal(found, image) or np.array_equal(found, image[:, ::-1]) for image in candidates)


def test_flips_and_interpolations_are_as_frequent():
    """A slope of one picture shows the flip, and an edge, beyond which only bicubic overshoots, the interpolation."""
    picture = np.full((40, 40, 3), 60, np.uint8)
    picture[:, 20:] = 200
    examples = [TimmAugmentation(160)(picture, CounterRNG(0), example).astype(int) for example in range(400)]
    edges = [image for image in examples if image.min() < 100 and image.max() > 150]
    expect(sum(image[0, 0, 0] > image[0, -1, 0] for image in edges), len(edges), 0.5)
    expect(sum(image.min() < 60 or image.max() > 200 for image in edges), len(edges), 0.5)


def test_the_names_of_the_command_mean_timms_forms():
    assert augmentation_of("timm", "nfnet_f0", 224) == TimmAugmentation(224)
    found = augmentation_of("timm:rand-m9-inc1", "nf_resnet50", 224)
    assert found == TimmAugmentation(224, TimmRandAugment(9, increasing=True))
