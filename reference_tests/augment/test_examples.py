"""Training examples: each is what the formulas make of its pictures, whatever reads it, and pairs are as documented."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy import InputError
from nfnumpy.augment import (
    Augmentation,
    FlipShift,
    Mixing,
    TrainingExamples,
    cutmix,
    draw_box,
    draw_layers,
    draw_ratio,
    mixup,
    rand_augment,
)
from nfnumpy.backend import CounterRNG
from nfnumpy.datasets import ArraySplit, FolderSplit, Loader

COUNT, SIZE, BATCH, EPOCHS, SEED = 24, 6, 8, 3, 5


class Files(FolderSplit):
    """Pictures of several sizes, as if decoded from files; image i has label i % 4."""

    def __init__(self, count=COUNT):
        super().__init__([str(number) for number in range(count)], np.arange(count) % 4, SIZE)

    def read_whole(self, index):
        return np.random.default_rng(index).integers(0, 256, (9 + index % 5, 12, 3), dtype=np.uint8)

    def read(self, index):
        return self.read_whole(index)[:SIZE, :SIZE]


def arrays(count=COUNT):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return ArraySplit(images, np.arange(count) % 4, SIZE)


def examples_of(split=None, augmentation=None, mixing=None, batch_size=BATCH):
    return TrainingExamples(split or Files(), 4, batch_size, EPOCHS, SEED, augmentation, mixing)


RELEASED = Mixing(0.2, 1.0)
TIMM = Mixing(0.8, 1.0, "timm")
MIXINGS = [None, RELEASED, Mixing(0.2), Mixing(cutmix=0.5), TIMM, Mixing(0.5, form="timm", off_epoch=1),
           Mixing(0.5, 1.0, augment_first=True), Mixing(0.5, 1.0, "timm", augment_first=False)]
AUGMENTATIONS = [None, FlipShift(SIZE), Augmentation(SIZE, 2, 10)]
NUMBERS = st.integers(0, COUNT * EPOCHS - 1)


@settings(max_examples=20)
@given(order=st.lists(NUMBERS.map(lambda number: number % COUNT), min_size=1, max_size=40), epoch=st.integers(0, 2),
       batch_size=st.integers(1, 40), split=st.sampled_from([Files(), arrays(), ArraySplit(arrays().images, [0] * 24)]),
       augmentation=st.sampled_from(AUGMENTATIONS), mixing=st.sampled_from(MIXINGS))
def test_examples_are_the_same_for_any_order_batches_and_number_of_workers(order, epoch, batch_size, split,
                                                                            augmentation, mixing):
    size = split.image_size
    if augmentation is not None:
        augmentation = type(augmentation)(size, *[2, 10] * isinstance(augmentation, Augmentation))
    examples = examples_of(split, augmentation, mixing)
    order = [epoch * COUNT + position for position in order]
    images = np.concatenate([examples.take([number]) for number in order])
    targets = [np.concatenate(arrays) for arrays in zip(*(examples.targets(np.array([number])) for number in order),
                                                        strict=True)]
    copied = pickle.loads(pickle.dumps(examples))
    for workers in (0, 1, 4):
        with Loader(copied, batch_size, workers) as loader:
            found = [np.concatenate(arrays) for arrays in zip(*loader.batches(np.array(order)), strict=True)]
        for one, other in zip(found, [images, *targets], strict=True):
            assert np.array_equal(one, other)


@given(number=NUMBERS, augmentation=st.sampled_from(AUGMENTATIONS[1:]))
def test_without_mixing_an_example_is_its_augmented_picture(number, augmentation):
    examples = examples_of(augmentation=augmentation)
    epoch, position = divmod(number, COUNT)
    index = CounterRNG(SEED, epoch).permutation("order of training images", COUNT)[position]
    image, = examples.take([number])
    assert np.array_equal(image, augmentation(Files().read_whole(index), CounterRNG(SEED, epoch), index))
    assert examples.targets(np.array([number]))[0].tolist() == [index % 4]


@given(number=NUMBERS)
def test_the_released_form_mixes_values_that_are_not_clamped_and_then_augments(number):
    """The partner's crop is drawn as that of example N + index, so that it is not the one of the picture's own turn."""
    augmentation = Augmentation(SIZE, 3, 10)
    epoch, position = divmod(number, COUNT)
    randomness = CounterRNG(SEED, epoch)
    first, second = (int(randomness.permutation(site, COUNT)[position])
                     for site in ("order of training images", "order of partners"))
    values = [augmentation.place(Files().read_whole(index), randomness, example)
              for index, example in ((first, first), (second, COUNT + second))]
    if position % BATCH % 2 == 0:
        ratio = draw_ratio(randomness, first, 0.2)
        mixed = mixup(*values, ratio)
    else:
        mixed, ratio = cutmix(*values, draw_box((SIZE, SIZE), randomness, first))
    image = np.clip(mixed, 0, 255).astype(np.uint8)
    expected = rand_augment(image, draw_layers(randomness, first, 3), 10, pixel=SIZE / 192)
    examples = examples_of(augmentation=augmentation, mixing=RELEASED)
    assert np.array_equal(examples.take([number])[0], expected)
    (label,), (shares,) = examples.targets(np.array([number]))
    assert label == first % 4
    expected_shares = ratio * np.eye(4)[first % 4] + (1 - ratio) * np.eye(4)[second % 4]
    assert np.allclose(shares, expected_shares, rtol=0, atol=np.finfo(np.float32).eps)


def test_half_of_a_step_is_mixup_and_every_picture_is_once_first_and_once_partner():
    examples = examples_of(mixing=RELEASED)
    for epoch in range(EPOCHS):
        numbers = range(epoch * COUNT, (epoch + 1) * COUNT)
        methods = [examples._mix(number).box is None for number in numbers]
        assert [sum(methods[start:start + BATCH]) for start in range(0, COUNT, BATCH)] == [BATCH // 2] * 3
        assert sorted(examples.index(number) for number in numbers) == list(range(COUNT))
        assert sorted(examples._partner(number)[1] for number in numbers) == list(range(COUNT))


@given(step=st.integers(0, 3 * EPOCHS - 1), mixing=st.sampled_from([TIMM, Mixing(0.7, form="timm"),
                                                                    Mixing(cutmix=1.0, form="timm")]))
def test_timms_form_mixes_a_batch_with_itself_by_one_ratio_or_box(step, mixing):
    """Both images of a pair together have the pixels of both pictures, whichever method mixed them."""
    plain, mixed = examples_of(augmentation=FlipShift(SIZE)), examples_of(augmentation=FlipShift(SIZE), mixing=mixing)
    numbers = np.arange(step * BATCH, (step + 1) * BATCH)
    parts, images = plain.take(numbers).astype(int), mixed.take(numbers).astype(int)
    swapped, other_images = (array.reshape(-1, 2, SIZE, SIZE, 3)[:, ::-1].reshape(parts.shape)
                             for array in (parts, images))
    assert np.max(np.abs(images + other_images - parts - swapped)) <= 1  # each is rounded to the nearest
    draws = {mixed._mix(int(number)) for number in numbers}
    (mix,) = draws
    labels, shares = mixed.targets(numbers)
    assert np.array_equal(labels, plain.targets(numbers)[0])
    partners = labels.reshape(-1, 2)[:, ::-1].ravel()
    expected = mix.ratio * np.eye(4)[labels] + (1 - mix.ratio) * np.eye(4)[partners]
    assert np.allclose(shares, expected, rtol=0, atol=np.finfo(np.float32).eps)
    if mix.box is not None:
        inside = np.zeros((SIZE, SIZE), bool)
        inside[mix.box.top:mix.box.top + mix.box.height, mix.box.left:mix.box.left + mix.box.width] = True
        assert np.array_equal(images[:, inside], swapped[:, inside])
        assert np.array_equal(images[:, ~inside], parts[:, ~inside]) and abs(mix.ratio - (~inside).mean()) < 1e-15


def test_timms_methods_are_as_frequent_and_change_from_step_to_step():
    """Of 400 steps: 200 of each method, off by five standard deviations with a probability of 6e-7."""
    drawn = [TIMM.draw(32, 2, CounterRNG(0), 2 * step, 0) for step in range(400)]
    assert abs(sum(mix.box is None for mix in drawn) - 200) < 5 * 10
    assert len(set(drawn)) > 390  # a box may be empty twice


def test_a_batch_of_odd_size_has_an_image_that_is_its_own_partner():
    examples = examples_of(augmentation=FlipShift(SIZE), mixing=TIMM, batch_size=3)
    plain = examples_of(augmentation=FlipShift(SIZE))
    assert np.array_equal(examples.take([2, 5]), plain.take([2, 5]))


@pytest.mark.parametrize("form", ["released", "timm"])
def test_mixing_ends_with_the_given_number_of_epochs(form):
    examples = examples_of(mixing=Mixing(0.2, 1.0, form, off_epoch=2))
    assert [len(examples.targets(np.array([epoch * COUNT]))) for epoch in range(3)] == [2, 2, 1]
    assert np.array_equal(examples.take([2 * COUNT]), examples_of().take([2 * COUNT]))


def test_pictures_are_read_no_oftener_than_needed(monkeypatch):
    """2·B pictures for a step as released, B in timm's form."""
    read = Counter()
    original = Files.read_whole
    monkeypatch.setattr(Files, "read_whole", lambda self, index: read.update([index]) or original(self, index))
    for mixing, expected in ((RELEASED, 2 * BATCH), (TIMM, BATCH)):
        read.clear()
        examples_of(augmentation=FlipShift(SIZE), mixing=mixing).take(range(BATCH))
        assert sum(read.values()) == expected


def test_an_epochs_numbers_leave_out_the_steps_that_are_done():
    examples = examples_of(Files(20))
    assert examples.numbers(1, 0, 2) == range(20, 36) and len(examples) == 60
    assert examples.numbers(1, 1, 2) == range(28, 36)


def test_another_form_is_refused_by_name():
    with pytest.raises(InputError, match="mixing form 'other'.*released or timm"):
        Mixing(0.2, form="other")


def test_a_process_makes_the_same_examples():
    examples = examples_of(arrays(), Augmentation(SIZE, 2, 10), RELEASED)
    batches = {}
    for kind in ("threads", "process"):
        with Loader(examples, 5, kind=kind) as loader:
            batches[kind] = list(loader.batches(examples.numbers(1, 1, 3)))
    assert len(batches["threads"]) == 4
    for one, other in zip(batches["threads"], batches["process"], strict=True):
        assert all(map(np.array_equal, one, other)) and len(one) == len(other) == 3
