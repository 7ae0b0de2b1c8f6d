"""What is drawn in timm's forms has the distributions of timm's own draws.

timm/draws.npz holds quantiles and counts of draws of timm 1.0.31, written by reference_tests/tools/
timm_distributions.py, which also compares with timm itself. If the distributions are the same, a comparison fails with
a probability below 1e-6; the seeds are fixed, so that it fails always or never.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nfnumpy.augment import ColorJitter, Mixing, RandomErasing, parse_rand_augment, timm_crop
from nfnumpy.augment.timm_operations import INCREASING
from nfnumpy.backend import CounterRNG

PICTURE, IMAGE = (375, 500), 64
STRING = "rand-m9-mstd0.5-inc1"
STEP = 8
COUNT = 6000
RISK = 1e-6


def features(boxes, name):
    """Values by name of boxes (n, 4): top, left, height, width."""
    top, left, height, width = boxes.T
    return {f"{name} area": height * width, f"{name} shape": width / height, f"{name} top": top, f"{name} left": left,
            f"{name} height": height, f"{name} bottom": top + height}


def operation_names():
    """The operations of the increasing set, in order of their names."""
    return sorted(INCREASING)


def drawn(count):
    """(values by name, counts by name) that our code draws, as timm's are named in draws.npz."""
    randomness = CounterRNG(20)
    crops = [timm_crop(PICTURE, randomness, example) for example in range(count)]
    erasing = RandomErasing(1.0)
    boxes = [erasing.draw_box((IMAGE, IMAGE), randomness, example) for example in range(count)]
    layers = [parse_rand_augment(STRING).draw(randomness, example) for example in range(count)]
    mixing = Mixing(0.8, 1.0, "timm")
    mixes = [mixing.draw(IMAGE, STEP, randomness, STEP * step, 0) for step in range(count)]
    factors = [dict(ColorJitter(0.4).draw(randomness, example)) for example in range(count)]
    values = {
        **features(np.array(crops, float), "crop"),
        **features(np.array([box for box in boxes if box is not None], float), "box"),
        "level": np.array([layer.drawn.share * 10 for of_image in layers for layer in of_image]),
        "MixUp ratio": np.array([mix.ratio for mix in mixes if mix.box is None]),
        "CutMix ratio": np.array([mix.ratio for mix in mixes if mix.box is not None]),
        **{f"{name} factor": np.array([factors_of_one[at] for factors_of_one in factors])
           for at, name in enumerate(("brightness", "contrast", "saturation"))},
    }
    names = Counter(layer.name for of_image in layers for layer in of_image)
    applied = Counter(map(len, layers))
    return values, {"operations": np.array([names[name] for name in operation_names()]),
                    "layers of an image": np.array([applied[number] for number in range(3)]),
                    "methods of mixing": np.array([len(values["MixUp ratio"]), len(values["CutMix ratio"])])}


TIMMS = np.load(Path(__file__).parent / "timm" / "draws.npz")
COUNTS = ("operations", "layers of an image", "methods of mixing")
VALUES = [name for name in TIMMS.files if name not in (*COUNTS, "sizes")]


@pytest.fixture(scope="module")
def our_draws():
    return drawn(COUNT)


@pytest.mark.parametrize("name", VALUES)
def test_values_are_distributed_as_timms(our_draws, name):
    """By Kolmogorov and Smirnov, in the quantiles that are stored of timm's sample."""
    quantiles, size = TIMMS[name], TIMMS["sizes"][VALUES.index(name)]
    found = np.sort(our_draws[0][name]).astype(np.float32)
    places = np.unique(quantiles)
    theirs = np.searchsorted(quantiles, places, "right") / len(quantiles)
    ours = np.searchsorted(found, places, "right") / len(found)
    limit = math.sqrt(-math.log(RISK / 2) / 2 * (1 / len(found) + 1 / size)) + 1 / len(quantiles)
    assert np.max(np.abs(ours - theirs)) < limit


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_timm(our_draws, name):
    """Chi-square of two samples. The bound (Laurent and Massart, 2000, lemma 1) is for any number of degrees."""
    table = np.stack([our_draws[1][name], TIMMS[name]]).astype(float)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    degrees, x = table.shape[1] - 1, -math.log(RISK)
    assert np.sum((table - expected) ** 2 / expected) < degrees + 2 * math.sqrt(degrees * x) + 2 * x
