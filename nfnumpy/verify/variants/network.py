"""The rules of a normalizer-free network, as functions that a known variant replaces.

Tensors are activations (N, H, W, C). `activate(x, scale=1.0)` is scale·gamma·g(x), `convolve(x, stride=1)` the
convolution in question.
"""

import dataclasses
import enum
import math
from collections.abc import Callable, Iterator
from typing import Any

from ... import ops
from ...autograd import Tensor
from ...functional.activations import GAMMA
from ...models import NFNetConfig, NFRegNetConfig
from .squeeze_excite import SqueezeExciteRules
from .ws_conv import StandardizationRules

STANDARDIZATION, EXCITATION = StandardizationRules(), SqueezeExciteRules()
SECOND_3X3 = 2  # position in a block's branch


class Place(enum.Enum):
    """The place of squeeze-and-excite in a block."""

    NOWHERE = enum.auto()
    BEFORE_LAST_ACTIVATION = enum.auto()
    AFTER_LAST_ACTIVATION = enum.auto()
    BRANCH_END = enum.auto()
    ON_SUM = enum.auto()
    ON_SHORTCUT = enum.auto()


def family_place(family: str) -> Place:
    """In NF-RegNets before the last nonlinearity of the branch, else at its end."""
    return Place.BEFORE_LAST_ACTIVATION if family == "NFRegNet" else Place.BRANCH_END


def other_family_place(family: str) -> Place:
    """The reverse."""
    return Place.BRANCH_END if family == "NFRegNet" else Place.BEFORE_LAST_ACTIVATION


def own_gamma(configured: str, used: str) -> float:
    """The gamma of the nonlinearity that is used."""
    return GAMMA[used]


# Expected standard deviations of the blocks' inputs, in order: functions of (depths, alpha).


def grown(std: float, alpha: float) -> float:
    """√(std² + alpha²), after a block that adds a branch of variance alpha²."""
    return math.sqrt(std**2 + alpha**2)


def expected_stds(depths: tuple[int, ...], alpha: float, *, grow: Callable[[float, float], float] = grown,
                  before_stage: Callable[[float], float] = lambda std: std,
                  after_first: Callable[[float, float], float] | None = None) -> Iterator[float]:
    """grow(std, alpha): after a block; before_stage(std): at a stage's begin; after_first(std, alpha): after a stage's
    first block, by default grow(1, alpha), because its shortcut normalizes the signal.
    """
    std = 1.0
    for depth in depths:
        std = before_stage(std)
        for position in range(depth):
            yield std
            if position > 0:
                std = grow(std, alpha)
            else:
                std = after_first(std, alpha) if after_first else grow(1.0, alpha)


def inverse(std: float) -> float:
    """beta = 1/expected_std."""
    return 1.0 / std


def beta_after_activation(x: Tensor, beta: float, activate: Callable) -> Tensor:
    """beta·gamma·g(x), the input of a block's branch."""
    return activate(x, scale=beta)


def same(value: Any) -> Any:
    """The value itself."""
    return value


def identity_is_x(x: Tensor, entering: Tensor, beta: float) -> Tensor:
    """The shortcut of a block without a convolution in it."""
    return x


def shortcut_from_entering(x: Tensor, entering: Tensor, beta: float, activate: Callable) -> Tensor:
    """The input of a shortcut's convolution."""
    return entering


# Pools that halve an image, and what a strided block's shortcut does with them.


def mean_2x2(x: Tensor) -> Tensor:
    """The mean of the real pixels under 2×2 windows."""
    return ops.avg_pool(x, window=2)


def maximum_2x2(x: Tensor) -> Tensor:
    """The maximum of the real pixels under 2×2 windows."""
    return ops.max_pool(x, window=2)


def mean_2x2_with_padding(x: Tensor) -> Tensor:
    """The mean of 2×2 windows whose padding counts as zeros."""
    widths = ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))
    return ops.avg_pool(ops.pad(x, widths=widths), window=2)


def mean_3x3(x: Tensor) -> Tensor:
    """The mean of the real pixels under 3×3 windows at stride 2."""
    return ops.avg_pool(x, window=3, stride=2)


def strided_convolution(x: Tensor, convolve: Callable) -> Tensor:
    """A strided 1×1 convolution, as in NF-ResNets."""
    return convolve(x, stride=2)


def pooled_first(pool: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Callable], Tensor]:
    """The pool, then the 1×1 convolution."""
    return lambda x, convolve: convolve(pool(x))


mean_first = pooled_first(mean_2x2)


def family_downsampling(family: str) -> Callable[[Tensor, Callable], Tensor]:
    """A strided convolution in NF-ResNets, else the mean first."""
    return strided_convolution if family == "NFResNet" else mean_first


# Stem and head.


def max_pool_of_stem(x: Tensor) -> Tensor:
    """The maximum of 3×3 windows at stride 2, SAME padding."""
    return ops.max_pool(x, window=3, stride=2, padding="SAME")


def activated_after_convolution(x: Tensor, convolve: Callable, activate: Callable, pool: Callable) -> Tensor:
    """The pooled features of the last block's output."""
    return pool(activate(convolve(x)))


def least_group(group: int, width: int, group_size: int) -> int:
    """Channels of a group: group_size, or all where there are fewer."""
    return min(group, width)


@dataclasses.dataclass(frozen=True)
class NetworkRules:
    """The defaults are the networks of nfnumpy.models, bit for bit.

    nonlinearity: the name of another one than the configured, or None; strided: the position of the strided convolution
    in a block's branch; not_activated: the convolution of a block that no nonlinearity precedes; width(entering,
    leaving, config, is_first_block): of the bottleneck, or None for the family's; the flags *_constant: what the
    derivative takes as a constant.
    """

    # layers
    standardization: StandardizationRules = STANDARDIZATION
    bias: bool = True
    kernel: Callable[[Tensor], Tensor] = same
    nonlinearity: str | None = None
    gamma: Callable[[str, str], float] = own_gamma
    # squeeze-and-excite
    excitation: SqueezeExciteRules = EXCITATION
    excitation_place: Callable[[str], Place] = family_place
    # the residual branch
    strided: int = 1
    exchanged_3x3: bool = False
    not_activated: str | None = None
    activated_end: bool = False
    branch_from_x: bool = False
    second_3x3: bool = True
    group: Callable[[int, int, int], int] = least_group
    width: Callable[[int, int, Any, bool], float] | None = None
    # beta and alpha
    schedule: Callable[[tuple[int, ...], float], Iterator[float]] = expected_stds
    beta: Callable[[float], float] = inverse
    entering: Callable[[Tensor, float, Callable], Tensor] = beta_after_activation
    branch_alpha: Callable[[float], float] = same
    shortcut_alpha: Callable[[float], float] | None = None
    sum_alpha: Callable[[float], float] | None = None
    skip_gain: Callable[[Tensor], Tensor | None] = same
    # the shortcut
    identity: Callable[[Tensor, Tensor, float], Tensor] = identity_is_x
    shortcut_from: Callable[[Tensor, Tensor, float, Callable], Tensor] = shortcut_from_entering
    downsampling: Callable[[str], Callable[[Tensor, Callable], Tensor]] = family_downsampling
    # stem and head
    stem_activated: bool = True
    stem_activated_end: bool = False
    stem_strides: Callable[[tuple[int, ...]], tuple[int, ...]] = same
    stem_pool: Callable[[Tensor], Tensor] = max_pool_of_stem
    head: Callable[[Tensor, Callable, Callable, Callable], Tensor] = activated_after_convolution
    head_pool: Callable[[Tensor], Tensor] = ops.global_mean
    head_bias: bool = True
    # the derivative
    statistics_constant: bool = False
    skip_gain_constant: bool = False
    shortcut_constant: bool = False
    identity_constant: bool = False


# Widths of a bottleneck: functions of (entering, leaving, config, is_first_block).


def _ratio(config):
    return getattr(config, "expansion", getattr(config, "bottleneck_ratio", 1.0))


def width_from_input(entering: int, leaving: int, config: Any, is_first: bool) -> float:
    """The ratio times the block's input channels."""
    return entering * _ratio(config)


def width_from_output(entering: int, leaving: int, config: Any, is_first: bool) -> float:
    """The ratio times the block's output channels; NF-RegNet's first block is not expanded."""
    return leaving * (1 if is_first and isinstance(config, NFRegNetConfig) else _ratio(config))


def width_expanded_everywhere(entering: int, leaving: int, config: Any, is_first: bool) -> float:
    """The family's, expanded in the first block too."""
    return (leaving if isinstance(config, NFNetConfig) else entering) * _ratio(config)
