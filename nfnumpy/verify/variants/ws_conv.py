"""Scaled weight standardization by rules that can be changed, and its known variants.

Source: 2101.08692, eq. 3; the floor is that of the authors' released code.
"""

import dataclasses
import math
import operator
from collections.abc import Callable

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...functional import windows
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


def no_weight(shape: tuple[int, ...]) -> bool:
    """Whether a weight of this shape is not standardized: none, the reference."""
    return False


def inputs_of_a_unit(shape: tuple[int, ...], groups: int) -> int:
    """kh·kw·in of a weight (kh, kw, in, out)."""
    return math.prod(shape[:3])


def _inputs_of_all_groups(shape, groups):
    return math.prod(shape[:3]) * groups


def _size_of_the_weight(shape, groups):
    return math.prod(shape)


def _along_inputs(unit, gain, groups):
    """The gain, repeated as often as needed, along the input axis."""
    return unit * np.resize(gain.data, unit.shape[2]).reshape(1, 1, -1, 1)


# The weight that a convolution uses in evaluation: functions of (standardize, weight, the weight of the last training
# step, gain).


def standardized_again(standardize: Callable, weight: Tensor, earlier: Tensor, gain: Tensor) -> Tensor:
    """As in training, the reference."""
    return standardize(weight)


# The padding of a convolution: functions of (image size, kernel, stride), as ops.conv2d takes it.

Pair = tuple[int, int]
Padding = Callable[[Pair, int, int], "int | str | tuple[Pair, Pair]"]


def same_padding(image: Pair, kernel: int, stride: int) -> str:
    """SAME, as TensorFlow pads."""
    return "SAME"


def _symmetric_padding(image, kernel, stride):
    return kernel // 2


def _exchanged_padding(image, kernel, stride):
    height, width = (windows.same_padding(size, kernel, stride, 1) for size in image)
    return width, height


# The gain: functions of (standardized weight, gain, number of groups).


def times_gain(unit: Tensor, gain: Tensor, groups: int) -> Tensor:
    """One for each output, the reference."""
    return unit * gain


def _no_gain(unit, gain, groups):
    return unit


@dataclasses.dataclass(frozen=True)
class StandardizationRules:
    """gain·(W - mean)/√max(N·variance, eps) of a weight (kh, kw, in, out).

    fan_in(shape, groups): N; axes: of mean and variance; over_groups: whether those of all groups are one; bessel:
    whether the variance is over count - 1; about_zero: whether it is the mean square; scaled(weight, divisor): the
    quotient; factor: of the result; gained(weight, gain, groups); is_spared(shape): what is not standardized;
    is_detached, statistics_detached: whether the weight, or mean and deviation, get no gradient; overwrites: whether a
    call writes the result into the weight, which then has the gradient of the result, overwrites_in_evaluation: whether
    one in evaluation does, centres_in_place: whether a call writes the centred weight there; padding(image, kernel,
    stride): of the convolution; evaluated(…): the weight in evaluation; dilates: whether a dilation has an effect.
    """

    eps: float = 1e-4
    divisor: Callable[[Tensor, float, float], Tensor] = floor_of_scaled_variance
    bessel: bool = False
    fan_in: Callable[[tuple[int, ...], int], int] = inputs_of_a_unit
    axes: tuple[int, ...] = (0, 1, 2)
    over_groups: bool = False
    is_detached: bool = False
    statistics_detached: bool = False
    overwrites: bool = False
    scaled: Callable[[Tensor, Tensor], Tensor] = operator.truediv
    centred: bool = True
    about_zero: bool = False
    factor: float = 1.0
    gained: Callable[[Tensor, Tensor, int], Tensor] = times_gain
    is_spared: Callable[[tuple[int, ...]], bool] = no_weight
    padding: Padding = same_padding
    evaluated: Callable[[Callable, Tensor, Tensor, Tensor], Tensor] = standardized_again
    overwrites_in_evaluation: bool = False
    centres_in_place: bool = False
    dilates: bool = True


USUAL = StandardizationRules()
AROUND = ("padding", "evaluated", "overwrites_in_evaluation", "centres_in_place",
          "dilates")  # no rules of the standardization


def standardized(weight: Tensor, gain: Tensor, rules: StandardizationRules, groups: int = 1) -> Tensor:
    """The weight (kh, kw, in/groups, out) standardized by `rules`; without changes, the operation of nfnumpy.ops."""
    if dataclasses.replace(rules, **{field: getattr(USUAL, field) for field in AROUND}) == USUAL:
        return ops.standardize_weight(weight, gain)
    weight = weight.detach() if rules.is_detached else weight
    shape, given, axes = weight.shape, weight, rules.axes
    if rules.over_groups:
        given = ops.reshape(weight, shape=(*shape[:3], groups, shape[3] // groups))
        axes = (*axes, 3)
    count = math.prod(given.shape[axis] for axis in axes)
    mean = ops.mean(given, axis=axes, keepdims=True)
    centred = given - (mean.detach() if rules.statistics_detached else mean)
    degrees = count - rules.bessel
    share = 1.0 / degrees if degrees else float("nan")
    deviation = given if rules.about_zero else centred
    variance = ops.sum(deviation * deviation, axis=axes, keepdims=True) * share
    divisor = rules.divisor(variance, float(rules.fan_in(shape, groups)), rules.eps)
    divisor = divisor.detach() if rules.statistics_detached else divisor
    unit = rules.scaled(centred if rules.centred else given, divisor) * rules.factor
    unit = weight if rules.is_spared(shape) else ops.reshape(unit, shape=shape)
    result = rules.gained(unit, gain, groups)
    return weight + (result - weight).detach() if rules.overwrites else result


def left_in_the_weight(weight: Tensor, kernel: Tensor, rules: StandardizationRules,
                       in_evaluation: bool = False) -> Tensor:
    """What a call leaves in the parameter; kernel: the standardized weight."""
    if rules.overwrites or (in_evaluation and rules.overwrites_in_evaluation):
        return kernel
    return weight - ops.mean(weight, axis=rules.axes, keepdims=True) if rules.centres_in_place else weight


IN_FLOAT32, IN_FLOAT64 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)  # as a dtype's own eps
EPS_FORMS = {
    "added to variance": (added_to_variance, (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12, IN_FLOAT32, IN_FLOAT64)),
    "added to N·variance": (added_to_scaled_variance, (1e-4, 1e-5, 1e-6, 1e-8, 1e-10, IN_FLOAT32, IN_FLOAT64)),
    "floor of N·variance": (floor_of_scaled_variance, (1e-3, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12, IN_FLOAT32,
                                                      IN_FLOAT64, 0.0)),
    "floor of variance": (floor_of_variance, (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)),
    "added to the deviation": (added_to_deviation, (1e-4, 1e-5, 1e-6, 1e-8, 1e-10, IN_FLOAT32, IN_FLOAT64))}
GAMMAS = {**{name: GAMMA[name] for name in ("relu", "gelu", "silu")},
          "relu, exactly √(2/(1 - 1/π))": math.sqrt(2.0 / (1.0 - 1.0 / math.pi))}


NAN = " Without eps, a unit whose weights are all the same, as after initialization with zeros, becomes NaN."


def _eps_forms():
    for form, (divisor, values) in EPS_FORMS.items():
        article = "a " if form.startswith("floor") else ""
        for value in values:
            shown = {IN_FLOAT32: "of float32 (1.19e-07)", IN_FLOAT64: "of float64 (2.2e-16)"}.get(value, f"{value:g}")
            yield KnownVariant(f"eps {shown} {form}", {"eps": value, "divisor": divisor}, f"eps = {value:g} is "
                               f"{article}{form}; the released code has a floor of 1e-4 on N·variance. On trained "
                               f"weights the two differ by about eps/variance/2.{'' if value else NAN}",
                               benign=value > 0.0)


PLAIN_FORMS = (  # eps, where it is added, divisor, Bessel's correction
    (1e-5, "the deviation", added_to_deviation, True), (1e-5, "the biased deviation", added_to_deviation, False),
    *((eps, "the variance", added_to_variance, False) for eps in (1e-5, 1e-6, 1e-8, 1e-10)))


def _plain_forms():
    for eps, where, divisor, bessel in PLAIN_FORMS:
        for has_gain in (True, False):
            changes = {"fan_in": lambda shape, groups: 1, "bessel": bessel, "eps": eps, "divisor": divisor}
            without = {} if has_gain else {"gained": _no_gain}
            yield KnownVariant(
                f"plain weight standardization, {eps:g} added to {where}{'' if has_gain else ', without a gain'}",
                changes | without, "Weight standardization as of 1903.10520, which batch or group normalization is to "
                "follow: the weights get variance 1 and not 1/N, so that activations grow with the fan-in.")


CATALOGUE = (
    *_eps_forms(),
    KnownVariant("symmetric padding", {"padding": _symmetric_padding}, "The padding is k//2 on both sides. At "
                 "stride 1 that is SAME; at stride 2 on even sizes every window lies a pixel higher and further left "
                 "than in the released models.", benign=True),
    KnownVariant("no padding", {"padding": lambda image, kernel, stride: "VALID"}, "Nothing is padded; the models pad "
                 "SAME."),
    KnownVariant("Bessel-corrected variance", {"bessel": True}, "The variance is divided by N - 1 (the default of "
                 "torch.var and torch.std); the paper's is divided by N."),
    KnownVariant("fan-in counts the output channels", {"fan_in": _size_of_the_weight}, "N is the size of the whole "
                 "weight, so that every activation shrinks by the root of the number of output channels."),
    KnownVariant("fan-out in place of fan-in", {"fan_in": lambda shape, groups: shape[0] * shape[1] * shape[3]}, "N is "
                 "kh·kw·out."),
    KnownVariant("fan-in without the kernel's pixels", {"fan_in": lambda shape, groups: shape[2]}, "N leaves out "
                 "kh·kw."),
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
    KnownVariant("mean square in place of the variance", {"about_zero": True}, "The weight is divided by the root of "
                 "N·mean(W²), from which mean² is not subtracted."),
    KnownVariant("no division by √N", {"fan_in": lambda shape, groups: 1}, "Plain weight standardization: the weights "
                 "get variance 1 and not 1/N, so that activations grow with the fan-in."),
    KnownVariant("gain left out", {"gained": _no_gain}, "The gain has no effect."),
    KnownVariant("gain left out of grouped convolutions",
                 {"gained": lambda unit, gain, groups: unit * gain if groups == 1 else unit}, "The gain has no effect "
                 "where there are groups."),
    KnownVariant("depthwise weights not standardized", {"is_spared": lambda shape: shape[2] == 1}, "Weights with one "
                 "input are used as they are, times the gain."),
    KnownVariant("1×1 weights not standardized", {"is_spared": lambda shape: shape[:2] == (1, 1)}, "Weights of 1×1 "
                 "convolutions are used as they are, times the gain."),
    KnownVariant("gain plus one", {"gained": lambda unit, gain, groups: unit * (gain + 1.0)}, "The weight is "
                 "multiplied by 1 + gain."),
    *(KnownVariant(f"gamma of {name} in the weight", {"factor": gamma}, f"The nonlinearity's gain gamma = {gamma:.6g} "
                   f"({name}) is folded into the weight. Right if the nonlinearity leaves it out.", benign=True)
      for name, gamma in GAMMAS.items()),
    KnownVariant("fan-in of all groups", {"fan_in": _inputs_of_all_groups}, "N counts the inputs of all groups, where "
                 "a unit has those of its own: weights of grouped convolutions are smaller by the root of their "
                 "number."),
    KnownVariant("statistics over all groups at once", {"over_groups": True}, "Outputs at the same place of each group "
                 "share one mean and variance."),
    *_plain_forms(),
    KnownVariant("gain along the input axis", {"gained": _along_inputs}, "There is a gain for each input channel and "
                 "not for each output."),
    KnownVariant("weight not standardized", {"divisor": lambda variance, fan_in, eps: variance * 0.0 + 1.0,
                                             "centred": False}, "The weight is used as it is, times the gain."),
    KnownVariant("gain without a gradient", {"gained": lambda unit, gain, groups: unit * gain.detach()}, "The gain is "
                 "detached: it gets no gradient and is never trained."),
    KnownVariant("weight without a gradient", {"is_detached": True}, "The weight is detached: it gets no gradient and "
                 "is never trained."),
    KnownVariant("weight overwritten by the standardized one", {"overwrites": True}, "Every call writes the "
                 "standardized weight, times the gain, into the parameter: the gradient does not pass through the "
                 "standardization, the gain gets none, and every call multiplies by the gain again."),
    KnownVariant("mean and deviation without gradients", {"statistics_detached": True}, "Mean and deviation are "
                 "detached: the gradient is not projected, and weights grow."),
)
OF_CONVOLUTIONS = (  # what a convolution alone shows, and no network that is called once on square images
    KnownVariant("dilation ignored", {"dilates": False}, "The convolution takes a dilation and does not use it."),
    KnownVariant("padding of height and width exchanged", {"padding": _exchanged_padding}, "An image's height is "
                 "padded as its width should be, and the reverse: the same on square images, and F.pad takes the last "
                 "axis first."),
    KnownVariant("not standardized in evaluation",
                 {"evaluated": lambda standardize, weight, earlier, gain: weight}, "In evaluation the weight is "
                 "used as it is, without the gain."),
    KnownVariant("not standardized in evaluation, times the gain",
                 {"evaluated": lambda standardize, weight, earlier, gain: weight * gain}, "In evaluation the weight is "
                 "used as it is, times the gain."),
    KnownVariant("weight of the last training step in evaluation",
                 {"evaluated": lambda standardize, weight, earlier, gain: standardize(earlier)}, "Evaluation uses the "
                 "standardized weight that the last call in training left: what an optimizer's step or load_state_dict "
                 "changed since then is missing."),
    KnownVariant("weight centred in place", {"centres_in_place": True}, "A call subtracts the mean from the parameter "
                 "itself: outputs and gradients are right, but the weights change without an optimizer."),
    KnownVariant("weight overwritten in evaluation",
                 {"evaluated": lambda standardize, weight, earlier, gain: standardize(standardize(weight)),
                  "overwrites_in_evaluation": True}, "Evaluation writes the standardized weight into the parameter, "
                 "and standardizes it again; training goes on from there."),
)
PADS_BY_ITSELF = KnownVariant("pads SAME by itself", {"padding": lambda image, kernel, stride: "SAME"}, "Its own SAME "
                 "padding is used whatever padding is given: it is the released models'.", benign=True)
