"""A nonlinearity: which one it is, and whether its gain gamma is in it.

The reference: functional/activations.py (2101.08692, section 4.1; the constants and the tanh form of GELU are those of
the authors' released code).
"""

import dataclasses
import functools
import math

import numpy as np

from ...errors import InputError
from ...functional.activations import (
    GAMMA,
    NONLINEARITIES,
    glu,
    glu_vjp,
    scaled_nonlinearity,
    scaled_nonlinearity_vjp,
    sigmoid,
)
from .. import tolerance
from ..compare import Kind, Problem, judge
from ..variants import Entry, changed
from ..adapters.activations import activation_subject

KINKS = (0.0, 6.0)  # where a derivative is a matter of taste
STRAIGHT = ("identity", "relu", "leaky_relu")  # g(a·x) = a·g(x) for positive a
MOMENTS = ("of the exact integral", "without subtracting the mean")
GUESSED = tuple(name for name in NONLINEARITIES if name != "gelu_erf")  # it is a form of gelu


@dataclasses.dataclass(frozen=True)
class Rules:
    """gamma·g(x), and what else it has been taken for."""

    name: str = "gelu"
    form: str = "as named"
    gamma: str = "of the released code"
    place: str = "output"


def _quick_gelu(x):
    return x * sigmoid(1.702 * x)


def _hard_swish(x):
    return x * np.clip(x + 3.0, 0.0, 6.0) * (1.0 / 6.0)


def _leaky(slope):
    return (lambda x: np.where(x > 0.0, x, slope * x),
            lambda cotangent, x: np.where(x > 0.0, cotangent, slope * cotangent))


def _elu(alpha):
    return (lambda x: np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0))),
            lambda cotangent, x: cotangent * np.where(x > 0.0, 1.0, alpha * np.exp(np.minimum(x, 0.0))))


FORMS = {  # name: (formula(x), derivative(cotangent, x))
    "x·sigmoid(1.702·x)": (_quick_gelu, lambda cotangent, x: cotangent * (
        sigmoid(1.702 * x) + 1.702 * x * sigmoid(1.702 * x) * sigmoid(-1.702 * x))),
    "hard swish": (_hard_swish, lambda cotangent, x: cotangent * np.where(
        np.abs(x) < 3.0, (2.0 * x + 3.0) / 6.0, np.where(x > 0.0, 1.0, 0.0))),
    **{f"slope {slope:g}": _leaky(slope) for slope in (0.001, 0.1, 0.2, 0.3)},
    **{f"alpha {alpha:g}": _elu(alpha) for alpha in (0.1, 0.5, 2.0)},
    "the other half is the gate": (
        lambda x: glu(_swapped(x)), lambda cotangent, x: _swapped(glu_vjp(cotangent, _swapped(x)))),
}
FORMS_OF = {  # name: {form: harmless}
    "gelu": {"gelu_erf": True, "x·sigmoid(1.702·x)": False},
    "gelu_erf": {"gelu": True, "x·sigmoid(1.702·x)": False},
    "silu": {"hard swish": False, "x·sigmoid(1.702·x)": False},
    "leaky_relu": {f"slope {slope:g}": False for slope in (0.001, 0.1, 0.2, 0.3)},
    "elu": {f"alpha {alpha:g}": False for alpha in (0.1, 0.5, 2.0)},
    "glu": {"the other half is the gate": False}}
SENTENCES = {
    "gelu_erf": "The GELU is the exact x·Φ(x); the authors' code has its tanh approximation. They differ by at most "
                "5e-4, and weights trained with one work with the other.",
    "gelu": "The GELU is its tanh approximation where the exact x·Φ(x) was asked for. They differ by at most 5e-4.",
    "x·sigmoid(1.702·x)": "The nonlinearity is x·sigmoid(1.702·x), a coarser approximation of GELU that is off by up "
                          "to 0.02.",
    "hard swish": "The sigmoid is replaced by straight lines (hard swish); gamma is not its gamma.",
    "the other half is the gate": "The halves of the last axis change places: the first is the gate.",
}


def _swapped(x):
    """With the halves of the last axis exchanged."""
    return np.roll(x, x.shape[-1] // 2, axis=-1)


@functools.cache
def _moments(name):
    """(mean, mean square) of g(z), z ~ N(0, 1), by quadrature between the kinks; None for what is no function of z."""
    if name in ("glu", "log_softmax"):
        return None
    nodes, weights = np.polynomial.legendre.leggauss(30)
    z = np.arange(-12.0, 12.0)[:, None] + 0.5 * (nodes + 1.0)  # a piece from every whole number to the next
    density = 0.5 * weights * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    value = NONLINEARITIES[name][0](z)
    return math.fsum(np.ravel(density * value)), math.fsum(np.ravel(density * value * value))


def gamma_of(rules):
    """The number that `rules.gamma` means."""
    own, moments = GAMMA[rules.name], _moments(rules.name)
    if rules.gamma in GAMMA:
        return GAMMA[rules.gamma]
    if rules.gamma in MOMENTS:
        mean, square = moments
        return (square - (mean * mean if rules.gamma == "of the exact integral" else 0.0)) ** -0.5
    return {"of the released code": own, "left out": 1.0, "squared": own * own, "divided by": 1.0 / own,
            "root of": own**0.5, "√2": 2.0**0.5, "to three digits": float(f"{own:.3g}"),
            "to four digits": float(f"{own:.4g}")}[rules.gamma]


def reference(problem, rules):
    """The value, and what comes back of a cotangent."""
    x, cotangent = problem.arrays["x"], problem.arrays["cotangent"]
    gamma = gamma_of(rules)
    inside, outside = (gamma, 1.0) if rules.place == "input" else (1.0, gamma)
    name = rules.name if rules.form == "as named" else rules.form
    if name in ("glu", "the other half is the gate"):
        cotangent = cotangent[..., :x.shape[-1] // 2]
    if name in FORMS:
        value, derivative = FORMS[name]
        return {"output": (outside * value(inside * x)).astype(x.dtype),
                "derivative": (derivative(cotangent * (inside * outside), inside * x)).astype(x.dtype)}
    given = x if rules.place == "output" else inside * x
    return {"output": scaled_nonlinearity(given, name=name, scale=outside),
            "derivative": scaled_nonlinearity_vjp(cotangent * inside, given, name=name, scale=outside)}


def catalogue(name, others=True):
    """The known forms of the nonlinearity called `name`; others: also that it is another one altogether."""
    own = GAMMA[name]
    gammas = [
        Entry("gamma left out", {"gamma": "left out"}, f"gamma = {own:.4f} is not in it. Harmless if it is applied "
              "elsewhere, to the output or in the weights that follow; a network without it loses signal with depth.",
              harmless=True),
        Entry("gamma from the exact integral", {"gamma": "of the exact integral"}, "gamma is computed exactly; the "
              "released code has a constant, for some nonlinearities a Monte-Carlo figure.", harmless=True),
        Entry("gamma to four digits", {"gamma": "to four digits"}, "gamma is rounded to four digits.", harmless=True),
        Entry("gamma to three digits", {"gamma": "to three digits"}, "gamma is rounded to three digits.",
              harmless=True),
        Entry("gamma without subtracting the mean", {"gamma": "without subtracting the mean"}, "gamma is one over the "
              "root of the mean square (for relu √2, as in He's initialization). The paper's is one over the standard "
              "deviation, because the weights after it are centred: activations come out too small at every layer."),
        Entry("√2 for gamma", {"gamma": "√2"}, f"The factor is √2, He's for relu; {name}'s gamma is {own:.4f}."),
        Entry("gamma squared", {"gamma": "squared"}, "gamma is applied twice, perhaps in here and by the caller."),
        Entry("root of gamma", {"gamma": "root of"}, "The root of gamma is applied: a variance taken for a deviation, "
              "or the reverse."),
        Entry("divided by gamma", {"gamma": "divided by"}, "The output is divided by gamma, the standard deviation's "
              "reciprocal; it has to be multiplied."),
        *(Entry(f"gamma of {other}", {"gamma": other}, f"The factor is {GAMMA[other]:.4f}, the gamma of {other}; "
                f"{name}'s is {own:.4f}.") for other in GAMMA if abs(GAMMA[other] / own - 1.0) > 1e-12
          and other not in ("identity", "log_softmax", "gelu_erf")),
    ]
    if _moments(name) is None:
        gammas = [entry for entry in gammas if entry.changes["gamma"] not in MOMENTS]
    if name == "identity":
        gammas = [entry for entry in gammas if entry.changes["gamma"] in (*GAMMA, "√2")]
    entries = [
        *gammas,
        *(() if name in STRAIGHT else [Entry("gamma on the input", {"place": "input"}, "gamma multiplies x and not "
                                             "g(x): the curve is squeezed, and its variance is not 1.")]),
        *(Entry(f"form {form}", {"form": form}, SENTENCES.get(form, f"{name} with {form}."), harmless=harmless)
          for form, harmless in FORMS_OF.get(name, {}).items()),
    ]
    if others:
        entries += [Entry(f"it is {other}", {"form": other}, f"The nonlinearity is {other}, with {name}'s gamma, where "
                          f"{name} was asked for.") for other in NONLINEARITIES
                    if other not in (name, "elu" if name == "celu" else "celu", *FORMS_OF.get(name, {}))]
    return tuple(entries)


def _problem(x, seed=0):
    x = np.asarray(x, dtype=np.float32).astype(np.float64).reshape(-1, 8)
    cotangent = np.random.default_rng([3, seed]).standard_normal(x.shape).astype(np.float32).astype(np.float64)
    return Problem({"x": x, "cotangent": np.where(np.isin(x, KINKS), 0.0, cotangent)})


def _normal(seed, scale):
    return _problem(scale * np.random.default_rng([2, seed]).standard_normal((8, 8)), seed)


TYPICAL = (_normal(1, 1.0), _normal(2, 4.0))
EDGES = (_problem(np.linspace(-30.0, 30.0, 96)), _problem(np.linspace(-6.5, 6.5, 64)),
         _problem([0.0, -0.0, 6.0, -6.0, 3.0, -3.0, 1e-6, -1e-6]),
         _problem([0.0, 1e-45, -1e-45, 1e-39, -1e-39, 1e-30, -1e-30, -0.0]),
         _problem([50.0, -50.0, 89.0, -89.0, 104.0, -104.0, 1e3, -1e3, 1e4, -1e4, 0.1, -0.1, 710.0, -710.0, 1.0, -1.0]))
EXTREMES = (1e15, -1e15, 1e30, -1e30, float("inf"), -float("inf"))


def drawn(seed):
    """Normal numbers of three sizes."""
    return _normal(100 + seed, (0.3, 1.5, 10.0)[seed % 3])


def smaller(problem):
    """Fewer rows, one plain number, fewer columns, a plain cotangent, rounder numbers."""
    x, cotangent = problem.arrays["x"], problem.arrays["cotangent"]
    for row in range(len(x) if len(x) > 1 else 0):
        yield Problem({"x": x[row:row + 1], "cotangent": cotangent[row:row + 1]})
    if not (x == x.flat[0]).all():
        for value in (1.0, 2.0, -1.0):
            yield Problem({"x": np.full_like(x, value), "cotangent": cotangent})
    if x.shape[1] > 2:
        yield Problem({"x": x[:, :2], "cotangent": cotangent[:, :2]})
        yield Problem({"x": x[:, -2:], "cotangent": cotangent[:, -2:]})
    plain = np.where(np.isin(x, KINKS), 0.0, 1.0)
    if not np.array_equal(plain, cotangent):
        yield Problem({"x": x, "cotangent": plain})
    rounder = np.round(x, 1)
    if not np.array_equal(rounder, x) and not np.isin(rounder, KINKS).any():
        yield Problem({"x": rounder, "cotangent": cotangent})


def scales(problem):
    """What cancels: x·Φ(x) has 1 - tanh or 1 - sigmoid in it, whose rounding x multiplies, in GELU's derivative x³.

    Only until the two are 1 to the last bit: tanh's from |x| = 8 on, the sigmoid's from 40.
    """
    size, cotangent = np.abs(problem.arrays["x"]), float(np.max(np.abs(problem.arrays["cotangent"])))
    for_tanh, for_sigmoid = (float(np.max(size, initial=0.0, where=size < end)) for end in (8.0, 40.0))
    return {"output": max(1.0, float(np.max(size))),
            "derivative": max(cotangent, 1.0) * (1.0 + for_sigmoid + 0.06 * for_tanh**3)}


def kind_of(name):
    """The Kind whose reference is the nonlinearity called `name`."""
    return Kind("activation", reference, Rules(name=name), catalogue(name), TYPICAL, EDGES, drawn, smaller, scales)


def _nearest(answers, precision):
    """The name whose curve, or a known form of it, comes nearest to what the target said of the typical problems."""
    def far(rules):
        return max(tolerance.distance(answer["output"], reference(problem, rules)["output"])
                   for problem, answer in zip(TYPICAL, answers))

    def candidates():
        for name in GUESSED:
            yield far(Rules(name=name)), 0, name
            for entry in catalogue(name, others=False):
                yield far(changed(Rules(name=name), (entry,))), 1 if entry.harmless else 2, name

    close = tolerance.LEEWAY * tolerance.epsilon(precision)
    return min(candidates(), key=lambda found: (max(found[0], close), found[1]))[2]


def _extremes(subject, name):
    """Notes on what happens far outside, where a verdict would be a matter of taste."""
    rules = Rules(name=name)
    for value in EXTREMES:
        problem = Problem({"x": np.full((1, 2), value), "cotangent": np.ones((1, 2))}).cast(np.float32)
        with np.errstate(all="ignore"):
            expected, answer = reference(problem, rules), subject(problem)
        for tensor in answer if np.isfinite(value) else ("output",):
            if np.isfinite(expected[tensor]).all() and not np.isfinite(answer[tensor]).all():
                yield f"at x = {value:g} in float32 the {tensor} is {answer[tensor].flat[0]:g}, where the reference " \
                      f"has {expected[tensor].flat[0]:g}"
    lost = Problem({"x": np.full((1, 2), np.nan), "cotangent": np.ones((1, 2))})
    if not np.isnan(subject(lost)["output"]).any():
        yield "a NaN goes in and a number comes out: broken activations would pass unnoticed"


def check_activation(target, *, framework="auto", examples=20, name=None, nonlinearity=None, **options):
    """The Verdict on a nonlinearity: a function of an array, a module, its class, or a factory.

    nonlinearity: what it should be (a name of nfnumpy's), else the nearest; options go to the class or factory, or else
    to the function. InputError when it cannot be used.
    """
    if nonlinearity is not None and nonlinearity not in NONLINEARITIES:
        raise InputError(f"activation: nonlinearity={nonlinearity!r}: expected one of {', '.join(NONLINEARITIES)}")
    subject, framework = activation_subject(target, framework, options)
    framework.seen.clear()
    answers = [subject(problem) for problem in TYPICAL]
    precision = next((known for known in tolerance.COARSEST_FIRST if known in framework.seen), "float64")
    found = nonlinearity or _nearest(answers, precision)
    notes = (f"{'compared with' if nonlinearity else 'taken for'} {found}, gamma = {GAMMA[found]:.10g}",
             *_extremes(subject, found))
    return judge(kind_of(found), subject, target=name or getattr(target, "__qualname__", repr(target)),
                 framework=framework, examples=examples, notes=notes)
