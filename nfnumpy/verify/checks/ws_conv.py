"""Scaled weight standardization, in a convolution or by itself.

The reference: functional/weight_standardization.py and functional/convolution.py (2101.08692, eq. 3; the floor is that
of the authors' released code).
"""

import dataclasses

import numpy as np

from ... import ops
from ...autograd import Tensor, no_grad
from ...functional.activations import GAMMA
from ..compare import Kind, Problem, judge
from ..variants import Entry
from ..adapters.convolutions import convolution_subject


@dataclasses.dataclass(frozen=True)
class Rules:
    """What = gain·(W - mu)/√max(N·sigma², eps), and what else it has been taken for."""

    eps: float = 1e-4
    eps_form: str = "floor of N·variance"
    bessel: bool = False  # variance over N - 1
    fan_in: str = "inputs of a unit"
    axes: str = "fan-in"
    root: str = "divided"
    centred: bool = True
    scaled_by_fan_in: bool = True
    folded_gamma: str = "identity"
    gain: str = "multiplied"
    padding: str = "SAME"


def standardized(weight, gain, rules):
    """The weight (kh, kw, in/groups, out), a Tensor, standardized as `rules` say."""
    if dataclasses.replace(Rules(), padding=rules.padding) == rules:
        return ops.standardize_weight(weight, gain)
    axes = {"fan-in": (0, 1, 2), "all but the input channel": (0, 1, 3), "the whole tensor": (0, 1, 2, 3),
            "the kernel's pixels": (0, 1)}[rules.axes]
    count = int(np.prod([weight.shape[axis] for axis in axes]))
    fan_in = {"inputs of a unit": int(np.prod(weight.shape[:3])), "outputs too": int(np.prod(weight.shape)),
              "outputs in place of inputs": int(np.prod(weight.shape[:2])) * weight.shape[3],
              "input channels only": weight.shape[2]}[rules.fan_in]
    centred = weight - ops.mean(weight, axis=axes, keepdims=True)
    divisor = count - rules.bessel
    variance = ops.sum(centred * centred, axis=axes, keepdims=True) * (1.0 / divisor if divisor else float("nan"))
    n = float(fan_in if rules.scaled_by_fan_in else 1)
    if rules.eps_form == "added to the deviation":
        divisor = (ops.sqrt(variance) + rules.eps) * n**0.5
    else:
        divisor = ops.sqrt({"floor of N·variance": lambda: ops.maximum(variance * n, rules.eps),
                            "floor of variance": lambda: ops.maximum(variance, rules.eps) * n,
                            "added to variance": lambda: (variance + rules.eps) * n,
                            "added to N·variance": lambda: variance * n + rules.eps}[rules.eps_form]())
    unit = centred if rules.centred else weight
    unit = unit * divisor if rules.root == "multiplied" else unit / divisor
    unit = unit * GAMMA[rules.folded_gamma]
    return {"multiplied": lambda: unit * gain, "left out": lambda: unit,
            "one added": lambda: unit * (gain + 1.0)}[rules.gain]()


def _forward(leaves, options, rules):
    """(the standardized weight, the convolution) as Tensors."""
    kernel = standardized(leaves["weight"], leaves["gain"], rules)
    padding = {"SAME": "SAME", "symmetric": kernel.shape[0] // 2, "none": "VALID"}[rules.padding]
    return kernel, ops.conv2d(leaves["x"], kernel, leaves["bias"], stride=options["stride"], groups=options["groups"],
                              padding=padding)


def screen(problem, rules):
    """The standardized weight and the convolution."""
    with no_grad():
        kernel, out = _forward({name: Tensor(array) for name, array in problem.arrays.items()}, problem.options, rules)
    return {"standardized weight": kernel.data, "output": out.data}


def reference(problem, rules):
    """The standardized weight, the convolution, and all gradients."""
    arrays = problem.arrays
    leaves = {name: Tensor(arrays[name], requires_grad=True) for name in ("x", "weight", "gain", "bias")}
    kernel, out = _forward(leaves, problem.options, rules)
    out.backward(np.resize(arrays["cotangent"], out.shape).astype(out.dtype))
    return {"standardized weight": kernel.data, "output": out.data,
            **{f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}}


def _eps(form, *values):
    return [Entry(f"eps {value:g} {form}", {"eps": value, "eps_form": form},
                  f"eps = {value:g} is {'a ' if form.startswith('floor') else ''}{form}; the released code has a floor "
                  f"of 1e-4 on N·variance. On trained weights the two differ by about eps/variance/2.", harmless=True)
            for value in values]


CATALOGUE = (
    *_eps("added to variance", 1e-3, 1e-4, 1e-5, 1e-6, 1e-8),
    *_eps("added to N·variance", 1e-4, 1e-5, 1e-6),
    *_eps("floor of N·variance", 1e-3, 1e-5, 1e-6, 0.0),
    *_eps("floor of variance", 1e-4, 1e-5),
    *_eps("added to the deviation", 1e-4, 1e-5, 1e-6, 1e-8),
    Entry("symmetric padding", {"padding": "symmetric"}, "The padding is k//2 on both sides. At stride 1 that is SAME; "
          "at stride 2 on even sizes every window lies a pixel higher and further left than in the released models.",
          harmless=True),
    Entry("no padding", {"padding": "none"}, "Nothing is padded; the models pad SAME."),
    Entry("Bessel-corrected variance", {"bessel": True}, "The variance is divided by N - 1 (the default of torch.var "
          "and torch.std); the paper's is divided by N."),
    Entry("fan-in counts the output channels", {"fan_in": "outputs too"}, "N is the size of the whole weight, so that "
          "every activation shrinks by the root of the number of output channels."),
    Entry("fan-out in place of fan-in", {"fan_in": "outputs in place of inputs"}, "N is kh·kw·out."),
    Entry("fan-in without the kernel's pixels", {"fan_in": "input channels only"}, "N leaves out kh·kw."),
    Entry("statistics over the wrong axes", {"axes": "all but the input channel"}, "Mean and variance are taken per "
          "input channel: the axes of OIHW used on HWIO, or the reverse."),
    Entry("statistics over the whole tensor", {"axes": "the whole tensor"}, "One mean and variance for all units."),
    Entry("statistics per kernel", {"axes": "the kernel's pixels"}, "Mean and variance over kh·kw only."),
    Entry("multiplied by the root", {"root": "multiplied"}, "Multiplied by √(N·variance) where dividing is meant."),
    Entry("not centred", {"centred": False}, "The mean is not subtracted."),
    Entry("no division by √N", {"scaled_by_fan_in": False}, "Plain weight standardization: the weights get variance 1 "
          "and not 1/N, so that activations grow with the fan-in."),
    Entry("gain left out", {"gain": "left out"}, "The gain has no effect."),
    Entry("gain plus one", {"gain": "one added"}, "The weight is multiplied by 1 + gain."),
    *(Entry(f"gamma of {name} in the weight", {"folded_gamma": name}, f"The nonlinearity's gain gamma = "
            f"{GAMMA[name]:.4f} ({name}) is folded into the weight. Right if the nonlinearity leaves it out.",
            harmless=True) for name in ("relu", "gelu", "silu")),
)


def _problem(seed, *, kernel=3, fan=3, out=5, groups=1, stride=1, size=6, scale=None, offset=0.1):
    random = np.random.default_rng(seed)
    channels = fan * groups
    scale = 1.0 / np.sqrt(kernel * kernel * fan) if scale is None else scale
    arrays = {"x": random.standard_normal((2, size, size, channels)),
              "weight": scale * (random.standard_normal((kernel, kernel, fan, out)) + offset),
              "gain": 1.0 + 0.3 * random.standard_normal(out), "bias": 0.2 * random.standard_normal(out),
              "cotangent": random.standard_normal(7)}
    return Problem({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"stride": stride, "groups": groups})


TYPICAL = (_problem(1, fan=16, out=8), _problem(2, kernel=1, fan=64, out=32), _problem(3, fan=8, out=16, groups=2))
EDGES = (_problem(4, stride=2, size=6), _problem(5, stride=2, size=7), _problem(6, scale=2e-3), _problem(7, scale=3e-4),
         _problem(8, kernel=1, fan=2, out=3, scale=0.3), _problem(9, fan=1, out=6, groups=6), _problem(10, offset=3.0),
         _problem(12, scale=1e-5))


DRAWN_SHAPES = ((1, 4, 6, 1), (3, 2, 4, 2), (5, 3, 2, 1), (3, 1, 6, 3), (1, 2, 9, 3))  # kernel, fan, out, groups


def drawn(seed):
    """Values, strides, sizes and scales at random; few shapes, because JAX compiles every function for each."""
    random = np.random.default_rng([11, seed])
    kernel, fan, out, groups = DRAWN_SHAPES[seed % len(DRAWN_SHAPES)]
    return _problem(1000 + seed, kernel=kernel, fan=fan, out=out, groups=groups, stride=int(random.integers(1, 3)),
                    size=int(random.integers(5, 9)), scale=float(random.choice([1e-3, 0.1, 1.0])))


def smaller(problem):
    """Fewer examples, pixels, outputs and inputs, and rounder numbers."""
    arrays, options = problem.arrays, problem.options
    x, weight = arrays["x"], arrays["weight"]
    if options["stride"] > 1:
        yield Problem(arrays, {**options, "stride": 1})
    if weight.shape[0] > 1:
        yield Problem({**arrays, "weight": weight[1:-1, 1:-1]}, options)
    for name, plain in (("gain", 1.0), ("bias", 0.0), ("cotangent", 1.0), ("x", 1.0)):
        if np.any(arrays[name] != plain):
            yield Problem({**arrays, name: np.full_like(arrays[name], plain)}, options)
    if len(x) > 1:
        yield Problem({**arrays, "x": x[:1]}, options)
    if x.shape[1] > weight.shape[0]:
        yield Problem({**arrays, "x": x[:, :-1, :-1]}, options)
    if options["groups"] == 1 and weight.shape[3] > 1:
        yield Problem({**arrays, "weight": weight[..., :-1], "gain": arrays["gain"][:-1], "bias": arrays["bias"][:-1]},
                      options)
    if options["groups"] == 1 and weight.shape[2] > 1:
        yield Problem({**arrays, "x": x[..., :-1], "weight": weight[:, :, :-1]}, options)
    for name in ("x", "weight", "gain", "bias", "cotangent"):
        rounder = np.round(arrays[name], 1)
        if not np.array_equal(rounder, arrays[name]):
            yield Problem({**arrays, name: rounder}, options)


def scales(problem):
    """The gradient of a weight is what is left of the kernel's after projections, all of it at a fan-in of 1 or 2."""
    arrays = problem.arrays
    weight, gain = (Tensor(arrays[name], requires_grad=True) for name in ("weight", "gain"))
    kernel = Tensor(ops.standardize_weight(weight, gain).data, requires_grad=True)
    out = ops.conv2d(arrays["x"], kernel, stride=problem.options["stride"], groups=problem.options["groups"])
    out.backward(np.resize(arrays["cotangent"], out.shape))
    flat = arrays["weight"].reshape(-1, arrays["weight"].shape[3])
    norm = np.sqrt(np.maximum(np.sum(np.square(flat - flat.mean(0)), axis=0), 1e-4))
    return {"gradient of weight": float(np.max(np.abs(kernel.grad) * np.abs(arrays["gain"]) / norm)),
            "gradient of gain": float(np.max(np.sum(np.abs(kernel.grad), axis=(0, 1, 2))))}


KIND = Kind("ws_conv", reference, Rules(), CATALOGUE, TYPICAL, EDGES, drawn, smaller, scales, screen)


def check_ws_conv(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on a convolution with scaled weight standardization, or on a bare `standardize(weight[, gain])`.

    target: a torch module class or factory (in_channels, out_channels, kernel_size, stride=, groups=) with an OIHW
    weight, a gain and a bias; or a function of a weight (OIHW in torch, HWIO elsewhere; or option layout="HWIO").
    options are passed to the target. InputError when it cannot be used.
    """
    subject, notes, framework = convolution_subject(target, framework, options)
    return judge(KIND, subject, target=name or getattr(target, "__qualname__", repr(target)), framework=framework,
                 examples=examples, notes=notes)
