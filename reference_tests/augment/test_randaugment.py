"""RandAugment draws every operation alike, for each example on its own, and applies all of them in turn."""

import collections
import math

import numpy as np
from hypothesis import given, strategies as st

from nfnumpy.augment import FORMS, OPERATIONS, Layer, apply_operation, draw_layers, rand_augment
from nfnumpy.backend import CounterRNG
from reference_tests.augment.test_operations import PICTURE


@given(seed=st.integers(0, 100), epoch=st.integers(0, 100), example=st.integers(0, 10**6), layers=st.integers(0, 5))
def test_an_examples_operations_depend_on_nothing_else(seed, epoch, example, layers):
    drawn = draw_layers(CounterRNG(seed, epoch), example, layers)
    other = CounterRNG(seed, epoch)
    draw_layers(other, example + 1, 7)
    assert len(drawn) == layers and draw_layers(other, example, layers + 1)[:layers] == drawn


def test_seeds_epochs_and_examples_draw_different_operations():
    drawn = [tuple(draw_layers(CounterRNG(seed, epoch), example, 4))
             for seed in range(3) for epoch in range(3) for example in range(3)]
    assert len(set(drawn)) == 27


def test_all_operations_signs_and_places_are_as_frequent():
    """Of 16,000 layers: a frequency that is off by five standard deviations has probability 6e-7; there are 22."""
    layers = draw_layers(CounterRNG(0), 0, 16000)

    def expect(count, probability):
        assert abs(count - 16000 * probability) < 5 * math.sqrt(16000 * probability * (1 - probability))

    names = collections.Counter(layer.name for layer in layers)
    for name in OPERATIONS:
        expect(names[name], 1 / 16)
    expect(sum(layer.sign == 1 for layer in layers), 1 / 2)
    for axis in (0, 1):
        expect(sum(layer.place[axis] < 0.5 for layer in layers), 1 / 2)
        expect(sum(layer.place[axis] < 0.1 for layer in layers), 1 / 10)


@given(st.lists(st.builds(Layer, st.sampled_from(OPERATIONS), st.sampled_from([1, -1]),
                          st.tuples(st.floats(0, 0.99), st.floats(0, 0.99))), max_size=3),
       st.integers(0, 15), st.sampled_from(FORMS))
def test_operations_are_applied_one_after_the_other(layers, magnitude, form):
    expected = PICTURE
    for name, sign, (row, column) in layers:
        expected = apply_operation(expected, name, magnitude, sign, form, center=(int(row * 66), int(column * 88)))
    assert np.array_equal(rand_augment(PICTURE, layers, magnitude, form), expected)
