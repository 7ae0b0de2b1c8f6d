"""A nonlinearity: which one it is, and whether its gain gamma is in it.

The reference: functional/activations.py (2101.08692, section 4.1; the constants and the tanh form of GELU are those of
the authors' released code).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

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
from ..adapters import title_of
from ..adapters.activation import activation_adapter
from ..compare import Check, InputCase, compare
from ..frameworks import tries_frameworks
from ..variants import KnownVariant, apply
from ..verdict import Verdict

KINKS = (0.0, 6.0, 3.0, -3.0)  # where a derivative is a convention; the last two are those of hard swish
HOMOGENEOUS = ("identity", "relu", "leaky_relu")  # g(a·x) = a·g(x) for positive a
GUESSED = tuple(name for name in NONLINEARITIES if name != "gelu_erf")  # it is a form of gelu
WITHOUT_GAMMA_OF_THEIR_OWN = ("identity", "log_softmax", "gelu_erf")


@dataclasses.dataclass(frozen=True)
class Form:
    """A formula in place of the named one: value(x), vjp(cotangent, x); halves: whether it halves the last axis."""

    value: Callable[[np.ndarray], np.ndarray]
    vjp: Callable[[np.ndarray, np.ndarray], np.ndarray]
    halves: bool = False


def released_gamma(name: str) -> float:
    """The constant of the released code."""
    return GAMMA[name]


@dataclasses.dataclass(frozen=True)
class ActivationRules:
    """gamma·g(x), with g the nonlinearity called `name`, or `form`; gamma(name): the gain."""

    name: str = "gelu"
    form: Form | None = None
    gamma: Callable[[str], float] = released_gamma
    gamma_on_input: bool = False


def _quick_gelu(x):
    return x * sigmoid(1.702 * x)


def _quick_gelu_vjp(cotangent, x):
    return cotangent * (sigmoid(1.702 * x) + 1.702 * x * sigmoid(1.702 * x) * sigmoid(-1.702 * x))


def _hard_swish(x):
    return x * np.clip(x + 3.0, 0.0, 6.0) * (1.0 / 6.0)


def _hard_swish_vjp(cotangent, x):
    return cotangent * np.where(np.abs(x) < 3.0, (2.0 * x + 3.0) / 6.0, np.where(x > 0.0, 1.0, 0.0))


def _leaky(slope):
    return Form(lambda x: np.where(x > 0.0, x, slope * x),
                lambda cotangent, x: np.where(x > 0.0, cotangent, slope * cotangent))


def _elu(alpha):
    return Form(lambda x: np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0))),
                lambda cotangent, x: cotangent * np.where(x > 0.0, 1.0, alpha * np.exp(np.minimum(x, 0.0))))


def _swapped(x):
    """With the halves of the last axis exchanged."""
    return np.roll(x, x.shape[-1] // 2, axis=-1)


QUICK_GELU = Form(_quick_gelu, _quick_gelu_vjp)
HARD_SWISH = Form(_hard_swish, _hard_swish_vjp)
SWAPPED_GLU = Form(lambda x: glu(_swapped(x)), lambda cotangent, x: _swapped(glu_vjp(cotangent, _swapped(x))),
                   halves=True)
NAMED = {name: Form(value, vjp, halves=name == "glu") for name, (value, vjp) in NONLINEARITIES.items()}


def _quick_gelu_variant():
    return KnownVariant("form x·sigmoid(1.702·x)", {"form": QUICK_GELU}, "The nonlinearity is x·sigmoid(1.702·x), a "
                        "coarser approximation of GELU that is off by up to 0.02.")


def _numbered(name, letter, make, values):
    return [KnownVariant(f"form {letter} {value:g}", {"form": make(value)}, f"{name} with {letter} {value:g}.")
            for value in values]


FORMS = {  # of the nonlinearity with that name
    "gelu": [
        KnownVariant("form gelu_erf", {"form": NAMED["gelu_erf"]}, "The GELU is the exact x·Φ(x); the authors' code "
                     "has its tanh approximation. They differ by at most 5e-4, and weights trained with one work with "
                     "the other.", benign=True), _quick_gelu_variant()],
    "gelu_erf": [
        KnownVariant("form gelu", {"form": NAMED["gelu"]}, "The GELU is its tanh approximation where the exact x·Φ(x) "
                     "was meant. They differ by at most 5e-4.", benign=True), _quick_gelu_variant()],
    "silu": [
        KnownVariant("form hard swish", {"form": HARD_SWISH}, "The sigmoid is replaced by straight lines (hard swish); "
                     "gamma is not its gamma."), _quick_gelu_variant()],
    "leaky_relu": _numbered("leaky_relu", "slope", _leaky, (0.001, 0.1, 0.2, 0.3)),
    "elu": _numbered("elu", "alpha", _elu, (0.1, 0.5, 2.0)),
    "glu": [KnownVariant("form the other half is the gate", {"form": SWAPPED_GLU}, "The halves of the last axis are "
                         "exchanged: the first is the gate.")]}


@functools.cache
def _moments(name):
    """(mean, mean square) of g(z), z ~ N(0, 1), by quadrature between the kinks; None where g is no function of z."""
    if name in ("glu", "log_softmax"):
        return None
    nodes, weights = np.polynomial.legendre.leggauss(30)
    z = np.arange(-12.0, 12.0)[:, None] + 0.5 * (nodes + 1.0)  # a piece from every whole number to the next
    density = 0.5 * weights * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    value = NONLINEARITIES[name][0](z)
    return math.fsum(np.ravel(density * value)), math.fsum(np.ravel(density * value * value))


def exact_gamma(name: str) -> float:
    """1/√variance of g(z), by quadrature."""
    mean, square = _moments(name)
    return (square - mean * mean) ** -0.5


def _gamma_without_mean(name):
    return _moments(name)[1] ** -0.5


def _root_of_two(name):
    return 2.0**0.5


def _gamma_of(other):
    return lambda name: GAMMA[other]


def reference(case: InputCase, rules: ActivationRules) -> Mapping[str, np.ndarray]:
    """The value and the vector-Jacobian product."""
    x, cotangent = case.arrays["x"], case.arrays["cotangent"]
    gamma = rules.gamma(rules.name)
    inside, outside = (gamma, 1.0) if rules.gamma_on_input else (1.0, gamma)
    form = rules.form or NAMED[rules.name]
    if form.halves:
        cotangent = cotangent[..., :x.shape[-1] // 2]
    if rules.form is None and not rules.gamma_on_input:
        return {"output": scaled_nonlinearity(x, name=rules.name, scale=gamma),
                "derivative": scaled_nonlinearity_vjp(cotangent, x, name=rules.name, scale=gamma)}
    value = outside * form.value(inside * x)
    derivative = form.vjp(cotangent * (inside * outside), inside * x)
    return {"output": value.astype(x.dtype), "derivative": derivative.astype(x.dtype)}


def _gammas(name):
    own = GAMMA[name]
    if name != "identity":
        yield KnownVariant("gamma left out", {"gamma": lambda name: 1.0}, f"gamma = {own:.4f} is not in it. Harmless "
                           "if it is applied elsewhere, to the output or in the weights that follow; a network "
                           "without it loses signal with depth.", benign=True)
    if _moments(name) is not None and name != "identity":
        yield KnownVariant("gamma from the exact integral", {"gamma": exact_gamma}, "gamma is computed exactly; the "
                           "released code has a constant, for some nonlinearities a Monte-Carlo figure.", benign=True)
        yield KnownVariant("gamma without subtracting the mean", {"gamma": _gamma_without_mean}, "gamma is one over "
                           "the root of the mean square (for relu √2, as in He's initialization). The paper's is one "
                           "over the standard deviation, because the weights after it are centred: activations come "
                           "out too small at every layer.")
    if name != "identity":
        yield KnownVariant("gamma to four digits", {"gamma": lambda name: float(f"{GAMMA[name]:.4g}")}, "gamma is "
                           "rounded to four digits.", benign=True)
        yield KnownVariant("gamma to three digits", {"gamma": lambda name: float(f"{GAMMA[name]:.3g}")}, "gamma is "
                           "rounded to three digits.", benign=True)
    yield KnownVariant("√2 for gamma", {"gamma": _root_of_two}, f"The factor is √2, He's for relu; {name}'s gamma is "
                       f"{own:.4f}.")
    if name != "identity":
        yield KnownVariant("gamma squared", {"gamma": lambda name: GAMMA[name]**2}, "gamma is applied twice, perhaps "
                           "in here and by the caller.")
        yield KnownVariant("root of gamma", {"gamma": lambda name: GAMMA[name]**0.5}, "The root of gamma is applied: a "
                           "variance used as a deviation, or the reverse.")
        yield KnownVariant("divided by gamma", {"gamma": lambda name: 1.0 / GAMMA[name]}, "The output is divided by "
                           "gamma, the standard deviation's reciprocal; it has to be multiplied.")
    for other, gamma in GAMMA.items():
        if abs(gamma / own - 1.0) > 1e-12 and other not in WITHOUT_GAMMA_OF_THEIR_OWN:
            yield KnownVariant(f"gamma of {other}", {"gamma": _gamma_of(other)}, f"The factor is {gamma:.4f}, the "
                               f"gamma of {other}; {name}'s is {own:.4f}.")


@functools.cache
def catalogue(name: str, others: bool = True) -> tuple[KnownVariant, ...]:
    """The known variants of the nonlinearity called `name`; others: also that it is another one altogether."""
    variants = list(_gammas(name))
    if name not in HOMOGENEOUS:
        variants.append(KnownVariant("gamma on the input", {"gamma_on_input": True}, "gamma multiplies x and not g(x): "
                                     "the curve is squeezed, and its variance is not 1."))
    variants += FORMS.get(name, [])
    same_curve = {name, "elu" if name == "celu" else "celu"}
    forms = {variant.changes["form"] for variant in FORMS.get(name, [])}
    for other in NONLINEARITIES if others else ():
        if other not in same_curve and NAMED[other] not in forms:
            variants.append(KnownVariant(f"it is {other}", {"form": NAMED[other]}, f"The nonlinearity is {other}, with "
                                         f"{name}'s gamma, where {name} was meant."))
    return tuple(variants)


def _case(x, seed=0):
    x = np.asarray(x, dtype=np.float32).astype(np.float64).reshape(-1, 8)
    cotangent = np.random.default_rng([3, seed]).standard_normal(x.shape).astype(np.float32).astype(np.float64)
    return InputCase({"x": x, "cotangent": np.where(np.isin(x, KINKS), 0.0, cotangent)})


def _normal(seed, scale):
    return _case(scale * np.random.default_rng([2, seed]).standard_normal((8, 8)), seed)


TYPICAL = (_normal(1, 1.0), _normal(2, 4.0))
EDGES = (_case(np.linspace(-30.0, 30.0, 96)), _case(np.linspace(-6.5, 6.5, 64)),
         _case([0.0, -0.0, 6.0, -6.0, 3.0, -3.0, 1e-6, -1e-6]),
         _case([0.0, 1e-45, -1e-45, 1e-39, -1e-39, 1e-30, -1e-30, -0.0]),
         _case([50.0, -50.0, 89.0, -89.0, 104.0, -104.0, 1e3, -1e3, 1e4, -1e4, 0.1, -0.1, 710.0, -710.0, 1.0, -1.0]))
EXTREMES = (1e15, -1e15, 1e30, -1e30, float("inf"), -float("inf"))


@functools.lru_cache(maxsize=64)
def drawn(seed: int) -> InputCase:
    """Normal numbers of three sizes."""
    return _normal(100 + seed, (0.3, 1.5, 10.0)[seed % 3])


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer rows, one plain number, fewer columns, a plain cotangent, rounder numbers."""
    x, cotangent = case.arrays["x"], case.arrays["cotangent"]
    for row in range(len(x) if len(x) > 1 else 0):
        yield InputCase({"x": x[row:row + 1], "cotangent": cotangent[row:row + 1]})
    if not (x == x.flat[0]).all():
        for value in (1.0, 2.0, -1.0):
            yield InputCase({"x": np.full_like(x, value), "cotangent": cotangent})
    if x.shape[1] > 2:
        yield InputCase({"x": x[:, :2], "cotangent": cotangent[:, :2]})
        yield InputCase({"x": x[:, -2:], "cotangent": cotangent[:, -2:]})
    plain = np.where(np.isin(x, KINKS), 0.0, 1.0)
    if not np.array_equal(plain, cotangent):
        yield InputCase({"x": x, "cotangent": plain})
    rounder = np.round(x, 1)
    if not np.array_equal(rounder, x) and not np.isin(rounder, KINKS).any():
        yield InputCase({"x": rounder, "cotangent": cotangent})


def scales(case: InputCase) -> Mapping[str, float]:
    """What cancels: x·Φ(x) has 1 - tanh or 1 - sigmoid in it, whose rounding x multiplies, in GELU's derivative x³.

    Only until the two are 1 to the last bit: tanh's from |x| = 8 on, the sigmoid's from 40.
    """
    size, cotangent = np.abs(case.arrays["x"]), float(np.max(np.abs(case.arrays["cotangent"])))
    for_tanh, for_sigmoid = (float(np.max(size, initial=0.0, where=size < end)) for end in (8.0, 40.0))
    return {"output": max(1.0, float(np.max(size))),
            "derivative": max(cotangent, 1.0) * (1.0 + for_sigmoid + 0.06 * for_tanh**3)}


@functools.cache
def check_for(name: str) -> Check:
    """The Check whose reference is the nonlinearity called `name`."""
    return Check("activation", reference, ActivationRules(name=name), catalogue(name), TYPICAL, EDGES, drawn, smaller,
                 scales)


def _nearest(outputs, precision):
    """The name whose curve, or a known form of it, comes nearest to the target's outputs of the typical cases.

    Times any number, because the gain may be wrong as well; of equally near ones that with the nearest gain.
    """
    close = tolerance.LEEWAY * tolerance.epsilon(precision)

    def rank(rules, order):
        pairs = [(output["output"], check_for(rules.name).computed(case, rules)["output"])
                 for case, output in zip(TYPICAL, outputs, strict=True)]
        factor = _factor(pairs)
        scaled, plain = (max(tolerance.distance(got, times * expected) for got, expected in pairs)
                         for times in (factor, 1.0))
        return max(scaled, close), order, plain

    def candidates():
        for name in GUESSED:
            rules = ActivationRules(name=name)
            yield rank(rules, 0), name
            for variant in catalogue(name, others=False):
                yield rank(apply(rules, (variant,)), 1 if variant.benign else 2), name

    return min(candidates(), key=lambda found: found[0])[1]


def _factor(pairs):
    """The positive number that brings the second arrays nearest to the first, 1 where there is none."""
    if any(got.shape != expected.shape or not np.isfinite(got).all() for got, expected in pairs):
        return 1.0
    products, squares = (sum(float(np.vdot(expected, array).real) for array, expected in some)
                         for some in (pairs, [(expected, expected) for _, expected in pairs]))
    return products / squares if products > 0.0 and squares > 0.0 else 1.0


def _extremes(run, name):
    """Notes on inputs far outside the usual range, where a verdict would be a convention."""
    rules = ActivationRules(name=name)
    for value in EXTREMES:
        case = InputCase({"x": np.full((1, 2), value), "cotangent": np.ones((1, 2))}).cast(np.float32)
        with np.errstate(all="ignore"):
            expected, output = reference(case, rules), run(case)
        for tensor in output if np.isfinite(value) else ("output",):
            if np.isfinite(expected[tensor]).all() and not np.isfinite(output[tensor]).all():
                yield f"at x = {value:g} in float32 the {tensor} is {output[tensor].flat[0]:g}; the reference has " \
                      f"{expected[tensor].flat[0]:g}"
    lost = InputCase({"x": np.full((1, 2), np.nan), "cotangent": np.ones((1, 2))})
    if not np.isnan(run(lost)["output"]).any():
        yield "the output for a NaN is a number: broken activations would not be noticed"


@tries_frameworks
def check_activation(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
                     nonlinearity: str | None = None, **options: Any) -> Verdict:
    """The Verdict on a nonlinearity: a function of an array, a module, its class, or a factory.

    nonlinearity: what it should be (a name of nfnumpy's), else the nearest; options go to the class or factory, or else
    to the function. InputError when it cannot be used.
    """
    if nonlinearity is not None and nonlinearity not in NONLINEARITIES:
        raise InputError(f"activation: nonlinearity={nonlinearity!r}: expected one of {', '.join(NONLINEARITIES)}")
    adapter = activation_adapter(target, framework, options)
    adapter.framework.seen.clear()
    outputs = [adapter.run(case) for case in TYPICAL]
    found = nonlinearity or _nearest(outputs, tolerance.coarsest(adapter.framework.seen))
    how = "compared with" if nonlinearity else "recognized as"
    notes = (f"{how} {found}, gamma = {GAMMA[found]:.10g}", *_extremes(adapter.run, found))
    return compare(check_for(found), adapter.run, target=name or title_of(target), framework=adapter.framework,
                   examples=examples, notes=notes)
