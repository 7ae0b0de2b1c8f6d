"""Scaled weight standardization, in a convolution or by itself.

The reference: functional/weight_standardization.py and functional/convolution.py (2101.08692, eq. 3; the floor is that
of the authors' released code).
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...autograd import Tensor, no_grad
from ..adapters import title_of
from ..adapters.layer_convolution import AFTER
from ..adapters.ws_conv import convolution_adapter
from ..adapters.ws_evaluation import OUTPUT, WEIGHT, after_a_step
from ..compare import Check, InputCase, compare
from ..frameworks import tries_frameworks
from ..tolerance import UNKNOWN
from ..variants.ws_conv import (
    CATALOGUE,
    OF_CONVOLUTIONS,
    PADS_BY_ITSELF,
    StandardizationRules,
    left_in_the_weight,
    same_padding,
    standardized,
)
from ..verdict import Verdict


def _forward(leaves, options, rules):
    """(the standardized weight, the convolution) as Tensors."""
    kernel = standardized(leaves["weight"], leaves["gain"], rules, options["groups"])
    return kernel, _convolved(leaves, kernel, options, rules)


def _convolved(leaves, kernel, options, rules):
    dilation, image = options.get("dilation", 1), leaves["x"].shape[1:3]
    size = (kernel.shape[0] - 1) * dilation + 1
    is_told = options.get("padding") == "symmetric" and rules.padding is same_padding
    padding = size // 2 if is_told else rules.padding(image, size, options["stride"])
    bias = leaves["bias"] if options.get("bias", True) else None
    return ops.conv2d(leaves["x"], kernel, bias, stride=options["stride"], groups=options["groups"],
                      padding=padding, dilation=dilation if rules.dilates else 1)


def _in_evaluation(leaves, options, rules):
    """The output with a new weight, and that weight after it; earlier: the weight of the training before."""
    def standardize(weight):
        return standardized(weight, leaves["gain"], rules, options["groups"])

    weight = Tensor(after_a_step(leaves["weight"].data))
    with no_grad():
        kernel = rules.evaluated(standardize, weight, leaves["weight"], leaves["gain"])
        out = _convolved(leaves, kernel, options, rules)
        after = left_in_the_weight(weight, standardize(weight), rules, in_evaluation=True)
    return {OUTPUT: out.data, WEIGHT: after.data}


def screen(case: InputCase, rules: StandardizationRules) -> Mapping[str, np.ndarray]:
    """The standardized weight and the convolution."""
    leaves = {name: Tensor(array) for name, array in case.arrays.items()}
    with no_grad():
        kernel, out = _forward(leaves, case.options, rules)
    return {"standardized weight": kernel.data, "output": out.data}


def reference(case: InputCase, rules: StandardizationRules) -> Mapping[str, np.ndarray]:
    """The standardized weight, the convolution, and all gradients."""
    leaves = {name: Tensor(case.arrays[name], requires_grad=True) for name in ("x", "weight", "gain", "bias")}
    kernel, out = _forward(leaves, case.options, rules)
    out.backward(np.resize(case.arrays["cotangent"], out.shape).astype(out.dtype))
    return {"standardized weight": kernel.data, "output": out.data,
            **{f"gradient of {name}": _gradient(leaf, out.data) for name, leaf in leaves.items()},
            AFTER: left_in_the_weight(leaves["weight"], kernel, rules).data,
            **_in_evaluation(leaves, case.options, rules)}


def reference_of_function(case: InputCase, rules: StandardizationRules) -> Mapping[str, np.ndarray]:
    """The standardized weight, and the gradients through it."""
    leaves = {name: Tensor(case.arrays[name], requires_grad=True) for name in ("weight", "gain")}
    kernel = standardized(leaves["weight"], leaves["gain"], rules, case.options["groups"])
    if kernel.node is not None:  # else everything is detached
        kernel.backward(np.resize(case.arrays["cotangent"], kernel.shape).astype(kernel.dtype))
    return {"standardized weight": kernel.data,
            **{f"gradient of {name}": _gradient(leaf, kernel.data) for name, leaf in leaves.items()}}


def _gradient(leaf, result):
    """Zeros where there is none; UNKNOWN where the result is not finite, or the gradient is NaN although it is.

    The latter is the root of a variance of exactly 0: its derivative is infinite by analysis, and 0 in torch.std.
    """
    if not np.isfinite(result).all():
        return UNKNOWN
    if leaf.grad is None:
        return np.zeros_like(leaf.data)
    return UNKNOWN if np.isnan(leaf.grad).any() else leaf.grad


def _case(seed, *, kernel=3, fan=3, out=5, groups=1, stride=1, size=6, scale=None, offset=0.1, count=2, **others):
    random = np.random.default_rng(seed)
    channels = fan * groups
    scale = 1.0 / np.sqrt(kernel * kernel * fan) if scale is None else scale
    arrays = {"x": random.standard_normal((count, size, size + 1, channels)),
              "weight": scale * (random.standard_normal((kernel, kernel, fan, out)) + offset),
              "gain": 1.0 + 0.3 * random.standard_normal(out), "bias": 0.2 * random.standard_normal(out),
              "cotangent": random.standard_normal(7)}
    return InputCase({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"stride": stride, "groups": groups, **others})


TYPICAL = (_case(1, fan=16, out=8), _case(2, kernel=1, fan=64, out=32), _case(3, fan=8, out=16, groups=2))
EDGES = (_case(4, stride=2, size=6), _case(5, stride=2, size=7), _case(6, scale=2e-3), _case(7, scale=3e-4),
         _case(8, kernel=1, fan=2, out=3, scale=0.3), _case(9, fan=1, out=6, groups=6), _case(10, offset=3.0),
         _case(12, scale=1e-5), _case(13, out=1), _case(14, fan=1, out=4, count=1),
         _case(15, size=3, count=1), _case(16, kernel=1, fan=6, out=1, size=1),  # one of everything somewhere
         _case(17, scale=1e-6), _case(18, scale=1e-9), _case(20, dilation=2), _case(21, bias=False),
         _case(19, kernel=1, fan=1, out=3, size=20))  # large, so that it is shown only where no smaller one is wrong


USUALLY = {"dilation": 1, "bias": True}  # options of few cases
DRAWN_SHAPES = ((1, 4, 6, 1), (3, 2, 4, 2), (5, 3, 2, 1), (3, 1, 6, 3), (1, 2, 9, 3))  # kernel, fan, out, groups


@functools.lru_cache(maxsize=64)
def drawn(seed: int) -> InputCase:
    """Values, strides, sizes and scales at random; few shapes, because JAX compiles every function for each."""
    random = np.random.default_rng([11, seed])
    kernel, fan, out, groups = DRAWN_SHAPES[seed % len(DRAWN_SHAPES)]
    return _case(1000 + seed, kernel=kernel, fan=fan, out=out, groups=groups, stride=int(random.integers(1, 3)),
                    size=int(random.integers(5, 9)), scale=float(random.choice([1e-3, 0.1, 1.0])))


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer examples, pixels, outputs and inputs, and rounder numbers."""
    arrays, options = case.arrays, case.options
    x, weight = arrays["x"], arrays["weight"]
    if options["stride"] > 1:
        yield InputCase(arrays, {**options, "stride": 1})
    for name in USUALLY.keys() & options.keys():
        yield InputCase(arrays, {key: value for key, value in options.items() if key != name})
    if weight.shape[0] > 1:
        yield InputCase({**arrays, "weight": weight[1:-1, 1:-1]}, options)
    numbered = np.arange(1.0, x.size + 1.0).reshape(x.shape)  # of a constant, a centred weight has the convolution 0
    for name, plain in (("gain", 1.0), ("bias", 0.0), ("cotangent", 1.0), ("x", numbered)):
        if np.any(arrays[name] != plain):
            yield InputCase({**arrays, name: np.broadcast_to(plain, arrays[name].shape).astype(x.dtype)}, options)
    if len(x) > 1:
        yield InputCase({**arrays, "x": x[:1]}, options)
    if x.shape[1] > weight.shape[0]:
        yield InputCase({**arrays, "x": x[:, :-1, :-1]}, options)
    if options["groups"] == 1 and weight.shape[3] > 1:
        yield InputCase({**arrays, "weight": weight[..., :-1], "gain": arrays["gain"][:-1],
                         "bias": arrays["bias"][:-1]}, options)
    if options["groups"] == 1 and weight.shape[2] > 1 and weight[..., :-1, 0].size > 1:
        yield InputCase({**arrays, "x": x[..., :-1], "weight": weight[:, :, :-1]}, options)
    for name in ("x", "weight", "gain", "bias", "cotangent"):
        rounder = np.round(arrays[name], 1)
        if not np.array_equal(rounder, arrays[name]):
            yield InputCase({**arrays, name: rounder}, options)


def scales(case: InputCase) -> Mapping[str, float]:
    """The gradient of a weight is what is left of the kernel's after projections, all of it at a fan-in of 1 or 2.

    A rounding error of the mean is the same in all of a unit's weights, and so not averaged out in a sum.
    """
    arrays = case.arrays
    weight, gain = (Tensor(arrays[name], requires_grad=True) for name in ("weight", "gain"))
    kernel = Tensor(ops.standardize_weight(weight, gain).data, requires_grad=True)
    out = ops.conv2d(arrays["x"], kernel, stride=case.options["stride"], groups=case.options["groups"])
    out.backward(np.resize(arrays["cotangent"], out.shape))
    flat = arrays["weight"].reshape(-1, arrays["weight"].shape[3])
    norm = np.sqrt(np.maximum(np.sum(np.square(flat - flat.mean(0)), axis=0), 1e-4))
    magnitude = np.abs(np.asarray(kernel.grad))
    of_an_output, of_an_input = (np.max(np.sum(np.abs(kernel.data), axis=axes)) for axes in ((0, 1, 2), (0, 1, 3)))
    return {**dict.fromkeys(("output", OUTPUT), float(of_an_output * np.max(np.abs(arrays["x"])))),
            "gradient of x": float(of_an_input * np.max(np.abs(arrays["cotangent"]))),
            "gradient of weight": float(np.max(magnitude * np.abs(arrays["gain"]) / norm)),
            "gradient of gain": float(np.max(np.sum(magnitude, axis=(0, 1, 2))))}


CHECK = Check("ws_conv", reference, StandardizationRules(), (*CATALOGUE, *OF_CONVOLUTIONS), TYPICAL, EDGES, drawn,
              smaller, scales, screen)


def scales_of_function(case: InputCase) -> Mapping[str, float]:
    """The same for a cotangent of the standardized weight itself."""
    arrays = case.arrays
    weight, largest = arrays["weight"], float(np.max(np.abs(arrays["cotangent"])))
    flat = weight.reshape(-1, weight.shape[3])
    norm = np.sqrt(np.maximum(np.sum(np.square(flat - flat.mean(0)), axis=0), 1e-4))
    return {"gradient of weight": largest * float(np.max(np.abs(arrays["gain"]) / norm)), "gradient of gain": largest}


FUNCTION_CHECK = dataclasses.replace(CHECK, reference=reference_of_function, catalogue=CATALOGUE,
                                     scales=scales_of_function, screen=None)


def _depthwise(case):
    """A case with a group for every channel, of one output, or of two where their number is even."""
    arrays, outputs = case.arrays, case.arrays["weight"].shape[3]
    channels = outputs // 2 if outputs % 2 == 0 else outputs
    x = np.take(arrays["x"], np.arange(channels) % arrays["x"].shape[3], axis=3)
    return InputCase({**arrays, "x": x, "weight": arrays["weight"][:, :, :1]}, {**case.options, "groups": channels})


def with_geometry(fixed: Mapping[str, Any]) -> Check:
    """The Check with the input cases of a target that has only one stride, dilation, number of groups or padding, has
    no bias or always one, or is depthwise.
    """
    told = {name: value for name, value in fixed.items() if name == "padding" or (name, value) == ("bias", False)}
    if fixed.get("depthwise"):
        edges = (case for case in EDGES if not USUALLY.keys() & case.options.keys())
        return dataclasses.replace(CHECK, typical=tuple(map(_depthwise, TYPICAL)), edges=tuple(map(_depthwise, edges)),
                                   drawn=lambda seed: _depthwise(drawn(seed)))

    def fits(case):
        return all(case.options.get(name, USUALLY.get(name)) == value for name, value in fixed.items()
                   if name not in told)

    def cases(all_cases):
        return tuple(InputCase(case.arrays, {**case.options, **told}) for case in all_cases if fits(case))

    @functools.lru_cache(maxsize=64)
    def next_drawn(seed):
        return cases(next((case,) for case in (drawn(seed + 1001 * k) for k in range(1000)) if fits(case)))[0]

    catalogue = (*CHECK.catalogue, PADS_BY_ITSELF) if "padding" in told else CHECK.catalogue
    return dataclasses.replace(CHECK, catalogue=catalogue, typical=cases(TYPICAL), edges=cases(EDGES),
                               drawn=next_drawn)


@tries_frameworks
def check_ws_conv(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
                  **options: Any) -> Verdict:
    """The Verdict on a convolution with scaled weight standardization, or on a bare `standardize(weight[, gain])`.

    target: a torch module class or factory (in_channels, out_channels, kernel_size, stride=, groups=) with an OIHW
    weight, a gain and a bias; or a function of a weight (OIHW in torch, HWIO elsewhere; or option layout="HWIO").
    options are passed to the target. InputError when it cannot be used.
    """
    adapter = convolution_adapter(target, framework, options)
    check = FUNCTION_CHECK if adapter.fixed.get("is_function") else with_geometry(adapter.fixed)
    return compare(check, adapter.run, target=name or title_of(target), framework=adapter.framework, examples=examples,
                   notes=adapter.notes)
