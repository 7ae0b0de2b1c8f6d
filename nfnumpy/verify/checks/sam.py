"""Sharpness-aware minimization: two whole steps with SGD, momentum included.

The reference: optim/sam.py (2010.01412, eq. 2 and algorithm 1) around optim/sgd.py.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...functional.activations import sigmoid
from ...optim import SAM, SGD, clipped_update
from ..adapters import asked_uses, title_of
from ..adapters.sam import FROZEN, NAMES, STEPS, SUFFIXES, sam_adapter
from ..compare import Check, InputCase, compare
from ..tolerance import UNKNOWN
from ..variants import KnownVariant
from ..verdict import Verdict

Arrays = Sequence[np.ndarray]

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
    g = 0; uses: those in which it does the same as ever; saves_momentum: whether state_dict has the momentum.
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


def _gradients(weights, arrays, frozen=None):
    """Of Σ log(1 + exp(M·w - t)) + (w·w)²/4, for a list of tensors; 0 for the frozen one."""
    flat = np.concatenate([np.ravel(weight) for weight in weights])
    grad = arrays["mixing"].T @ sigmoid(arrays["mixing"] @ flat - arrays["offset"]) + flat * (flat @ flat)
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    parts = [part.reshape(weight.shape) for part, weight in zip(np.split(grad, ends), weights, strict=True)]
    return [np.zeros_like(part) if name == frozen else part for name, part in zip(NAMES, parts, strict=True)]


def _perturbation(weights, grads, options, rules):
    """e for every tensor."""
    dtype = grads[0].dtype.type
    scaled = [(rules.scale(name, w) * g).astype(g.dtype) for name, w, g in zip(NAMES, weights, grads, strict=True)]
    divisors = [norm + dtype(rules.eps) for norm in rules.norms(scaled)]
    if rules.guards_zero:
        divisors = [np.where(divisor > 0.0, divisor, dtype(1.0)) for divisor in divisors]
    rho = rules.direction * options["rho"] * (options["lr"] if rules.times_rate else 1.0)
    scaled = [rules.final_scale(name, w) * g for name, w, g in zip(NAMES, weights, scaled, strict=True)]
    return [(dtype(rho) * g / divisor).astype(g.dtype) for g, divisor in zip(scaled, divisors, strict=True)]


class _PlainSGD:
    """optim.clipped_update without clipping and decay, which remembers the velocities."""

    def __init__(self, weights, options):
        self.options, self.velocities = options, [np.zeros_like(weight) for weight in weights]

    def step(self, starts: Arrays, grads: Arrays) -> list[np.ndarray]:
        """The weights after a step from `starts`."""
        weights, self.velocities, _ = clipped_update(
            list(starts), list(grads), self.velocities, lr=self.options["lr"], momentum=self.options["momentum"],
            nesterov=self.options["nesterov"], weight_decays=[0.0] * len(starts), clippings=[None] * len(starts))
        return weights


def _frozen(case):
    return FROZEN if case.options["use"] == "frozen" else None


def _by_rules(case, rules):
    """The weights after the ascent and after each of two steps, in plain NumPy."""
    arrays, options = case.arrays, case.options
    weights, outputs, frozen = [arrays[name] for name in NAMES], {}, _frozen(case)
    optimizer = _PlainSGD(weights, options)
    for step in range(1, STEPS + 1):
        here = _gradients(weights, arrays, frozen)
        perturbation = _perturbation(weights, here, options, rules)
        above = [weight + e for weight, e in zip(weights, perturbation, strict=True)]
        grads = rules.gradients(here, _gradients(above, arrays, frozen))
        if rules.momentum_of_both:
            optimizer.step(weights, here)
        starts = weights
        if rules.removals != 1.0:
            starts = [point - rules.removals * e for point, e in zip(above, perturbation, strict=True)]
        weights = optimizer.step(starts, grads)
        outputs.setdefault("weights after the ascent", above)
        outputs[f"weights after step {step}"] = weights
        if options["use"] == "restored" and not rules.saves_momentum:
            optimizer = _PlainSGD(weights, options)
    return outputs


def _by_nfnumpy(case):
    """The same by nfnumpy.optim."""
    arrays, options, outputs = case.arrays, case.options, {}
    parameters = {name: Tensor(np.asarray(arrays[name]), requires_grad=True) for name in NAMES}
    sgd = SGD(parameters, lr=options["lr"], momentum=options["momentum"], nesterov=options["nesterov"],
              weight_decay=0.0, clipping=None)
    sam = SAM(sgd, rho=options["rho"])

    def weights():
        return [parameters[name].data for name in NAMES]

    for step in range(1, STEPS + 1):
        for stage in (sam.first_step, sam.second_step):
            for parameter, grad in zip(parameters.values(), _gradients(weights(), arrays, _frozen(case)), strict=True):
                parameter.grad = np.asarray(grad)
            stage()
            outputs.setdefault("weights after the ascent", weights())
        outputs[f"weights after step {step}"] = weights()
    return outputs


def reference(case: InputCase, rules: SAMRules) -> Mapping[str, np.ndarray]:
    """All weights as one vector: where the second gradient is computed, and after each of two steps."""
    outputs, use = _by_nfnumpy(case) if rules == SAMRules() else _by_rules(case, rules), case.options["use"]
    return {f"{name}{SUFFIXES[use]}": np.concatenate([np.ravel(part) for part in parts]) if use in rules.uses
            else UNKNOWN for name, parts in outputs.items()}


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
    KnownVariant("momentum takes both gradients", {"momentum_of_both": True}, "The ascent's gradient enters the "
                 "momentum buffer too."),
    *_adaptive(),
    KnownVariant("nothing moves", {"direction": 0.0, "gradients": lambda here, above: [0.0 * grad for grad in here]},
                 "No step changes the weights."),
)
USES = (KnownVariant("momentum lost with state_dict", {"saves_momentum": False}, "state_dict has the wrapper's own "
                     "state and not that of the optimizer inside: after load_state_dict its momentum starts from "
                     "zero."),
        *(KnownVariant(f"wrong{suffix}", {"uses": frozenset(SUFFIXES) - {use}}, f"The optimizer does something else "
                          f"{suffix.strip(' ,')}. {advice}", is_open=True) for use, suffix, advice in (
    (use, SUFFIXES[use], advice) for use, advice in (
        ("generator", "A generator, such as model.parameters(), is empty after its first use: keep list(parameters)."),
        ("groups", "The paper's norm is over the parameters of all groups."),
        ("frozen", "A frozen layer's parameters are to stay as they are, and the others to move as ever."),
        ("restored", "The state that it saves is not all that it needs to go on.")))))


SHAPES = {"conv.weight": (2, 1, 1, 2), "conv.gain": (2, 1, 1, 1), "conv.bias": (2,), "norm.weight": (2,),
          "block.skip_gain": (1,), "head.weight": (1, 2), "head.bias": (1,), "mixing": (5, 14), "offset": (5,)}


def _case(seed, *, rho, lr=0.1, momentum=0.9, nesterov=True, scale=1.0, zero=False, use="plain"):
    random = np.random.default_rng([7, seed])
    sizes = {"mixing": 0.6, "offset": 0.5}
    arrays = {name: sizes.get(name, scale * 0.4) * random.standard_normal(shape) for name, shape in SHAPES.items()}
    if zero:
        arrays = {name: np.zeros_like(array) for name, array in arrays.items()}
    return InputCase({name: np.asarray(array, dtype=np.float32).astype(np.float64) for name, array in arrays.items()},
                     {"rho": rho, "lr": lr, "momentum": momentum, "nesterov": nesterov, "use": use})


@functools.cache
def check_for(rho: float | None = None, momentum: float | None = None, nesterov: bool | None = None,
              uses: tuple[str, ...] = ()) -> Check:
    """The Check of a target that takes any rho, momentum and nesterov (None), or has only one value of them.

    uses: how else the target is used.
    """
    def case(seed, usual_rho, usual_momentum=0.9, usual_nesterov=True, **others):
        m = usual_momentum if momentum is None else momentum
        return _case(seed, rho=usual_rho if rho is None else rho, momentum=m,
                     nesterov=bool(m) and (usual_nesterov if nesterov is None else nesterov), **others)

    @functools.lru_cache(maxsize=64)
    def drawn(seed):
        random = np.random.default_rng([8, seed])
        return case(100 + seed, float(random.choice([0.01, 0.05, 0.2])), float(random.choice([0.0, 0.9])),
                    bool(random.integers(2)), lr=float(random.choice([0.03, 0.1])))

    typical = (case(1, 0.05), case(2, 0.05))
    edges = (case(3, 0.5), case(4, 0.1, 0.9, False), case(5, 0.1, 0.0, False), case(6, 0.05, scale=0.05),
             case(7, 0.05, zero=True), *(case(20 + k, 0.05, use=use) for k, use in enumerate(uses)))
    catalogue = (*CATALOGUE, *USES) if uses else CATALOGUE
    return Check("sam", reference, SAMRules(), catalogue, typical, edges, drawn, smaller)


def smaller(case: InputCase) -> Iterator[InputCase]:
    """No momentum, one tensor of weights at zero, fewer rows of the loss, rounder numbers."""
    arrays, options = case.arrays, case.options
    if options["nesterov"]:
        yield InputCase(arrays, {**options, "nesterov": False})
    elif options["momentum"]:
        yield InputCase(arrays, {**options, "momentum": 0.0})
    for name in NAMES:
        if arrays[name].any():
            yield InputCase({**arrays, name: np.zeros_like(arrays[name])}, options)
    if len(arrays["offset"]) > 1:
        yield InputCase({**arrays, "mixing": arrays["mixing"][:1], "offset": arrays["offset"][:1]}, options)
    for name, array in arrays.items():
        for rounder in (np.zeros_like(array), np.round(array), np.round(array, 1)):
            if not np.array_equal(rounder, array):
                yield InputCase({**arrays, name: rounder}, options)


def check_sam(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
              **options: Any) -> Verdict:
    """The Verdict on an optimizer for sharpness-aware minimization (see adapters/sam.py).

    options go to the target; rho is the reference's too. InputError when it cannot be used.
    """
    adapter = sam_adapter(target, framework, options)
    uses, notes = asked_uses(adapter, SUFFIXES, lambda use: check_for(**adapter.fixed, uses=(use,)).edges[-1])
    return compare(check_for(**adapter.fixed, uses=uses), adapter.run, target=name or title_of(target),
                   framework=adapter.framework, examples=examples, notes=(*adapter.notes, *notes))
