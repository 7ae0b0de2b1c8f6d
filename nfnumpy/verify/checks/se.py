"""Squeeze-and-excite.

The reference: functional/squeeze_excite.py (1709.01507, eq. 2-4; the factor 2 is that of 2101.08692, section 4.2, and
of the authors' released code); the hidden width: nn/layers.py.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...autograd import Tensor, no_grad
from ..adapters import title_of
from ..adapters.se import IN_EVALUATION, LEAVES, squeeze_excite_adapter
from ..compare import Check, InputCase, compare
from ..frameworks import tries_frameworks
from ..variants.squeeze_excite import CATALOGUE, OF_MODULES, SqueezeExciteRules, excited
from ..verdict import Verdict

RULES = SqueezeExciteRules()


def parameters(case: InputCase, rules: SqueezeExciteRules = RULES) -> Mapping[str, np.ndarray]:
    """The four parameters in their layout (in, out), with the hidden layer as wide as `rules` make it."""
    hidden = case.options.get("hidden")
    if hidden is None:
        hidden = rules.hidden(case.options["channels"], case.options["ratio"])
    weight0, bias0, weight1, bias1 = (case.arrays[name] for name in LEAVES)
    return dict(zip(LEAVES, (weight0[:, :hidden], bias0[:hidden], weight1[:hidden], bias1), strict=True))


def reference(case: InputCase, rules: SqueezeExciteRules) -> Mapping[str, np.ndarray]:
    """The output, all gradients, and the output in evaluation."""
    leaves = {name: Tensor(array, requires_grad=True) for name, array in parameters(case, rules).items()}
    x = Tensor(case.arrays["x"], requires_grad=True)
    out = excited(x, *leaves.values(), rules=rules)
    if out.node is not None:  # else everything is detached
        out.backward(np.resize(case.arrays["cotangent"], out.shape).astype(out.dtype))
    return {"output": out.data,
            **{f"gradient of {name}": np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad
               for name, leaf in {"x": x, **leaves}.items()},
            IN_EVALUATION: _in_evaluation(x, leaves.values(), rules, out)}


def _in_evaluation(x, leaves, rules, out):
    """The output in evaluation; out: that in training."""
    if not rules.evaluated:
        return out.data
    with no_grad():
        return excited(x, *leaves, rules=rules.in_evaluation()).data


def _case(seed, *, channels, ratio, size=(4, 4), count=2, scale=1.0, wide=None):
    random = np.random.default_rng([3, seed])
    wide = 2 * channels + 16 if wide is None else wide  # wider than any rule on the hidden width makes it
    arrays = {"x": scale * (random.standard_normal((count, *size, channels)) + 0.5 * random.standard_normal(channels)),
              "fc0.weight": random.standard_normal((channels, wide)) * (2.0 / np.sqrt(channels)),
              "fc0.bias": 0.5 * random.standard_normal(wide),
              "fc1.weight": random.standard_normal((wide, channels)) * (2.0 / np.sqrt(max(1.0, channels * ratio))),
              "fc1.bias": 0.5 * random.standard_normal(channels), "cotangent": random.standard_normal(11)}
    return InputCase({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"channels": channels, "ratio": ratio})


TYPICAL = (_case(1, channels=32, ratio=0.5, size=(6, 6)), _case(2, channels=64, ratio=0.5, size=(7, 5)))
EDGES = (_case(3, channels=16, ratio=0.5, size=(3, 5), count=3, scale=4.0), _case(4, channels=27, ratio=0.5),
         _case(5, channels=33, ratio=0.25, size=(1, 1)), _case(6, channels=3, ratio=0.25, count=1),
         _case(7, channels=1, ratio=0.5, size=(2, 3), count=1))


@functools.lru_cache(maxsize=64)
def drawn(seed: int) -> InputCase:
    """Sizes and ratios at random."""
    random = np.random.default_rng([13, seed])
    return _case(1000 + seed, channels=int(random.integers(4, 41)), ratio=float(random.choice([0.25, 0.5, 1.0])),
                    size=tuple(int(size) for size in random.integers(1, 7, 2)), count=int(random.integers(1, 4)),
                    scale=float(random.choice([0.3, 1.0, 3.0])))


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer examples and pixels, and rounder numbers."""
    arrays, options = case.arrays, case.options
    x = arrays["x"]
    if len(x) > 1:
        yield InputCase({**arrays, "x": x[:1]}, options)
    for axis in (1, 2):
        if x.shape[axis] > 1:
            yield InputCase({**arrays, "x": np.take(x, range(x.shape[axis] - 1), axis=axis)}, options)
    if x.shape[3] > 1 and "hidden" not in options:
        channels = x.shape[3] - 1
        wide = 2 * channels + 16
        yield InputCase({**arrays, "x": x[..., :-1], "fc0.weight": arrays["fc0.weight"][:-1, :wide],
                       "fc0.bias": arrays["fc0.bias"][:wide], "fc1.weight": arrays["fc1.weight"][:wide, :-1],
                       "fc1.bias": arrays["fc1.bias"][:-1]}, {**options, "channels": channels})
    for name, array in arrays.items():
        rounder = np.round(array, 1)
        if not np.array_equal(rounder, array):
            yield InputCase({**arrays, name: rounder}, options)


def scales(case: InputCase) -> Mapping[str, float]:
    """Gradients of the gates are sums over the image of terms of both signs, and parts of the gradient of x."""
    x = case.arrays["x"]
    cotangent = np.resize(case.arrays["cotangent"], x.shape)
    of_a_gate = float(np.max(np.sum(np.abs(x * cotangent), axis=(1, 2))))
    of_x = 2.0 * float(np.max(np.abs(cotangent))) + of_a_gate / (x.shape[1] * x.shape[2])
    return {"gradient of x": of_x, **{f"gradient of {name}": of_a_gate for name in LEAVES}}


CHECK = Check("se", reference, RULES, (*CATALOGUE, *OF_MODULES), TYPICAL, EDGES, drawn, smaller, scales)


@tries_frameworks
def check_se(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
             **options: Any) -> Verdict:
    """The Verdict on a squeeze-and-excite module.

    target: a torch module class or factory of (channels, ratio or reduction or hidden width) with two linear layers or
    1×1 convolutions, a module instance, or a function of (x, weight0, bias0, weight1, bias1): x NCHW and weights (out,
    in) in torch, x NHWC and weights (in, out) elsewhere. options are passed to the target. InputError when it cannot be
    used.
    """
    adapter = squeeze_excite_adapter(target, framework, options, parameters)
    check = _of_one_width(**adapter.fixed) if adapter.fixed else CHECK
    return compare(check, adapter.run, target=name or title_of(target), framework=adapter.framework, examples=examples,
                   notes=adapter.notes)


def _of_one_width(channels, hidden):
    """The Check of a module that exists already and has its widths."""
    def case(seed, **sizes):
        drawn = _case(seed, channels=channels, ratio=hidden / channels, wide=hidden, **sizes)
        return InputCase(drawn.arrays, {**drawn.options, "hidden": hidden})

    return dataclasses.replace(
        CHECK, catalogue=tuple(variant for variant in CHECK.catalogue if "hidden" not in variant.changes),
        typical=(case(1, size=(6, 6)),), edges=(case(2, size=(3, 5), count=3, scale=4.0),),
        drawn=lambda seed: case(1000 + seed, size=(1 + seed % 5, 1 + seed % 3)))
