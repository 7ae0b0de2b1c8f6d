"""Adaptive gradient clipping by rules that can be changed, the reference first.

Source: 2102.06171, eq. 3 and section 3; the units, the floor of 1e-6 and what is left alone are those of the authors'
released code.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...optim.agc import SMALLEST_GRADIENT_NORM, adaptive_gradient_clip, is_single_unit

Axes = tuple[int, ...] | None  # None: all
Norm = np.ndarray
Use = Callable[[Callable, Mapping], dict[str, np.ndarray]]

# Norms along axes that stay with size 1: functions of (array, axes).


def l2_norm(array: np.ndarray, axes: Axes) -> Norm:
    """The root of the sum of squares."""
    return np.sqrt(sum_of_squares(array, axes))


def sum_of_squares(array: np.ndarray, axes: Axes) -> Norm:
    """Without the root."""
    return np.sum(array * array, axis=axes, keepdims=True)


# What the rules' functions get: g = ‖G‖, w = ‖W‖, c = lambda (clipping), e = eps, limit.


def limit_with_floor(w: Norm, c: float, e: float) -> Norm:
    """lambda·max(‖W‖, eps)."""
    return np.maximum(w, e) * c


def divisor_with_floor(g: Norm, e: float) -> Norm:
    """max(‖G‖, 1e-6)."""
    return np.maximum(g, SMALLEST_GRADIENT_NORM)


def above_the_limit(g: Norm, limit: Norm, divisor: Norm, c: float) -> np.ndarray:
    """‖G‖ > limit."""
    return g > limit


def the_limit(limit: Norm, c: float) -> Norm:
    """What is clipped gets the length of the limit."""
    return limit


def is_last_weight(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is the weight of a model's last layer."""
    return name == "final weight"


def decay_after_clipping(clip: Callable, grads: Mapping, params: Mapping, rate: float) -> dict[str, np.ndarray]:
    """Weight decay is added to the clipped gradients."""
    return decayed(clip(grads), params, rate)


def decayed(grads: Mapping, params: Mapping, rate: float) -> dict[str, np.ndarray]:
    """The gradients plus rate times the parameters."""
    return {name: grad + rate * params[name] for name, grad in grads.items()}


USUAL = "usual"


def as_the_others(shape: tuple[int, ...]) -> Axes | str:
    """No weights have axes of their own."""
    return USUAL


# What comes out of a use: functions of (clip, gradients).


def as_always(clip: Callable, grads: Mapping) -> dict[str, np.ndarray]:
    """Every gradient is clipped."""
    return clip(grads)


@dataclasses.dataclass(frozen=True)
class ClippingRules:
    """G ← G·lambda·max(‖W‖, eps)/‖G‖ where ‖G‖ is more than lambda·max(‖W‖, eps).

    Axes are those of a unit's norm, of (kh, kw, in, out) and (in, out); is_vector(shape): whether the vector's axes
    apply; together: one norm over all parameters; exchanged: clipping and eps change places; chosen(g, limit, divisor,
    c): what is clipped; length(limit, c): that it gets; is_left_alone(name, shape): what is never clipped;
    own_axes(shape): the axes of some weights, where they are not those of the others; first: what comes out of the
    first step or call; keeps_parameters: whether a
    call leaves the parameters as they are; the rest: what comes out of the uses of an optimizer, of the same names as
    in adapters/agc_functions.py; whether a second step measures the new weights; how often its step calls a closure,
    whether with gradients recorded, and whether it returns the loss.
    """

    conv_axes: Axes = (0, 1, 2)
    linear_axes: Axes = (0,)
    vector_axes: Axes = None
    is_vector: Callable[[tuple[int, ...]], bool] = is_single_unit
    together: bool = False
    norm: Callable[[np.ndarray, Axes], Norm] = l2_norm
    limit: Callable[[Norm, float, float], Norm] = limit_with_floor
    divisor: Callable[[Norm, float], Norm] = divisor_with_floor
    exchanged: bool = False
    chosen: Callable[[Norm, Norm, Norm, float], np.ndarray] = above_the_limit
    length: Callable[[Norm, float], Norm] = the_limit
    is_left_alone: Callable[[str, tuple[int, ...]], bool] = is_last_weight
    decay: Callable[[Callable, Mapping, Mapping, float], dict[str, np.ndarray]] = decay_after_clipping
    own_axes: Callable[[tuple[int, ...]], Axes | str] = as_the_others
    first: Use = as_always
    keeps_parameters: bool = True
    generator: Use = as_always
    second: Use = as_always
    closure: Use = as_always
    measures_new_weights: bool = True
    closure_calls: float = 1.0
    closure_records: bool = True
    returns_loss: bool = True
    restored: Use = as_always
    frozen: Use = as_always
    accumulated: Use = as_always
    groups: Use = as_always


AROUND = ("first", "is_left_alone", "decay", "keeps_parameters", "generator", "second", "closure", "closure_calls",
          "closure_records", "returns_loss", "measures_new_weights", "restored", "frozen", "accumulated",
          "groups")  # rules that change nothing in the clipping of one tensor


@functools.lru_cache(maxsize=1024)
def _is_the_papers(rules):
    """Whether one tensor is clipped as in the reference."""
    usual = ClippingRules()
    return dataclasses.replace(rules, **{field: getattr(usual, field) for field in AROUND}) == usual


def clip_by_rules(grad: np.ndarray, param: np.ndarray, everything: Sequence[np.ndarray], options: Mapping[str, Any],
                  rules: ClippingRules) -> np.ndarray:
    """One tensor's gradient by the rules; everything: (all gradients, all parameters), flat."""
    if _is_the_papers(rules):
        return np.asarray(adaptive_gradient_clip(grad, param, clipping=options["clipping"], eps=options["eps"]))
    clipping, eps = options["clipping"], options["eps"]
    if rules.exchanged:
        clipping, eps = eps, clipping
    if rules.together:
        g, w = (rules.norm(flat, (0,)).reshape((1,) * grad.ndim) for flat in everything)
    else:
        axes = _axes(grad.shape, rules)
        g, w = rules.norm(grad, axes), rules.norm(param, axes)
    limit, divisor = rules.limit(w, clipping, eps), rules.divisor(g, eps)
    shortened = grad * (rules.length(limit, clipping) / divisor)
    return np.where(rules.chosen(g, limit, divisor, clipping), shortened, grad)


def _axes(shape, rules):
    own = rules.own_axes(shape)
    if not isinstance(own, str):
        return own
    if rules.is_vector(shape):
        return rules.vector_axes
    return rules.conv_axes if len(shape) == 4 else rules.linear_axes
