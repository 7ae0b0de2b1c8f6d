"""Squeeze-and-excite.

The reference: functional/squeeze_excite.py (1709.01507, eq. 2-4; the factor 2 is that of 2101.08692, section 4.2, and
of the authors' released code); the hidden width: nn/layers.py.
"""

import dataclasses
import math

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...functional.activations import GAMMA
from ..compare import Kind, Problem, judge
from ..variants import Entry
from ..adapters.squeeze_excite import squeeze_excite_subject


@dataclasses.dataclass(frozen=True)
class Rules:
    """x·2·sigmoid(fc1(relu(fc0(mean over the image)))), and what else it has been taken for."""

    factor: float = 2.0
    nonlinearity: str = "relu"
    gate: str = "sigmoid"
    squeeze: str = "mean over the image"
    joined: str = "multiplied"
    hidden: str = "rounded down"
    biases: str = "added"


def hidden_width(channels, ratio, rule="rounded down"):
    """Channels of the hidden layer for `channels` and `ratio`."""
    exact = channels * ratio
    return {"rounded down": lambda: max(1, int(exact)), "rounded": lambda: max(1, int(exact + 0.5)),
            "rounded up": lambda: max(1, math.ceil(exact)),
            "a multiple of 8": lambda: max(8, int(exact + 4.0) // 8 * 8),
            "a multiple of 8, at least nine tenths": lambda: _nine_tenths(exact),
            "ratio taken as divisor squared": lambda: max(1, int(exact * ratio))}[rule]()


def _nine_tenths(exact):
    near = max(8, int(exact + 4.0) // 8 * 8)
    return near + 8 if near < 0.9 * exact else near


def hard_sigmoid(x):
    """min(max(x + 3, 0), 6)/6, of a Tensor."""
    return ops.clip(x + 3.0, low=0.0, high=6.0) * (1.0 / 6.0)


def hard_sigmoid_of_torch(x):
    """The same, but with torch's derivative, whose 1/6 is a float32 number even where everything else is float64."""
    slope = ops.clip(x + 3.0, low=0.0, high=6.0) * float(np.float32(1.0 / 6.0))
    return slope + (hard_sigmoid(x) - slope).detach()


def hard_sigmoid_fifth(x):
    """min(max(x/5 + 1/2, 0), 1), of a Tensor."""
    return ops.clip(x * 0.2 + 0.5, low=0.0, high=1.0)


GATES = {"sigmoid": ops.sigmoid, "hard sigmoid": hard_sigmoid, "hard sigmoid of torch": hard_sigmoid_of_torch,
         "hard sigmoid of slope 1/5": hard_sigmoid_fifth, "tanh": ops.tanh, "identity": lambda x: x,
         "softmax": ops.softmax}
SQUEEZES = {"mean over the image": lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
            "maximum over the image": lambda x: ops.max(ops.max(x, axis=1, keepdims=True), axis=2, keepdims=True),
            "sum over the image": lambda x: ops.sum(x, axis=(1, 2), keepdims=True),
            "mean over rows": lambda x: ops.mean(x, axis=1, keepdims=True),
            "mean over columns": lambda x: ops.mean(x, axis=2, keepdims=True),
            "mean over the image and the batch": lambda x: ops.mean(x, axis=(0, 1, 2), keepdims=True)}


def excited(x, weight0, bias0, weight1, bias1, rules):
    """x (N, H, W, C), a Tensor, with its channels scaled as `rules`, which have the fields of Rules, say."""
    ours = all(getattr(rules, field.name) == field.default for field in dataclasses.fields(Rules)
               if field.name != "hidden")
    if ours:
        return ops.squeeze_excite(x, weight0, bias0, weight1, bias1)
    if rules.biases == "left out":
        bias0 = bias1 = None
    pooled = SQUEEZES[rules.squeeze](x)
    n, h, w, c = pooled.shape
    hidden = ops.linear(ops.reshape(pooled, shape=(n * h * w, c)), weight0, bias0)
    hidden = ops.relu(hidden) * GAMMA["relu"] if rules.nonlinearity == "scaled relu" else \
        getattr(ops, rules.nonlinearity)(hidden)
    gate = GATES[rules.gate](ops.linear(hidden, weight1, bias1)) * rules.factor
    gate = ops.reshape(gate, shape=(n, h, w, gate.shape[1]))
    return {"multiplied": lambda: x * gate, "added": lambda: x + gate, "the gate alone": lambda: x * 0.0 + gate,
            "multiplied and added to x": lambda: x * gate + x}[rules.joined]()


def parameters(problem, rules):
    """The four parameters in their layout (in, out), as wide as `rules` make the hidden layer."""
    hidden = hidden_width(problem.options["channels"], problem.options["ratio"], rules.hidden) \
        if problem.options.get("hidden") is None else problem.options["hidden"]
    arrays = problem.arrays
    return {"fc0.weight": arrays["fc0.weight"][:, :hidden], "fc0.bias": arrays["fc0.bias"][:hidden],
            "fc1.weight": arrays["fc1.weight"][:hidden], "fc1.bias": arrays["fc1.bias"]}


def reference(problem, rules):
    """The output, and all gradients."""
    leaves = {name: Tensor(array, requires_grad=True) for name, array in parameters(problem, rules).items()}
    x = Tensor(problem.arrays["x"], requires_grad=True)
    out = excited(x, *leaves.values(), rules)
    out.backward(np.resize(problem.arrays["cotangent"], out.shape).astype(out.dtype))
    return {"output": out.data, "gradient of x": x.grad,
            **{f"gradient of {name}": np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad
               for name, leaf in leaves.items()}}


def _nonlinearities(*names):
    return [Entry(f"{name} in place of relu", {"nonlinearity": name}, f"The hidden layer is followed by {name}; in the "
                  f"released code by relu.") for name in names]


def _gates(*names):
    return [Entry(f"{name} in place of the sigmoid", {"gate": name}, f"The gate is {name}; in the released code it is "
                  f"the sigmoid.") for name in names]


def _hidden(rule, why=""):
    return Entry(f"hidden width {rule}", {"hidden": rule}, f"The hidden width is {rule}; the released code rounds "
                 f"channels·ratio down. Where the two differ, released weights do not fit.{why}")


CATALOGUE = (
    Entry("factor 2 missing", {"factor": 1.0}, "The gates are not doubled. A sigmoid is 1/2 at initialization, so "
          "every block halves its branch. Right only if whatever calls this module multiplies by 2."),
    Entry("factor 4 in place of 2", {"factor": 4.0}, "The gates are quadrupled: the factor 2 is applied twice."),
    Entry("factor √2 in place of 2", {"factor": math.sqrt(2.0)}, "The gates are multiplied by √2, not by 2."),
    *_nonlinearities("silu", "gelu", "gelu_erf", "identity", "leaky_relu", "relu6", "tanh", "elu"),
    Entry("scaled relu in the hidden layer", {"nonlinearity": "scaled relu"}, "The hidden layer's relu is multiplied "
          "by gamma = 1.7140; here the released code has the plain relu."),
    *_gates("hard sigmoid", "hard sigmoid of torch", "hard sigmoid of slope 1/5", "tanh", "identity", "softmax"),
    Entry("maximum in place of the mean", {"squeeze": "maximum over the image"}, "Channels are summed up by their "
          "maximum over the image; in the released code by their mean."),
    Entry("sum in place of the mean", {"squeeze": "sum over the image"}, "The division by the number of pixels is "
          "missing, so that the gates depend on the image's size."),
    Entry("mean over rows only", {"squeeze": "mean over rows"}, "The mean is taken over one axis of the image: a wrong "
          "axis, often that of NCHW used on NHWC."),
    Entry("mean over columns only", {"squeeze": "mean over columns"}, "The mean is taken over one axis of the image."),
    Entry("mean over the batch too", {"squeeze": "mean over the image and the batch"}, "All examples share one gate, "
          "so that what an image becomes depends on its neighbours in the batch."),
    Entry("gate added", {"joined": "added"}, "The gate is added to x; it should multiply x."),
    Entry("gate returned alone", {"joined": "the gate alone"}, "The module returns the gates, not x times the gates."),
    Entry("x added to the result", {"joined": "multiplied and added to x"}, "x + x·gate: an additional skip "
          "connection."),
    Entry("biases missing", {"biases": "left out"}, "The two linear layers have no bias."),
    _hidden("rounded"), _hidden("rounded up"), _hidden("a multiple of 8"),
    _hidden("a multiple of 8, at least nine tenths", " This is the make_divisible of MobileNet's code."),
    _hidden("ratio taken as divisor squared"),
)


def _problem(seed, *, channels, ratio, size=(4, 4), count=2, scale=1.0, wide=None):
    random = np.random.default_rng([3, seed])
    wide = 2 * channels + 16 if wide is None else wide  # wider than any rule on the hidden width makes it
    arrays = {"x": scale * (random.standard_normal((count, *size, channels)) + 0.5 * random.standard_normal(channels)),
              "fc0.weight": random.standard_normal((channels, wide)) * (2.0 / np.sqrt(channels)),
              "fc0.bias": 0.5 * random.standard_normal(wide),
              "fc1.weight": random.standard_normal((wide, channels)) * (2.0 / np.sqrt(max(1.0, channels * ratio))),
              "fc1.bias": 0.5 * random.standard_normal(channels), "cotangent": random.standard_normal(11)}
    return Problem({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"channels": channels, "ratio": ratio})


TYPICAL = (_problem(1, channels=32, ratio=0.5, size=(6, 6)), _problem(2, channels=64, ratio=0.5, size=(7, 5)))
EDGES = (_problem(3, channels=16, ratio=0.5, size=(3, 5), count=3, scale=4.0), _problem(4, channels=27, ratio=0.5),
         _problem(5, channels=33, ratio=0.25, size=(1, 1)), _problem(6, channels=3, ratio=0.25, count=1))


def drawn(seed):
    """Sizes and ratios at random."""
    random = np.random.default_rng([13, seed])
    return _problem(1000 + seed, channels=int(random.integers(4, 41)), ratio=float(random.choice([0.25, 0.5, 1.0])),
                    size=tuple(int(size) for size in random.integers(1, 7, 2)), count=int(random.integers(1, 4)),
                    scale=float(random.choice([0.3, 1.0, 3.0])))


def smaller(problem):
    """Fewer examples and pixels, and rounder numbers."""
    arrays, options = problem.arrays, problem.options
    x = arrays["x"]
    if len(x) > 1:
        yield Problem({**arrays, "x": x[:1]}, options)
    for axis in (1, 2):
        if x.shape[axis] > 1:
            yield Problem({**arrays, "x": np.take(x, range(x.shape[axis] - 1), axis=axis)}, options)
    if x.shape[3] > 1 and "hidden" not in options:
        channels = x.shape[3] - 1
        wide = 2 * channels + 16
        yield Problem({**arrays, "x": x[..., :-1], "fc0.weight": arrays["fc0.weight"][:-1, :wide],
                       "fc0.bias": arrays["fc0.bias"][:wide], "fc1.weight": arrays["fc1.weight"][:wide, :-1],
                       "fc1.bias": arrays["fc1.bias"][:-1]}, {**options, "channels": channels})
    for name, array in arrays.items():
        rounder = np.round(array, 1)
        if not np.array_equal(rounder, array):
            yield Problem({**arrays, name: rounder}, options)


def scales(problem):
    """Gradients of the gates are sums over the image of terms of both signs."""
    x, cotangent = problem.arrays["x"], problem.arrays["cotangent"]
    largest = float(np.max(np.abs(x)) * np.max(np.abs(cotangent)))
    return {f"gradient of {name}": largest for name in ("fc0.bias", "fc1.bias", "fc1.weight", "fc0.weight")}


KIND = Kind("se", reference, Rules(), CATALOGUE, TYPICAL, EDGES, drawn, smaller, scales)


def check_se(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on a squeeze-and-excite module.

    target: a torch module class or factory of (channels, ratio or reduction or hidden width) that holds two linear
    layers or 1×1 convolutions, a module instance, or a function of (x, weight0, bias0, weight1, bias1): x NCHW and
    weights (out, in) in torch, x NHWC and weights (in, out) elsewhere. options are passed to the target.
    InputError when it cannot be used.
    """
    subject, fixed, notes, framework = squeeze_excite_subject(target, framework, options)
    kind = KIND if fixed is None else _of_one_width(*fixed)
    return judge(kind, subject, target=name or getattr(target, "__qualname__", type(target).__qualname__),
                 framework=framework, examples=examples, notes=notes)


def _of_one_width(channels, hidden):
    """The Kind for a module that exists already and has its widths."""
    def problem(seed, **sizes):
        asked = _problem(seed, channels=channels, ratio=hidden / channels, wide=hidden, **sizes)
        return Problem(asked.arrays, {**asked.options, "hidden": hidden})

    return dataclasses.replace(
        KIND, catalogue=tuple(entry for entry in CATALOGUE if "hidden" not in entry.changes),
        typical=(problem(1, size=(6, 6)),), edges=(problem(2, size=(3, 5), count=3, scale=4.0),),
        drawn=lambda seed: problem(1000 + seed, size=(1 + seed % 5, 1 + seed % 3)))
