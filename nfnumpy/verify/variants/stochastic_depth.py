"""Stochastic depth by rules that can be changed, and its known variants.

Source: 1603.09382; that nothing is divided by the keep probability is the default of the authors' released NFNet code.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ...functional.dropout import stochastic_depth
from . import KnownVariant

Share = Callable[[float], float]


def keep_probability(rate: float) -> float:
    """1 - rate, the reference."""
    return 1.0 - rate


def one(rate: float) -> float:
    """1: nothing is scaled, the reference."""
    return 1.0


def rescaled(rate: float) -> float:
    """1/(1 - rate)."""
    return 1.0 / (1.0 - rate)


@dataclasses.dataclass(frozen=True)
class Mask:
    """one_draw: what gets a draw of its own; constant_axes: the axes of (N, H, W, C) along which a mask is constant."""

    one_draw: str
    constant_axes: tuple[int, ...]


EXAMPLES = Mask("example", (1, 2, 3))
ELEMENTS = Mask("element", ())
CHANNELS = Mask("channel of an example", (1, 2))
PIXELS = Mask("pixel of an example", (3,))
BATCH = Mask("batch", (0, 1, 2, 3))
CHANNELS_OF_THE_BATCH = Mask("channel of the batch", (0, 1, 2))


@dataclasses.dataclass(frozen=True)
class StochasticDepthRules:
    """x·mask in training, with one draw an example, and x itself in evaluation.

    kept(rate): the probability of a 1 in the mask; scale(rate): of what is kept; evaluation(rate): the factor of x in
    evaluation, or None for the mask of training; new_draws: whether every call has a mask of its own.
    """

    mask: Mask = EXAMPLES
    kept: Share = keep_probability
    scale: Share = one
    evaluation: Share | None = one
    new_draws: bool = True


def dropped(x: np.ndarray, rate: float, training: bool, draw: int,
            rules: StochasticDepthRules = StochasticDepthRules()) -> np.ndarray:
    """x (N, H, W, C) by `rules`; draw: the number of the call, which seeds the mask."""
    if not training and rules.evaluation is not None:
        return x * rules.evaluation(rate)
    random = np.random.default_rng([17, draw if rules.new_draws else 0])
    shape = tuple(1 if axis in rules.mask.constant_axes else size for axis, size in enumerate(x.shape))
    mask = (random.random(shape) < rules.kept(rate)).astype(x.dtype)
    if rules.mask is EXAMPLES and rules.scale in (one, rescaled):
        return stochastic_depth(x, mask, rate=rate, rescale=rules.scale is rescaled)
    return x * mask * rules.scale(rate)


CATALOGUE = (
    KnownVariant("nothing dropped", {"kept": one}, "Nothing is ever dropped in training."),
    KnownVariant("nothing but zeros", {"kept": lambda rate: 0.0, "evaluation": lambda rate: 0.0}, "The result is "
                 "zero, in evaluation too."),
    KnownVariant("rescaled by 1/(1 - rate)", {"scale": rescaled}, "What is kept is divided by the keep probability. "
                 "The released NFNet code does not do so: here a branch weighs 1/(1 - rate) more in training; a skip "
                 "gain or a last gain can learn the factor.", benign=True),
    KnownVariant("a mask for every element", {"mask": ELEMENTS}, "Every value is dropped by itself: that is dropout, "
                 "not stochastic depth."),
    KnownVariant("a mask for every channel", {"mask": CHANNELS}, "Channels are dropped; whole examples should be."),
    KnownVariant("a mask for every pixel", {"mask": PIXELS}, "Pixels are dropped; whole examples should be."),
    KnownVariant("one mask for the batch", {"mask": BATCH}, "All examples of a batch are dropped together: a single "
                 "number is drawn where one an example is meant (often a mask of shape (1,) or ())."),
    KnownVariant("one mask for the batch's channels", {"mask": CHANNELS_OF_THE_BATCH}, "The mask lies along the wrong "
                 "axis: one draw a channel, the same for all examples."),
    KnownVariant("keep and drop exchanged", {"kept": lambda rate: rate}, "Examples are kept with probability rate; it "
                 "should be 1 - rate."),
    KnownVariant("rate squared", {"kept": lambda rate: 1.0 - rate**2}, "Examples are kept with probability 1 - rate²."),
    KnownVariant("dropped twice", {"kept": lambda rate: (1.0 - rate)**2}, "Examples are kept with probability (1 - "
                 "rate)²: two masks are multiplied."),
    KnownVariant("half of all dropped", {"kept": lambda rate: 0.5}, "Half of the examples are dropped at every rate."),
    KnownVariant("divided by the rate", {"scale": lambda rate: 1.0 / rate}, "What is kept is divided by rate, not by 1 "
                 "- rate."),
    KnownVariant("multiplied by 1 - rate", {"scale": keep_probability}, "What is kept is multiplied by the keep "
                 "probability, which counts the dropping twice."),
    KnownVariant("divided by √(1 - rate)", {"scale": lambda rate: (1.0 - rate)**-0.5}, "What is kept is divided by the "
                 "root of the keep probability."),
    KnownVariant("active in evaluation", {"evaluation": None}, "Examples are dropped in evaluation too: predictions "
                 "become random."),
    KnownVariant("multiplied by 1 - rate in evaluation", {"evaluation": keep_probability}, "In evaluation the branch "
                 "is multiplied by the keep probability, as the paper on stochastic depth has it; the released NFNet "
                 "code leaves it as it is."),
    KnownVariant("divided by 1 - rate in evaluation", {"evaluation": rescaled}, "In evaluation the branch is divided "
                 "by the keep probability."),
    KnownVariant("the same mask every time", {"new_draws": False}, "Every call draws the same mask: the random state "
                 "does not advance."),
)
# Of the networks with normalizations, whose reference divides.
NOT_DIVIDED = KnownVariant("not divided by 1 - rate", {"scale": one}, "In training what is kept is not divided by the "
                           "keep probability, as it should be in this network: in evaluation a branch weighs "
                           "1/(1 - rate) times as much as it did in training.")
