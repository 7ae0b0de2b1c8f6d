"""Normalizations by rules that can be changed: batch, layer, group, instance and switchable.

Sources: functional/normalization.py, functional/group_normalization.py, functional/switchable_normalization.py; the
conventions of running statistics: nn/batch_norm.py. The known variants: normalization_catalogue.py.
"""

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...errors import InputError
from ...nn.batch_norm import CONVENTIONS


@dataclasses.dataclass(frozen=True)
class Over:
    """What a mean is taken over: axes of (N, H, W, C), or H, W and the channels of a group.

    grouped: "" for axes alone, "neighbours" where a group is neighbouring channels, "interleaved" where it is every
    groups-th channel, "mixture" for the learned mixture of instance, layer and batch.
    """

    title: str
    axes: tuple[int, ...] = ()
    grouped: str = ""


BATCH = Over("examples and pixels", (0, 1, 2))
IMAGE = Over("the pixels and channels of an image", (1, 2, 3))
CHANNELS = Over("the channels of a pixel", (3,))
INSTANCE = Over("the pixels of an image", (1, 2))
GROUP = Over("the pixels and neighbouring channels of a group", grouped="neighbours")
INTERLEAVED = Over("the pixels and every groups-th channel of an image", grouped="interleaved")
MIXTURE = Over("learned mixtures of instance, layer and batch", grouped="mixture")


class Source(enum.Enum):
    """The moments that normalize: the input's own, the running ones, or the running ones that took the input in."""

    OWN = enum.auto()
    RUNNING = enum.auto()
    UPDATED = enum.auto()


def as_given(channels: int, groups: int) -> int:
    """The number of groups, the reference."""
    return groups


# What a centred input is divided by: functions of (variance, eps).


def root_of_sum(variance: Tensor, eps: float) -> Tensor:
    """√(variance + eps), the reference."""
    return ops.sqrt(variance + eps)


def added_to_deviation(variance: Tensor, eps: float) -> Tensor:
    """√variance + eps."""
    return ops.sqrt(variance) + eps


def floor_of_variance(variance: Tensor, eps: float) -> Tensor:
    """√max(variance, eps)."""
    return ops.sqrt(ops.maximum(variance, eps))


def without_root(variance: Tensor, eps: float) -> Tensor:
    """variance + eps."""
    return variance + eps


def scaled_and_shifted(unit: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """gamma·unit + beta, the reference."""
    return unit * gamma + beta


def same(value: Tensor) -> Tensor:
    """The value itself."""
    return value


@dataclasses.dataclass(frozen=True)
class NormRules:
    """affine((x - mean)/divisor(variance, eps)); the defaults are batch normalization as in PyTorch.

    unbiased: whether the variance that normalizes is divided by n - 1; about_zero: whether it is the mean of x²;
    constant_mean, constant_variance: what the derivative takes as a constant. decay, debiased and statistics_unbiased
    are a convention of running statistics (nn/batch_norm.py); stored: what is averaged, of the variance. shares, order,
    one_mixture, instance_unbiased: of the weights in a switchable normalization.
    """

    over: Over = BATCH
    groups: Callable[[int, int], int] = as_given
    eps: float = 1e-5
    divisor: Callable[[Tensor, float], Tensor] = root_of_sum
    unbiased: bool = False
    centred: bool = True
    about_zero: bool = False
    affine: Callable[[Tensor, Tensor, Tensor], Tensor] = scaled_and_shifted
    constant_mean: bool = False
    constant_variance: bool = False
    training: Source = Source.OWN
    evaluation: Source = Source.RUNNING
    decay: float = 0.9
    debiased: bool = False
    statistics_unbiased: bool = True
    stored: Callable[[Tensor], Tensor] = same
    updated_in_evaluation: bool = False
    shares: Callable[[Tensor], Tensor] = ops.softmax
    order: tuple[int, ...] = (0, 1, 2)
    one_mixture: bool = False
    instance_unbiased: bool = False

    def weight_of(self, count: int) -> float:
        """The weight of the count-th batch, from 1, in the running statistics."""
        if not self.debiased:
            return 1.0 - self.decay
        return 1.0 / count if self.decay == 1.0 else (1.0 - self.decay) / (1.0 - self.decay**count)


def _batch_norm(convention):
    known = CONVENTIONS[convention]
    return NormRules(eps=known.eps, decay=known.decay, debiased=known.debiased, statistics_unbiased=known.unbiased)


def _of_each_image(over):
    return NormRules(over=over, evaluation=Source.OWN)


BASES = {"batch": _batch_norm("torch"), "batch_keras": _batch_norm("keras"), "batch_haiku": _batch_norm("haiku"),
         "layer": _of_each_image(IMAGE), "layer_channels": _of_each_image(CHANNELS), "group": _of_each_image(GROUP),
         "instance": _of_each_image(INSTANCE), "switchable": NormRules(over=MIXTURE, statistics_unbiased=False)}


def average(values: Tensor, over: Over, groups: int) -> Tensor:
    """The mean of values (N, H, W, C) over `over`, in a shape that broadcasts to theirs."""
    if not over.grouped:
        return ops.mean(values, axis=over.axes, keepdims=True)
    n, h, w, c = values.shape
    if c % groups:
        raise InputError(f"norm: {c} channels do not divide by groups={groups}")
    parts, axes = ((groups, c // groups), (1, 2, 4)) if over is GROUP else ((c // groups, groups), (1, 2, 3))
    means = ops.mean(ops.reshape(values, shape=(n, h, w, *parts)), axis=axes, keepdims=True)
    return ops.reshape(ops.broadcast_to(means, shape=(n, 1, 1, *parts)), shape=(n, 1, 1, c))


def count_of(shape: tuple[int, ...], over: Over, groups: int) -> int:
    """How many values of an input of this shape are in one mean."""
    if over.grouped:
        return math.prod(shape[1:]) // groups
    return math.prod(shape[axis] for axis in over.axes)


def _moments(x, over, groups, rules):
    """(mean, variance) of x over `over`."""
    mean = average(x, over, groups)
    centred = x if rules.about_zero else x - mean
    variance = average(centred * centred, over, groups)
    if rules.unbiased:
        count = count_of(x.shape, over, groups)
        variance = variance * (count / max(1, count - 1))
    return mean, variance


def _mixed(x, leaves, rules, running):
    """(mean, variance, batch's mean, batch's variance) of a switchable normalization; running: the batch's, or None."""
    pixels = x.shape[1] * x.shape[2]
    mean = ops.mean(x, axis=(1, 2), keepdims=True)
    centred = x - mean
    divisor = max(1, pixels - 1) if rules.instance_unbiased else pixels
    variance = ops.sum(centred * centred, axis=(1, 2), keepdims=True) * (1.0 / divisor)

    def pooled(axis):
        middle = ops.mean(mean, axis=axis, keepdims=True)
        return middle, ops.mean(variance + (mean - middle) * (mean - middle), axis=axis, keepdims=True)

    layer, batch = pooled(3), pooled(0)
    parts = [(mean, variance), layer, batch if running is None else running]
    weights = [leaves["mean_weights"], leaves["mean_weights" if rules.one_mixture else "variance_weights"]]
    shares = [rules.shares(weight) for weight in weights]
    mixed = []
    for kind in (0, 1):
        terms = [parts[part][kind] * shares[kind][(place,)] for place, part in enumerate(rules.order)]
        mixed.append(terms[0] + terms[1] + terms[2])
    return *mixed, *batch


def normalized(x: Tensor, leaves: Mapping[str, Tensor], rules: NormRules, groups: int, *,
               running: tuple[Tensor, Tensor], training: bool,
               count: int = 1) -> tuple[Tensor, tuple[np.ndarray, np.ndarray]]:
    """(the normalized x (N, H, W, C), the running statistics after it).

    leaves: gamma and beta (C,), and the two weights (3,) of a switchable normalization; running: mean and variance (C,)
    before; count: of the batches so far, this one included.
    """
    groups, source = rules.groups(x.shape[3], groups), rules.training if training else rules.evaluation
    after = running[0].data, running[1].data
    if training or rules.updated_in_evaluation:
        after = _taken_in(x, leaves, rules, groups, after, count)
    out = _by_operation(x, leaves, rules, groups, running, source)
    if out is not None:
        return out, after
    if source is Source.UPDATED:
        running = Tensor(after[0]), Tensor(after[1])
    if rules.over is MIXTURE:
        mean, variance, _, _ = _mixed(x, leaves, rules, None if source is Source.OWN else running)
    elif source is Source.OWN:
        mean, variance = _moments(x, rules.over, groups, rules)
    else:
        mean, variance = running
    mean = mean.detach() if rules.constant_mean else mean
    variance = variance.detach() if rules.constant_variance else variance
    centred = x - mean if rules.centred else x
    return rules.affine(centred / rules.divisor(variance, rules.eps), leaves["gamma"], leaves["beta"]), after


def _by_operation(x, leaves, rules, groups, running, source):
    """The operation of nfnumpy.ops for rules that are a normalization's own, whatever their eps, or None."""
    base = next((base for base in BASES.values() if base.over == rules.over), None)
    statistics = ("eps", "training", "evaluation", "decay", "debiased", "statistics_unbiased", "stored",
                  "updated_in_evaluation", "groups")
    if base is None or rules.eps <= 0.0 or source is Source.UPDATED or dataclasses.replace(
            rules, **{name: getattr(base, name) for name in statistics}) != base:
        return None
    inputs = (x, leaves["gamma"], leaves["beta"])
    if rules.over is MIXTURE:
        weights = (leaves["mean_weights"], leaves["variance_weights"])
        return ops.switchable_norm(*inputs, *weights, *(() if source is Source.OWN else running), eps=rules.eps)
    if source is Source.RUNNING:
        return ops.normalize(*inputs, *running, eps=rules.eps)
    if rules.over is BATCH:
        return ops.batch_norm(*inputs, eps=rules.eps)
    if rules.over is GROUP:
        return ops.group_norm(*inputs, groups=groups, eps=rules.eps)
    if rules.over is INSTANCE:
        return ops.instance_norm(*inputs, eps=rules.eps)
    return ops.layer_norm(*inputs, over="image" if rules.over is IMAGE else "channels", eps=rules.eps)


def _taken_in(x, leaves, rules, groups, before, count):
    """The running statistics after x; for moments of each image or group, their means are taken in."""
    x = x.detach()
    leaves = {name: leaf.detach() for name, leaf in leaves.items()}
    if rules.over is MIXTURE:
        _, _, mean, variance = _mixed(x, leaves, rules, None)
        values = math.prod(x.shape[:3])
    else:
        mean, variance = _moments(x, rules.over, groups, dataclasses.replace(rules, unbiased=False))
        values = count_of(x.shape, rules.over, groups)
    if rules.statistics_unbiased:
        variance = variance * (values / max(1, values - 1))
    weight = rules.weight_of(count)
    after = []
    for old, moment in zip(before, (mean, rules.stored(variance)), strict=True):
        new = np.mean(np.broadcast_to(moment.data, x.shape), axis=(0, 1, 2))
        after.append(old + (new - old) * np.asarray(weight, dtype=new.dtype))
    return tuple(after)
