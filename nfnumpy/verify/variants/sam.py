"""Sharpness-aware minimization by rules that can be changed, and its known variants.

Source: 2010.01412, eq. 2 and algorithm 1; the adaptive form is 2102.11600.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import KnownVariant

Arrays = Sequence[np.ndarray]
# Ends of the names of results, by how the optimizer is used.
SUFFIXES = {"plain": "", "generator": ", parameters given by a generator", "groups": ", parameters given in groups",
            "frozen": " beside a parameter without a gradient", "restored": " after state_dict there and back",
            "closure": " by step(closure)"}

# The norms that the gradients (a list of arrays) are divided by, one for each.


def norm_of_everything(grads: Arrays) -> list:
    """The L2 norm of all gradients as one vector."""
    return [np.sqrt(_total(_squared_sums(grads)))] * len(grads)


def _squared_sums(grads):
    return [grad.dtype.type(np.sum(grad * grad)) for grad in grads]


def _total(numbers):
    """The sum in the numbers' dtype."""
    return numbers[0].dtype.type(np.sum(numbers))


def _norm_per_tensor(grads):
    return [np.sqrt(total) for total in _squared_sums(grads)]


def _squared_norm(grads):
    whole = norm_of_everything(grads)[0]
    return [whole * whole] * len(grads)


def _no_norm(grads):
    return [grads[0].dtype.type(1.0)] * len(grads)


def _l1_norm(grads):
    return [_total([grad.dtype.type(np.sum(np.abs(grad))) for grad in grads])] * len(grads)


def _largest_magnitude(grads):
    return [grads[0].dtype.type(max(np.max(np.abs(grad)) for grad in grads))] * len(grads)


def _mean_over_tensors(grads):
    return [np.sqrt(grads[0].dtype.type(np.mean(_squared_sums(grads))))] * len(grads)


def _number_by_number(grads):
    return [np.abs(grad) for grad in grads]


def unscaled(name: str, weight: np.ndarray) -> float:
    """1."""
    return 1.0


def _magnitude(name, weight):
    return np.abs(weight)


def _magnitude_and_more(name, weight):
    return np.abs(weight) + weight.dtype.type(0.01)


def _for_weights_alone(scale):
    return lambda name, weight: scale(name, weight) if "weight" in name else 1.0


def gradients_above(here: Arrays, above: Arrays) -> Arrays:
    """Of the gradients at w and at w + e, those at w + e."""
    return above


@dataclasses.dataclass(frozen=True)
class SAMRules:
    """w ← w - step(∇L(w + e)), e = rho·g/‖g‖ with g = ∇L(w).

    norms(grads): ‖g‖; eps: added to it; scale(name, w): of g before its norm, final_scale(name, w): of e; direction:
    of rho; times_rate: e times the learning rate; removals: how often e is subtracted again; gradients(at w, at w + e):
    of the step; momentum_of_both: whether the ascent's gradient enters the momentum; guards_zero: whether e = 0 where
    g = 0; uses: those in which it does the same as ever; saves_momentum: whether state_dict has the momentum;
    keeps_ascent: whether the first step's e is used in all; by_closure: the rules that are others in step(closure);
    closure_records: whether its closure can compute gradients.
    """

    norms: Callable[[Arrays], list] = norm_of_everything
    eps: float = 0.0
    scale: Callable[[str, np.ndarray], np.ndarray | float] = unscaled
    final_scale: Callable[[str, np.ndarray], np.ndarray | float] = unscaled
    direction: float = 1.0
    times_rate: bool = False
    removals: float = 1.0
    gradients: Callable[[Arrays, Arrays], Arrays] = gradients_above
    momentum_of_both: bool = False
    guards_zero: bool = True
    uses: frozenset[str] = frozenset(SUFFIXES)
    saves_momentum: bool = True
    keeps_ascent: bool = False
    by_closure: tuple[tuple[str, Any], ...] = ()
    closure_records: bool = True

    def used(self, use: str) -> "SAMRules":
        """The rules in a use."""
        return dataclasses.replace(self, **dict(self.by_closure), by_closure=()) if use == "closure" else self


def _sum(here, above):
    return [one + other for one, other in zip(here, above, strict=True)]


def _mean(here, above):
    return [0.5 * (one + other) for one, other in zip(here, above, strict=True)]


def _adaptive():
    for name, scale, what in (("for weights alone", _magnitude, "|w|"),
                              ("with 0.01 added", _magnitude_and_more, "|w| + 0.01"),
                              ("for weights alone, with 0.01 added", _magnitude_and_more, "|w| + 0.01")):
        where = " of parameters with \"weight\" in their names, and the others' as in SAM" if "alone" in name else ""
        scale = _for_weights_alone(scale) if "alone" in name else scale
        yield KnownVariant(f"adaptive (ASAM) {name}", {"scale": scale, "final_scale": scale}, f"The gradients{where} "
                 "are "
                           f"multiplied by {what} before and after their norm: adaptive SAM (2102.11600), a method of "
                           "its own; rho has to be about ten times as large.")


CATALOGUE = (
    *(KnownVariant(f"{eps:g} added to the norm", {"eps": eps}, f"{eps:g} is added to ‖g‖, so that a zero gradient does "
                   f"no harm. The ascent is shorter by {eps:g}/‖g‖ of itself.", benign=True)
      for eps in (1e-12, 1e-8, 1e-7, 1e-6)),
    KnownVariant("zero gradient not guarded", {"guards_zero": False}, "A gradient that is exactly zero is divided by "
                 "its norm: the weights become NaN. The reference stays where it is. It hardly happens outside of "
                 "tests.", benign=True),
    KnownVariant("norm per tensor", {"norms": _norm_per_tensor}, "Every parameter's gradient is divided by its own "
                 "norm; the paper has one norm over all. The ascent is longer by the root of the number of tensors, "
                 "and points elsewhere."),
    KnownVariant("no normalization", {"norms": _no_norm}, "The ascent is rho·g and not rho·g/‖g‖."),
    KnownVariant("divided by the squared norm", {"norms": _squared_norm}, "The ascent is rho·g/‖g‖²: the root is "
                 "missing."),
    KnownVariant("L1 norm", {"norms": _l1_norm}, "The sum of magnitudes takes the place of the L2 norm."),
    KnownVariant("largest magnitude for norm", {"norms": _largest_magnitude}, "The gradient is divided by its largest "
                 "magnitude."),
    KnownVariant("sign of the gradient", {"norms": _number_by_number}, "The ascent is rho·sign(g)."),
    KnownVariant("mean over tensors in the norm", {"norms": _mean_over_tensors}, "The squared norms of the tensors are "
                 "averaged and not added up."),
    KnownVariant("adaptive (ASAM)", {"scale": _magnitude, "final_scale": _magnitude}, "The ascent is rho·w²·g/‖|w|·g‖: "
                 "adaptive SAM (2102.11600), a method of its own; rho has to be about ten times as large."),
    KnownVariant("scaled by |w| once", {"scale": _magnitude}, "The ascent is rho·|w|·g/‖|w|·g‖: adaptive SAM has w² on "
                 "top."),
    KnownVariant("downhill", {"direction": -1.0}, "The perturbation is subtracted: it goes down and not up."),
    KnownVariant("ascent doubled", {"direction": 2.0}, "The perturbation is added twice, and all of it is taken off "
                 "again: rho is doubled."),
    KnownVariant("no ascent", {"direction": 0.0}, "The second gradient is taken at w: it is plain SGD at twice the "
                 "price."),
    KnownVariant("ascent times the learning rate", {"times_rate": True}, "The perturbation is multiplied by the "
                 "learning rate, as an optimizer would."),
    KnownVariant("perturbation not removed", {"removals": 0.0}, "The step starts from w + e and not from w: e is never "
                 "taken off, and the weights move uphill by rho every step."),
    KnownVariant("perturbation removed twice", {"removals": 2.0}, "e is subtracted twice: the step starts from w - e."),
    KnownVariant("perturbation added again", {"removals": -1.0}, "e is added once more where it should be taken off."),
    KnownVariant("gradients of both points summed", {"gradients": _sum}, "The gradient at w was not forgotten: the "
                 "step uses its sum with that at w + e."),
    KnownVariant("mean of both gradients", {"gradients": _mean}, "The step uses the mean of the gradients at w and w + "
                 "e."),
    KnownVariant("gradient at w", {"gradients": lambda here, above: here}, "The step uses the gradient at w; that at w "
                 "+ e has no effect."),
    KnownVariant("perturbation of the first step kept", {"keeps_ascent": True}, "The perturbation is computed once; "
                 "later steps use that of the first one."),
    KnownVariant("momentum takes both gradients", {"momentum_of_both": True}, "The ascent's gradient enters the "
                 "momentum buffer too."),
    *_adaptive(),
    KnownVariant("step(closure) computes without gradients", {"closure_records": False}, "The closure is called where "
                 "gradients are not recorded (inside torch.no_grad), so that its backward pass fails. Call it inside "
                 "torch.enable_grad()."),
    KnownVariant("nothing moves", {"direction": 0.0, "gradients": lambda here, above: [0.0 * grad for grad in here]},
                 "No step changes the weights."),
)
USES = (KnownVariant("momentum lost with state_dict", {"saves_momentum": False}, "state_dict has the wrapper's own "
                     "state and not that of the optimizer inside: after load_state_dict its momentum starts from "
                     "zero."),
        KnownVariant("step(closure) is a plain step", {"by_closure": (("direction", 0.0),)}, "step(closure) makes a "
                     "step of the optimizer inside: the gradient is that at w, without an ascent."),
        *(KnownVariant(f"wrong{suffix}", {"uses": frozenset(SUFFIXES) - {use}}, f"The optimizer does something else "
                          f"{suffix.strip(' ,')}. {advice}", is_open=True) for use, suffix, advice in (
    (use, SUFFIXES[use], advice) for use, advice in (
        ("generator", "A generator, such as model.parameters(), is empty after its first use: keep list(parameters)."),
        ("groups", "The paper's norm is over the parameters of all groups."),
        ("frozen", "A frozen layer's parameters are to stay as they are, and the others to move as ever."),
        ("restored", "The state that it saves is not all that it needs to go on."),
        ("closure", "It is to do the same as first_step and second_step with the closure's gradients.")))))
