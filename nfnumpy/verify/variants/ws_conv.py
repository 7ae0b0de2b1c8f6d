"""Scaled weight standardization by rules that can be changed, and its known variants.

Source: 2101.08692, eq. 3; the floor is that of the authors' released code.
"""

import dataclasses
import math
import operator
from collections.abc import Callable

from ... import ops
from ...autograd import Tensor
from ...functional.activations import GAMMA
from . import KnownVariant

# The divisor of a centred weight: functions of (variance, fan-in, eps).


def floor_of_scaled_variance(variance: Tensor, fan_in: float, eps: float) -> Tensor:
    """√max(N·variance, eps), the reference."""
    return ops.sqrt(ops.maximum(variance * fan_in, eps))


def floor_of_variance(variance: Tensor, fan_in: float, eps: float) -> Tensor:
    """√(N·max(variance, eps))."""
    return ops.sqrt(ops.maximum(variance, eps) * fan_in)


def added_to_variance(variance: Tensor, fan_in: float, eps: float) -> Tensor:
    """√(N·(variance + eps))."""
    return ops.sqrt((variance + eps) * fan_in)


def added_to_scaled_variance(variance: Tensor, fan_in: float, eps: float) -> Tensor:
    """√(N·variance + eps)."""
    return ops.sqrt(variance * fan_in + eps)


def added_to_deviation(variance: Tensor, fan_in: float, eps: float) -> Tensor:
    """√N·(√variance + eps)."""
    return (ops.sqrt(variance) + eps) * fan_in**0.5


def inputs_of_a_unit(shape: tuple[int, ...]) -> int:
    """kh·kw·in of a weight (kh, kw, in, out)."""
    return math.prod(shape[:3])


def same_padding(kernel: int) -> str:
    """SAME, as TensorFlow pads."""
    return "SAME"


@dataclasses.dataclass(frozen=True)
class StandardizationRules:
    """gain·(W - mean)/√max(N·variance, eps) of a weight (kh, kw, in, out).

    axes: of mean and variance; bessel: whether the variance is over count - 1; scaled(weight, divisor): the quotient;
    factor: of the result; gained(weight, gain); padding(kernel size): of the convolution.
    """

    eps: float = 1e-4
    divisor: Callable[[Tensor, float, float], Tensor] = floor_of_scaled_variance
    bessel: bool = False
    fan_in: Callable[[tuple[int, ...]], int] = inputs_of_a_unit
    axes: tuple[int, ...] = (0, 1, 2)
    scaled: Callable[[Tensor, Tensor], Tensor] = operator.truediv
    centred: bool = True
    factor: float = 1.0
    gained: Callable[[Tensor, Tensor], Tensor] = operator.mul
    padding: Callable[[int], str | int] = same_padding


def standardized(weight: Tensor, gain: Tensor, rules: StandardizationRules) -> Tensor:
    """The weight (kh, kw, in/groups, out) standardized by `rules`; without changes, the operation of nfnumpy.ops."""
    if dataclasses.replace(rules, padding=same_padding) == StandardizationRules():
        return ops.standardize_weight(weight, gain)
    count = math.prod(weight.shape[axis] for axis in rules.axes)
    centred = weight - ops.mean(weight, axis=rules.axes, keepdims=True)
    degrees = count - rules.bessel
    share = 1.0 / degrees if degrees else float("nan")
    variance = ops.sum(centred * centred, axis=rules.axes, keepdims=True) * share
    divisor = rules.divisor(variance, float(rules.fan_in(weight.shape)), rules.eps)
    unit = rules.scaled(centred if rules.centred else weight, divisor) * rules.factor
    return rules.gained(unit, gain)


EPS_FORMS = {"added to variance": (added_to_variance, (1e-3, 1e-4, 1e-5, 1e-6, 1e-8)),
             "added to N·variance": (added_to_scaled_variance, (1e-4, 1e-5, 1e-6)),
             "floor of N·variance": (floor_of_scaled_variance, (1e-3, 1e-5, 1e-6, 0.0)),
             "floor of variance": (floor_of_variance, (1e-4, 1e-5)),
             "added to the deviation": (added_to_deviation, (1e-4, 1e-5, 1e-6, 1e-8))}


def _eps_forms():
    for form, (divisor, values) in EPS_FORMS.items():
        article = "a " if form.startswith("floor") else ""
        for value in values:
            yield KnownVariant(f"eps {value:g} {form}", {"eps": value, "divisor": divisor}, f"eps = {value:g} is "
                               f"{article}{form}; the released code has a floor of 1e-4 on N·variance. On trained "
                               "weights the two differ by about eps/variance/2.", benign=True)


CATALOGUE = (
    *_eps_forms(),
    KnownVariant("symmetric padding", {"padding": lambda kernel: kernel // 2}, "The padding is k//2 on both sides. At "
                 "stride 1 that is SAME; at stride 2 on even sizes every window lies a pixel higher and further left "
                 "than in the released models.", benign=True),
    KnownVariant("no padding", {"padding": lambda kernel: "VALID"}, "Nothing is padded; the models pad SAME."),
    KnownVariant("Bessel-corrected variance", {"bessel": True}, "The variance is divided by N - 1 (the default of "
                 "torch.var and torch.std); the paper's is divided by N."),
    KnownVariant("fan-in counts the output channels", {"fan_in": math.prod}, "N is the size of the whole weight, so "
                 "that every activation shrinks by the root of the number of output channels."),
    KnownVariant("fan-out in place of fan-in", {"fan_in": lambda shape: shape[0] * shape[1] * shape[3]}, "N is "
                 "kh·kw·out."),
    KnownVariant("fan-in without the kernel's pixels", {"fan_in": lambda shape: shape[2]}, "N leaves out kh·kw."),
    KnownVariant("statistics over the wrong axes", {"axes": (0, 1, 3)}, "Mean and variance are computed per input "
                 "channel: the axes of OIHW used on HWIO, or the reverse."),
    KnownVariant("statistics per kernel row", {"axes": (1, 2, 3)}, "Mean and variance run over all axes but the "
                 "kernel's rows: the axes (1, 2, 3) of OIHW used on HWIO."),
    KnownVariant("statistics per kernel column", {"axes": (0, 2, 3)}, "Mean and variance run over all axes but the "
                 "kernel's columns: the axes (0, 1, 2) of HWIO used on OIHW."),
    KnownVariant("statistics over the whole tensor", {"axes": (0, 1, 2, 3)}, "One mean and variance for all units."),
    KnownVariant("statistics per kernel", {"axes": (0, 1)}, "Mean and variance over kh·kw only."),
    KnownVariant("multiplied by the root", {"scaled": operator.mul}, "Multiplied by √(N·variance) where a division is "
                 "meant."),
    KnownVariant("not centred", {"centred": False}, "The mean is not subtracted."),
    KnownVariant("no division by √N", {"fan_in": lambda shape: 1}, "Plain weight standardization: the weights get "
                 "variance 1 and not 1/N, so that activations grow with the fan-in."),
    KnownVariant("gain left out", {"gained": lambda unit, gain: unit}, "The gain has no effect."),
    KnownVariant("gain plus one", {"gained": lambda unit, gain: unit * (gain + 1.0)}, "The weight is multiplied by 1 + "
                 "gain."),
    *(KnownVariant(f"gamma of {name} in the weight", {"factor": GAMMA[name]}, "The nonlinearity's gain gamma = "
                   f"{GAMMA[name]:.4f} ({name}) is folded into the weight. Right if the nonlinearity leaves it "
                   "out.", benign=True) for name in ("relu", "gelu", "silu")),
)
