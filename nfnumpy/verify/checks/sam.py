"""Sharpness-aware minimization: two whole steps with SGD, momentum included.

The reference: optim/sam.py (2010.01412, eq. 2 and algorithm 1) around optim/sgd.py.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...functional.activations import sigmoid
from ...optim import SAM, SGD, clipped_update
from ..adapters import RECORDED, asked_uses, title_of
from ..adapters.layer_sam import STEPS
from ..adapters.sam import FROZEN, NAMES, sam_adapter
from ..compare import Check, InputCase, compare
from ..tolerance import UNKNOWN
from ..variants.sam import CATALOGUE, SUFFIXES, USES, Arrays, SAMRules
from ..verdict import Verdict


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
        if step == 1 or not rules.keeps_ascent:
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
    use = case.options["use"]
    rules, recorded = rules.used(use), np.asarray(float(rules.closure_records))
    outputs = _by_nfnumpy(case) if rules == SAMRules() else _by_rules(case, rules)
    named = {f"{name}{SUFFIXES[use]}": np.concatenate([np.ravel(part) for part in parts]) if use in rules.uses
             else UNKNOWN for name, parts in outputs.items()}
    return {RECORDED: recorded, **named}


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
