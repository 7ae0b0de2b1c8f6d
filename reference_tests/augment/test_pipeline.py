"""A training example is crop, flip, resizing and RandAugment, the same in any batch and on any thread."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.augment import (
    Augmentation,
    FlipShift,
    augmentation_of,
    bicubic_resize,
    draw_layers,
    pipeline,
    rand_augment,
    released_crop,
)
from nfnumpy.backend import CounterRNG
from nfnumpy.datasets import ArraySplit
from nfnumpy.training import TrainingOptions
from reference_tests.augment.test_operations import PICTURE

LAYERS = [0, 4]


@given(epoch=st.integers(0, 50), example=st.integers(0, 10**6), layers=st.sampled_from(LAYERS), size=st.integers(1, 40))
def test_an_example_is_made_step_by_step(epoch, example, layers, size):
    randomness = CounterRNG(3, epoch)
    top, left, height, width = released_crop(PICTURE.shape[:2], size, randomness, example)
    part = PICTURE[top:top + height, left:left + width]
    values = [np.clip(bicubic_resize(part, (size, size), mirrored), 0, 255).astype(np.uint8)
              for mirrored in (False, True)]
    drawn = draw_layers(randomness, example, layers)
    found = Augmentation(size, layers, 5)(PICTURE, randomness, example)
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    assert any(np.array_equal(found, rand_augment(value, drawn, 5, pixel=size / 192)) for value in values)


def test_images_of_192_pixels_and_more_have_the_released_lengths(monkeypatch):
    pixels = []
    monkeypatch.setattr(pipeline, "rand_augment", lambda image, layers, magnitude, pixel: pixels.append(pixel) or image)
    for size in (96, 192, 300):
        Augmentation(size, 4, 5)(PICTURE, CounterRNG(0), 0)
    assert pixels == [0.5, 1.0, 1.0]


def test_half_of_the_examples_are_flipped():
    """A picture that darkens to the right still does, or does to the left."""
    slope = np.repeat(np.linspace(255, 0, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    examples = [Augmentation(8)(slope, CounterRNG(0), example).astype(int) for example in range(400)]
    flipped = sum(example[:, 0].sum() < example[:, -1].sum() for example in examples)
    assert abs(flipped - 200) < 5 * math.sqrt(100)  # by chance with a probability of 6e-7


@given(size=st.integers(1, 40), example=st.integers(0, 10**6))
def test_flip_shift_shows_the_picture_or_its_mirror_image_moved_by_up_to_an_eighth(size, example):
    most = size // 8
    numbers = np.arange(size * size, dtype=np.int64).reshape(size, size) % 251
    picture = numbers.astype(np.uint8)[..., None].repeat(3, axis=2)
    found = FlipShift(size)(picture, CounterRNG(2, 1), example)
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    moved = []
    for image in (picture, picture[:, ::-1]):
        padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="reflect")
        moved += [padded[top:top + size, left:left + size] for top in range(2 * most + 1)
                  for left in range(2 * most + 1)]
    assert any(np.array_equal(found, image) for image in moved)


def test_every_flip_and_shift_is_as_likely():
    """16 pixels move by -2 … 2 each way: 50 examples, each drawn 40 times of 2,000."""
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    seen = Counter(FlipShift(16)(picture, CounterRNG(0), example).tobytes() for example in range(2000))
    chi_square = sum((count - 40) ** 2 / 40 for count in seen.values())
    assert len(seen) == 50 and chi_square < 105  # 49 degrees of freedom: by chance with a probability below 1e-5


def test_grey_pictures_have_three_channels():
    split = ArraySplit(np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8), np.zeros(2), 6)
    assert split.read_whole(1).shape == (8, 8, 3)


@pytest.mark.parametrize("model, layers_and_magnitude", [
    ("nfnet_f0", (4, 5)), ("nfnet_f1", (4, 10)), ("nfnet_f2+", (4, 10)), ("nfnet_f3", (4, 15)), ("nfnet_f7+", (4, 15)),
    ("nfnet_8px", (4, 5))])
def test_nfnets_have_the_papers_layers_and_magnitude(model, layers_and_magnitude):
    assert augmentation_of("nfnet", model, 32) == Augmentation(32, *layers_and_magnitude)
    assert augmentation_of("flip-crop", model, 32) == Augmentation(32) and augmentation_of("none", model, 32) is None
    assert augmentation_of("flip-shift", model, 32) == FlipShift(32)


def test_other_networks_are_trained_without_randaugment():
    assert augmentation_of("flip-crop", "nf_resnet50", 32) == Augmentation(32)
    for model in ("nf_resnet50", "nf_regnet_b0"):
        with pytest.raises(InputError, match=f"{model}.*flip-crop"):
            augmentation_of("nfnet", model, 32)


def test_another_kind_of_augmentation_is_refused_by_name():
    with pytest.raises(InputError, match=r"--augment strong.*flip-crop"):
        TrainingOptions(augment="strong")


def test_a_run_sees_every_picture_anew_in_every_epoch(few_digits, tmp_path, monkeypatch):
    seen = []

    def watched(self, picture, randomness, example):
        image = original(self, picture, randomness, example)
        seen.append((randomness.seed, randomness.step, example, image.tobytes()))
        return image

    original = Augmentation.place
    monkeypatch.setattr(Augmentation, "place", watched)
    nf.training.train({"data": f"idx:{few_digits}", "epochs": 3, "batch_size": 12, "augment": "flip-crop", "seed": 5,
                       "ema": None, "out": str(tmp_path / "run")})
    assert sorted(key[:3] for key in seen) == [(5, epoch, example) for epoch in range(3) for example in range(24)]
    assert len({image for *_, image in seen}) > 60
