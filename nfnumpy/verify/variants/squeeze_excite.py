"""Squeeze-and-excite by rules that can be changed, and its known variants.

Source: 1709.01507, eq. 2-4; the factor 2 is that of 2101.08692, section 4.2, and of the authors' released code.
"""

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...functional.activations import GAMMA
from . import KnownVariant

# The hidden width: functions of (channels, ratio).


def rounded_down(channels: int, ratio: float) -> int:
    """The reference."""
    return max(1, int(channels * ratio))


def _rounded(channels, ratio):
    return max(1, int(channels * ratio + 0.5))


def _rounded_up(channels, ratio):
    return max(1, math.ceil(channels * ratio))


def _multiple_of_8(channels, ratio):
    return max(8, int(channels * ratio + 4.0) // 8 * 8)


def _multiple_of_8_at_least_nine_tenths(channels, ratio):
    near = _multiple_of_8(channels, ratio)
    return near + 8 if near < 0.9 * channels * ratio else near


def _ratio_squared(channels, ratio):
    return max(1, int(channels * ratio * ratio))


# The squeeze of a Tensor x (N, H, W, C), with axes of size 1 kept, and the gate.


def image_mean(x: Tensor) -> Tensor:
    """The mean over the image, the reference."""
    return ops.mean(x, axis=(1, 2), keepdims=True)


def _image_maximum(x):
    return ops.max(ops.max(x, axis=1, keepdims=True), axis=2, keepdims=True)


def _hard_sigmoid(x):
    """min(max(x + 3, 0), 6)/6."""
    return ops.clip(x + 3.0, low=0.0, high=6.0) * (1.0 / 6.0)


def _hard_sigmoid_of_torch(x):
    """The same, but with torch's derivative, whose 1/6 is a float32 number even where everything else is float64."""
    slope = ops.clip(x + 3.0, low=0.0, high=6.0) * float(np.float32(1.0 / 6.0))
    return slope + (_hard_sigmoid(x) - slope).detach()


def _hard_sigmoid_fifth(x):
    """min(max(x/5 + 1/2, 0), 1)."""
    return ops.clip(x * 0.2 + 0.5, low=0.0, high=1.0)


def _scaled_relu(x):
    return ops.relu(x) * GAMMA["relu"]


@dataclasses.dataclass(frozen=True)
class SqueezeExciteRules:
    """x·2·sigmoid(fc1(relu(fc0(mean over the image)))).

    joined(x, gate): the result; hidden(channels, ratio): the hidden width; biases: whether the linear layers have them;
    squeeze_detached, gate_detached: whether the squeeze, or the gate, has no gradient; evaluated: the rules, of a
    module alone, that are others in evaluation.
    """

    factor: float = 2.0
    nonlinearity: Callable[[Tensor], Tensor] = ops.relu
    gate: Callable[[Tensor], Tensor] = ops.sigmoid
    squeeze: Callable[[Tensor], Tensor] = image_mean
    joined: Callable[[Tensor, Tensor], Tensor] = operator.mul
    hidden: Callable[[int, float], int] = rounded_down
    biases: bool = True
    squeeze_detached: bool = False
    gate_detached: bool = False
    evaluated: tuple[tuple[str, Any], ...] = ()

    def in_evaluation(self) -> "SqueezeExciteRules":
        """The rules in evaluation."""
        return dataclasses.replace(self, **dict(self.evaluated))


def excited(x: Tensor, weight0: Tensor, bias0: Tensor | None, weight1: Tensor, bias1: Tensor | None, *,
            rules: SqueezeExciteRules) -> Tensor:
    """x (N, H, W, C) with its channels scaled by `rules`; without changes, the operation of nfnumpy.ops."""
    if dataclasses.replace(rules, hidden=rounded_down, evaluated=()) == SqueezeExciteRules():
        return ops.squeeze_excite(x, weight0, bias0, weight1, bias1)
    if not rules.biases:
        bias0 = bias1 = None
    pooled = rules.squeeze(x.detach() if rules.squeeze_detached else x)
    n, h, w, c = pooled.shape
    hidden = rules.nonlinearity(ops.linear(ops.reshape(pooled, shape=(n * h * w, c)), weight0, bias0))
    gate = rules.gate(ops.linear(hidden, weight1, bias1)) * rules.factor
    gate = gate.detach() if rules.gate_detached else gate
    return rules.joined(x, ops.reshape(gate, shape=(n, h, w, gate.shape[1])))


def _nonlinearity(name, function):
    return KnownVariant(f"{name} in place of relu", {"nonlinearity": function}, "The hidden layer is followed by "
                        f"{name}; in the released code by relu.")


def _gate(name, function):
    return KnownVariant(f"{name} in place of the sigmoid", {"gate": function}, f"The gate is {name}; in the released "
                        "code it is the sigmoid.")


def _hidden(name, function, why=""):
    return KnownVariant(f"hidden width {name}", {"hidden": function}, f"The hidden width is {name}; the released code "
                        f"rounds channels·ratio down. Where the two differ, released weights have other shapes.{why}")


def _x_alone(x, gate):
    return x + gate * 0.0


def _the_gate(x, gate):
    return gate


def _the_gate_as_rows(x, gate):
    return ops.reshape(gate, shape=(gate.shape[0], gate.shape[3]))


CATALOGUE = (
    KnownVariant("factor 2 missing", {"factor": 1.0}, "The gates are not doubled. A sigmoid is 1/2 at initialization, "
                 "so every block halves its branch. Right only if the caller of this module multiplies by 2."),
    KnownVariant("factor 4 in place of 2", {"factor": 4.0}, "The gates are quadrupled: the factor 2 is applied twice."),
    KnownVariant("factor √2 in place of 2", {"factor": math.sqrt(2.0)}, "The gates are multiplied by √2, not by 2."),
    *(_nonlinearity(name, getattr(ops, name)) for name in ("silu", "gelu", "gelu_erf", "identity", "leaky_relu",
                                                           "relu6", "tanh", "elu")),
    KnownVariant("scaled relu in the hidden layer", {"nonlinearity": _scaled_relu}, "The hidden layer's relu is "
                 "multiplied by gamma = 1.7140; here the released code has the plain relu."),
    _gate("hard sigmoid", _hard_sigmoid), _gate("hard sigmoid of torch", _hard_sigmoid_of_torch),
    _gate("hard sigmoid of slope 1/5", _hard_sigmoid_fifth), _gate("tanh", ops.tanh), _gate("identity", lambda x: x),
    _gate("softmax", ops.softmax),
    KnownVariant("maximum in place of the mean", {"squeeze": _image_maximum}, "Channels are summed up by their maximum "
                 "over the image; in the released code by their mean."),
    KnownVariant("sum in place of the mean", {"squeeze": lambda x: ops.sum(x, axis=(1, 2), keepdims=True)}, "The "
                 "division by the number of pixels is missing, so that the gates depend on the image's size."),
    KnownVariant("mean over rows only", {"squeeze": lambda x: ops.mean(x, axis=1, keepdims=True)}, "The mean is over "
                 "one axis of the image: a wrong axis, often that of NCHW used on NHWC."),
    KnownVariant("mean over columns only", {"squeeze": lambda x: ops.mean(x, axis=2, keepdims=True)}, "The mean is "
                 "over one axis of the image."),
    KnownVariant("mean over the batch too", {"squeeze": lambda x: ops.mean(x, axis=(0, 1, 2), keepdims=True)}, "All "
                 "examples share one gate, so that the output for an image depends on its neighbours in the "
                 "batch.", across_examples=True),
    KnownVariant("gate added", {"joined": operator.add}, "The gate is added to x; it should multiply x."),
    KnownVariant("gate returned alone", {"joined": lambda x, gate: x * 0.0 + gate}, "The module returns the gates, not "
                 "x times the gates."),
    KnownVariant("x added to the result", {"joined": lambda x, gate: x * gate + x}, "x + x·gate: an additional skip "
                 "connection."),
    KnownVariant("squeeze without a gradient", {"squeeze_detached": True}, "The mean over the image is detached: the "
                 "gradient reaches x only through the product with the gates."),
    KnownVariant("gate without a gradient", {"gate_detached": True}, "The gate is detached: its two layers get no "
                 "gradient and are never trained."),
    KnownVariant("biases missing", {"biases": False}, "The two linear layers have no bias."),
    _hidden("rounded", _rounded), _hidden("rounded up", _rounded_up), _hidden("a multiple of 8", _multiple_of_8),
    _hidden("a multiple of 8, at least nine tenths", _multiple_of_8_at_least_nine_tenths,
            " This is the make_divisible of MobileNet's code."),
    KnownVariant("hidden width not at least 1", {"hidden": lambda channels, ratio: int(channels * ratio)}, "Where "
                 "channels·ratio is below 1, the hidden layer has no units, and the gate is that of the second bias "
                 "alone. No published network is so narrow.", benign=True),
    _hidden("ratio taken as divisor squared", _ratio_squared),
)
OF_MODULES = (  # forms of a module alone; in a network, its caller would have to multiply
    KnownVariant("factor 2 missing in evaluation", {"evaluated": (("factor", 1.0),)}, "The gates are doubled in "
                 "training alone: in evaluation every block gives half of what it learned to give."),
    KnownVariant("x returned in evaluation", {"evaluated": (("joined", _x_alone),)}, "In evaluation the module has no "
                 "effect."),
    KnownVariant("x returned", {"joined": _x_alone}, "The module has no effect: x is returned as "
                 "it is."),
    *(KnownVariant(f"gate returned{what}", {"joined": joined, "factor": factor}, "The module returns the gate, which "
                 "its "
                   f"caller has to multiply x by{sentence}, as in the authors' code.", benign=True)
      for what, factor, sentence in (("", 2.0, ""), (", the factor 2 left to the caller", 1.0, ", and by 2"))
      for joined, what in ((_the_gate, what), (_the_gate_as_rows, f"{what}, as (N, C)"))),
)
