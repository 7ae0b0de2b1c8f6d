"""Sharpness-aware minimization: two whole steps with SGD, momentum included.

The reference: optim/sam.py (2010.01412, eq. 2 and algorithm 1) around optim/sgd.py.
"""

import dataclasses
import functools

import numpy as np

from ...autograd import Tensor
from ...functional.activations import sigmoid
from ...optim import SAM, SGD
from ..compare import Kind, Problem, judge
from ..variants import Entry
from ..adapters.sharpness import NAMES, STEPS, sam_subject


@dataclasses.dataclass(frozen=True)
class Rules:
    """w ← w - step(∇L(w + rho·g/‖g‖)) with g = ∇L(w), and what else it has been taken for."""

    norm: str = "of everything"
    eps: float = 0.0
    scaling: str = "none"
    direction: float = 1.0  # times rho
    times_rate: bool = False
    taken_off: float = 1.0  # how often e is subtracted again
    gradient: str = "above"
    momentum: str = "the descent only"
    zero_guarded: bool = True


def _gradients(weights, arrays):
    """Of Σ log(1 + exp(M·w - t)) + (w·w)²/4, for a list of tensors."""
    flat = np.concatenate([np.ravel(weight) for weight in weights])
    grad = arrays["mixing"].T @ sigmoid(arrays["mixing"] @ flat - arrays["offset"]) + flat * (flat @ flat)
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    return [part.reshape(weight.shape) for part, weight in zip(np.split(grad, ends), weights)]


def _climb(weights, grads, options, rules):
    """e for every tensor."""
    dtype = grads[0].dtype.type
    scaled = {"none": grads, "by w² (ASAM)": [np.abs(w) * g for w, g in zip(weights, grads)],
              "by |w|": [np.abs(w) * g for w, g in zip(weights, grads)]}[rules.scaling]
    sums = [dtype(np.sum(g * g)) for g in scaled]
    whole = np.sqrt(dtype(np.sum(sums)))
    norms = {"of everything": [whole] * len(grads), "per tensor": [np.sqrt(total) for total in sums],
             "squared": [whole * whole] * len(grads), "none": [dtype(1.0)] * len(grads),
             "L1": [dtype(np.sum([np.sum(np.abs(g)) for g in scaled]))] * len(grads),
             "largest magnitude": [dtype(np.max([np.max(np.abs(g)) for g in scaled]))] * len(grads),
             "number by number": [np.abs(g) for g in scaled],
             "mean over tensors": [np.sqrt(dtype(np.mean(sums)))] * len(grads)}[rules.norm]
    divisors = [norm + dtype(rules.eps) for norm in norms]
    if rules.zero_guarded:
        divisors = [np.where(divisor > 0.0, divisor, dtype(1.0)) for divisor in divisors]
    rho = rules.direction * options["rho"] * (options["lr"] if rules.times_rate else 1.0)
    if rules.scaling == "by w² (ASAM)":
        scaled = [np.abs(w) * g for w, g in zip(weights, scaled)]
    return [(dtype(rho) * g / divisor).astype(g.dtype) for g, divisor in zip(scaled, divisors)]


def _by_rules(problem, rules):
    """Two steps, the slow and plain way."""
    arrays, options = problem.arrays, problem.options
    weights, answer = [arrays[name] for name in NAMES], {}
    velocities = [np.zeros_like(weight) for weight in weights]

    def stepped(starts, grads):
        momentum = options["momentum"]
        for place, grad in enumerate(grads):
            velocities[place] = momentum * velocities[place] + grad
        return [start - options["lr"] * (grad + momentum * velocity if options["nesterov"] else velocity)
                for start, grad, velocity in zip(starts, grads, velocities)]

    for step in range(1, STEPS + 1):
        here = _gradients(weights, arrays)
        climb = _climb(weights, here, options, rules)
        above = [weight + e for weight, e in zip(weights, climb)]
        there = _gradients(above, arrays)
        grads = {"above": there, "sum": [one + other for one, other in zip(here, there)],
                 "mean": [0.5 * (one + other) for one, other in zip(here, there)], "at w": here}[rules.gradient]
        if rules.momentum == "both steps":
            stepped(weights, here)
        weights = stepped([point - rules.taken_off * e for point, e in zip(above, climb)]
                          if rules.taken_off != 1.0 else weights, grads)
        if step == 1:
            answer["weights after the ascent"] = above
        answer[f"weights after step {step}"] = weights
    return answer


def reference(problem, rules):
    """All weights as one vector: where the second gradient is taken, and after each of two steps."""
    if rules != Rules():
        answer = _by_rules(problem, rules)
    else:
        arrays, options, answer = problem.arrays, problem.options, {}
        parameters = {name: Tensor(np.asarray(arrays[name]), requires_grad=True) for name in NAMES}
        sam = SAM(SGD(parameters, lr=options["lr"], momentum=options["momentum"], nesterov=options["nesterov"],
                      weight_decay=0.0, clipping=None), rho=options["rho"])

        def weights():
            return [parameters[name].data for name in NAMES]

        for step in range(1, STEPS + 1):
            for way in (sam.first_step, sam.second_step):
                for parameter, grad in zip(parameters.values(), _gradients(weights(), arrays)):
                    parameter.grad = np.asarray(grad)
                way()
                answer.setdefault("weights after the ascent", weights())
            answer[f"weights after step {step}"] = weights()
    return {name: np.concatenate([np.ravel(part) for part in parts]) for name, parts in answer.items()}


CATALOGUE = (
    *(Entry(f"{eps:g} added to the norm", {"eps": eps}, f"{eps:g} is added to ‖g‖, so that a zero gradient does no "
            f"harm. The ascent is shorter by {eps:g}/‖g‖ of itself.", harmless=True)
      for eps in (1e-12, 1e-8, 1e-7, 1e-6)),
    Entry("zero gradient not guarded", {"zero_guarded": False}, "A gradient that is exactly zero is divided by its "
          "norm: the weights become NaN. The reference stays where it is. It hardly happens outside of tests.",
          harmless=True),
    Entry("norm per tensor", {"norm": "per tensor"}, "Every parameter's gradient is divided by its own norm; the paper "
          "has one norm over all. The ascent is longer by the root of the number of tensors, and points elsewhere."),
    Entry("no normalization", {"norm": "none"}, "The ascent is rho·g and not rho·g/‖g‖."),
    Entry("divided by the squared norm", {"norm": "squared"}, "The ascent is rho·g/‖g‖²: the root is missing."),
    Entry("L1 norm", {"norm": "L1"}, "The sum of magnitudes takes the place of the L2 norm."),
    Entry("largest magnitude for norm", {"norm": "largest magnitude"}, "The gradient is divided by its largest "
          "magnitude."),
    Entry("sign of the gradient", {"norm": "number by number"}, "The ascent is rho·sign(g)."),
    Entry("mean over tensors in the norm", {"norm": "mean over tensors"}, "The squared norms of the tensors are "
          "averaged and not added up."),
    Entry("adaptive (ASAM)", {"scaling": "by w² (ASAM)"}, "The ascent is rho·w²·g/‖|w|·g‖: adaptive SAM (2102.11600), "
          "a method of its own; rho has to be about ten times as large."),
    Entry("scaled by |w| once", {"scaling": "by |w|"}, "The ascent is rho·|w|·g/‖|w|·g‖: adaptive SAM has w² on top."),
    Entry("downhill", {"direction": -1.0}, "The perturbation is subtracted: it goes down and not up."),
    Entry("ascent doubled", {"direction": 2.0}, "The perturbation is added twice, and all of it is taken off again: "
          "rho is doubled."),
    Entry("no ascent", {"direction": 0.0}, "The second gradient is taken at w: it is plain SGD at twice the price."),
    Entry("ascent times the learning rate", {"times_rate": True}, "The perturbation is multiplied by the learning "
          "rate, as an optimizer would."),
    Entry("perturbation not removed", {"taken_off": 0.0}, "The step starts from w + e and not from w: e is never taken "
          "off, and the weights climb by rho every step."),
    Entry("perturbation removed twice", {"taken_off": 2.0}, "e is subtracted twice: the step starts from w - e."),
    Entry("perturbation added again", {"taken_off": -1.0}, "e is added once more where it should be taken off."),
    Entry("gradients of both points summed", {"gradient": "sum"}, "The gradient at w was not forgotten: the step uses "
          "its sum with that at w + e."),
    Entry("mean of both gradients", {"gradient": "mean"}, "The step uses the mean of the gradients at w and w + e."),
    Entry("gradient at w", {"gradient": "at w"}, "The step uses the gradient at w; that at w + e has no effect."),
    Entry("momentum takes both gradients", {"momentum": "both steps"}, "The ascent's gradient enters the momentum "
          "buffer too."),
)


def _problem(seed, *, rho, lr=0.1, momentum=0.9, nesterov=True, scale=1.0, zero=False):
    random = np.random.default_rng([7, seed])
    shapes = {"a": (2, 3), "b": (4,), "c": (1,), "mixing": (5, 11), "offset": (5,)}
    sizes = {"mixing": 0.6, "offset": 0.5}
    arrays = {name: sizes.get(name, scale * 0.4) * random.standard_normal(shape) for name, shape in shapes.items()}
    if zero:
        arrays = {name: np.zeros_like(array) for name, array in arrays.items()}
    return Problem({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                   {"rho": rho, "lr": lr, "momentum": momentum, "nesterov": nesterov})


@functools.cache
def kind_for(rho=None, momentum=None, nesterov=None):
    """The Kind with problems for a target that takes any rho, momentum and nesterov (None), or does only one."""
    def problem(seed, usual_rho, usual_momentum=0.9, usual_nesterov=True, **others):
        m = usual_momentum if momentum is None else momentum
        return _problem(seed, rho=usual_rho if rho is None else rho, momentum=m,
                        nesterov=bool(m) and (usual_nesterov if nesterov is None else nesterov), **others)

    def drawn(seed):
        random = np.random.default_rng([8, seed])
        return problem(100 + seed, float(random.choice([0.01, 0.05, 0.2])), float(random.choice([0.0, 0.9])),
                       bool(random.integers(2)), lr=float(random.choice([0.03, 0.1])))

    return Kind("sam", reference, Rules(), CATALOGUE, (problem(1, 0.05), problem(2, 0.05)),
                (problem(3, 0.5), problem(4, 0.1, 0.9, False), problem(5, 0.1, 0.0, False),
                 problem(6, 0.05, scale=0.05), problem(7, 0.05, zero=True)), drawn, smaller)


def smaller(problem):
    """No momentum, one tensor of weights at zero, fewer rows of the loss, rounder numbers."""
    arrays, options = problem.arrays, problem.options
    if options["nesterov"]:
        yield Problem(arrays, {**options, "nesterov": False})
    elif options["momentum"]:
        yield Problem(arrays, {**options, "momentum": 0.0})
    for name in NAMES:
        if arrays[name].any():
            yield Problem({**arrays, name: np.zeros_like(arrays[name])}, options)
    if len(arrays["offset"]) > 1:
        yield Problem({**arrays, "mixing": arrays["mixing"][:1], "offset": arrays["offset"][:1]}, options)
    for name, array in arrays.items():
        for rounder in (np.zeros_like(array), np.round(array), np.round(array, 1)):
            if not np.array_equal(rounder, array):
                yield Problem({**arrays, name: rounder}, options)


def check_sam(target, *, framework="auto", examples=20, name=None, **options):
    """The Verdict on an optimizer for sharpness-aware minimization (see subjects/sharpness.py).

    options go to the target; rho is told to the reference too. InputError when it cannot be used.
    """
    asked = sam_subject(target, framework, options)
    return judge(kind_for(asked.rho, asked.momentum, asked.nesterov), asked.subject,
                 target=name or getattr(target, "__qualname__", repr(target)), framework=asked.framework,
                 examples=examples, notes=asked.notes)
