"""Normalizations of each image alone as layers, and the table of all normalizations by name.

The formulas: functional/group_normalization.py. The layers that look at the batch: batch_norm.py, switchable_norm.py.
Used by: conv_norm.py, models/. Test: reference_tests/nn/test_normalization.py.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

from .. import ops
from ..autograd import Tensor
from ..errors import InputError
from ..functional.checks import shown, whole_number
from ..functional.group_normalization import EPS
from .batch_norm import BatchNorm
from .initialization import Initializer
from .mode import EVALUATION, Mode
from .module import Module
from .switchable_norm import SwitchableNorm

GROUPS = 32


class _ImageNorm(Module):
    """gamma·(x - mean)/sqrt(variance + eps) + beta with moments of each image alone; the same in training."""

    def __init__(self, init: Initializer, channels: int, *, eps: float = EPS, initial_gamma: float = 1.0) -> None:
        whole_number(channels, f"{init.path}: channels", least=1)
        self.eps = eps
        self.gamma = init.constant((channels,), initial_gamma)
        self.beta = init.constant((channels,), 0.0)


class GroupNorm(_ImageNorm):
    """Moments over the pixels and channels of each of `groups` groups of neighbouring channels, of (N, …, channels)."""

    def __init__(self, init: Initializer, channels: int, groups: int = GROUPS, **options: Any) -> None:
        super().__init__(init, channels, **options)
        self.groups = whole_number(groups, f"{init.path}: groups", least=1)
        if channels % groups:
            raise InputError(f"{init.path}: {channels} channels do not divide by groups={groups}")

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return ops.group_norm(x, self.gamma, self.beta, groups=self.groups, eps=self.eps)


class LayerNorm(_ImageNorm):
    """Moments over H, W and C of each image (over="image") or over C at each pixel (over="channels"), of (N, …, C)."""

    def __init__(self, init: Initializer, channels: int, over: str = "image", **options: Any) -> None:
        super().__init__(init, channels, **options)
        if not isinstance(over, str) or over not in ("image", "channels"):
            raise InputError(f"{init.path}: over {shown(over)}: expected image or channels")
        self.over = over

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return ops.layer_norm(x, self.gamma, self.beta, over=self.over, eps=self.eps)


class InstanceNorm(_ImageNorm):
    """Moments over the pixels of each channel of each image, of (N, …, channels)."""

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return ops.instance_norm(x, self.gamma, self.beta, eps=self.eps)


class NoNorm(Module):
    """x itself, where a network has no normalization, or a convolution has taken it in."""

    def __call__(self, x: Tensor, mode: Mode = EVALUATION) -> Tensor:
        return x


def _group_norm(init: Initializer, channels: int, *, initial_gamma: float) -> GroupNorm:
    """32 groups, or as many as both 32 and the channels divide by."""
    groups = math.gcd(GROUPS, whole_number(channels, f"{init.path}: channels", least=1))
    return GroupNorm(init, channels, groups, initial_gamma=initial_gamma)


NORMS: dict[str, Callable[..., Module]] = {
    "batch": BatchNorm,
    "batch_keras": functools.partial(BatchNorm, convention="keras"),
    "batch_haiku": functools.partial(BatchNorm, convention="haiku"),
    "group": _group_norm,
    "layer": LayerNorm,
    "layer_channels": functools.partial(LayerNorm, over="channels"),
    "instance": InstanceNorm,
    "switchable": SwitchableNorm,
    "none": lambda init, channels, initial_gamma: NoNorm(),
}


def create_norm(init: Initializer, channels: int, name: str = "batch", *, initial_gamma: float = 1.0) -> Any:
    """The normalization layer called `name`, a Module that is called as layer(x, mode); InputError for an unknown one.

    initial_gamma: what its gamma starts at.
    """
    if not isinstance(name, str) or name not in NORMS:
        raise InputError(f"{init.path}: normalization {shown(name)}: expected one of {', '.join(NORMS)}")
    return NORMS[name](init, channels, initial_gamma=initial_gamma)
