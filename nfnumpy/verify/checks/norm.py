"""A normalization: which one it is, and how its running statistics are kept.

The reference: functional/normalization.py, group_normalization.py and switchable_normalization.py; the conventions of
running statistics: nn/batch_norm.py. Its rules and known variants: variants/normalization.py and
normalization_catalogue.py.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...errors import InputError
from .. import diagnosis, tolerance
from ..adapters import title_of
from ..adapters.norm import norm_adapter
from ..adapters.norm_runs import LEAVES, RUNNING, STATISTICS, named
from ..compare import Check, InputCase, Outputs, compare
from ..frameworks import tries_frameworks
from ..variants import apply
from ..variants.normalization import BASES, NormRules, normalized
from ..variants.normalization_catalogue import CONVENTIONS, TITLES, catalogue
from ..verdict import Verdict

CLOSE = 1e-5  # relative: rounding in float32, and far below the difference of two conventions
ALIKE = 0.3  # relative distance up to which an output counts as that of a normalization, mistaken or not
GROUPS = 32  # of a target that takes their number


def _pass(case, rules, x, running, training, count=1, differentiated=True):
    """(results, running statistics after it) of one pass; results: the output, and gradients if `differentiated`."""
    leaves = {name: Tensor(case.arrays[name], requires_grad=differentiated) for name in LEAVES}
    x = Tensor(x, requires_grad=differentiated)
    out, after = normalized(x, leaves, rules, case.options["groups"], running=tuple(map(Tensor, running)),
                            training=training, count=count)
    results = {"output": out.data}
    if differentiated:
        out.backward(np.resize(case.arrays["cotangent"], out.shape).astype(out.dtype))
        found = {"x": x.grad, **{name: leaf.grad for name, leaf in leaves.items()}}
        results |= {f"gradient of {name}": np.zeros_like(case.arrays[name]) if grad is None else grad
                    for name, grad in found.items()}
    return results, after


def reference(case: InputCase, rules: NormRules) -> Mapping[str, np.ndarray]:
    """Two batches in training, then one in evaluation from the initial statistics."""
    running = [case.arrays[name] for name in RUNNING]
    results, after = _pass(case, rules, case.arrays["x"], running, True)
    _, later = _pass(case, rules, case.arrays["second"], after, True, count=2, differentiated=False)
    evaluated, left = _pass(case, rules, case.arrays["x"], running, False)
    return {**results, **named(after), **named(later, " after two batches"),
            "output in evaluation": evaluated["output"],
            "gradient of x in evaluation": evaluated["gradient of x"], **named(left, " after evaluation")}


def screen(case: InputCase, rules: NormRules) -> Mapping[str, np.ndarray]:
    """The output in training."""
    running = [case.arrays[name] for name in RUNNING]
    results, _ = _pass(case, rules, case.arrays["x"], running, True, differentiated=False)
    return results


IN_TRAINING = ("output", "gradient of x", *(f"gradient of {name}" for name in LEAVES))
OF_AVERAGES = tuple(f"{name}{when}" for name in STATISTICS for when in ("", " after two batches"))
IN_EVALUATION = ("output in evaluation", "gradient of x in evaluation",
                 *(f"{name} after evaluation" for name in STATISTICS))
FIELDS_OF_AVERAGES = frozenset({"decay", "debiased", "statistics_unbiased", "stored"})
FIELDS_OF_EVALUATION = frozenset({"evaluation", "updated_in_evaluation"})
PLACES = (  # names of tensors, and whether a variant of these fields belongs there
    (IN_TRAINING, lambda fields: not fields & (FIELDS_OF_AVERAGES | FIELDS_OF_EVALUATION) or "over" in fields),
    (OF_AVERAGES, lambda fields: fields <= FIELDS_OF_AVERAGES),
    (IN_EVALUATION, lambda fields: fields <= FIELDS_OF_EVALUATION))


@dataclasses.dataclass(frozen=True, eq=False)
class NormCheck(Check):
    """A Check that looks for mistakes in training first, then in the averages, then in evaluation."""

    def explained(self, cases: Sequence[InputCase], outputs: Sequence[Outputs],
                  precision: str, simply: bool = True) -> diagnosis.Diagnosis:
        """The known variants that reproduce the target's outputs: one, or some in each place, or any two."""
        single = diagnosis.reproducing(self, cases, outputs, precision, ((variant,) for variant in self.catalogue))
        if single:
            return diagnosis.Diagnosis(single, ())
        found = self._place_by_place(cases, outputs, precision)
        if found and diagnosis.reproducing(self, cases, outputs, precision, [found]):
            return diagnosis.Diagnosis(found, ())
        return super().explained(cases, outputs, precision, simply)

    def _place_by_place(self, cases, outputs, precision):
        """The variants of all places together, or None where one cannot be explained."""
        found = ()
        for names, belongs in PLACES:
            part = dataclasses.replace(
                self, rules=apply(self.rules, found),
                catalogue=tuple(variant for variant in self.catalogue if belongs(variant.changes.keys())))
            seen = [{name: output[name] for name in names if name in output} for output in outputs]
            if all(part.agrees(case, output, precision) for case, output in zip(cases, seen, strict=True)):
                continue
            variants = diagnosis.diagnose(part, cases, seen, precision).variants
            if variants is None:
                return None
            found += variants
        return found


def _case(seed, *, shape=(3, 2, 5), channels=64, groups=GROUPS, scale=1.0, least=0.3):
    """scale: of x, whose pixels, channels and examples have means and deviations of their own; least: running variance.
    """
    random = np.random.default_rng([21, seed])

    def images():
        x = random.standard_normal((*shape, channels))
        for spread in ((shape[0], 1, 1, channels), (1, *shape[1:], 1), (1, 1, 1, channels)):
            x = x * (1.0 + 0.3 * random.uniform(-1.0, 1.0, spread)) + 0.4 * random.standard_normal(spread)
        return scale * x

    arrays = {"x": images(), "second": images() + 0.5 * scale, "gamma": 1.0 + 0.3 * random.standard_normal(channels),
              "beta": 0.3 * random.standard_normal(channels), "mean_weights": random.standard_normal(3),
              "variance_weights": random.standard_normal(3), "running_mean": 0.3 * random.standard_normal(channels),
              "running_variance": least * (1.0 + 3.0 * random.uniform(size=channels)),
              "cotangent": random.standard_normal(13)}
    return InputCase({name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()},
                     {"channels": channels, "groups": groups})


SHAPES = ((3, 2, 5), (2, 3, 4))
SMALL = ({"scale": 3e-3, "least": 1e-5}, {"scale": 1e-3, "least": 1e-6})  # variances near eps


@functools.lru_cache(maxsize=64)
def drawn(seed: int) -> InputCase:
    """Values and scales at random; few shapes, because JAX compiles every function for each."""
    return _case(1000 + seed, shape=SHAPES[seed % 2], channels=(64, 128)[seed // 2 % 2],
                 scale=(0.1, 1.0, 5.0)[seed % 3])


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer examples and pixels, and rounder numbers."""
    arrays, options = case.arrays, case.options
    x, second = arrays["x"], arrays["second"]
    for axis in (0, 1, 2):
        if x.shape[axis] > 1:
            less = [np.take(array, range(array.shape[axis] - 1), axis=axis) for array in (x, second)]
            yield InputCase({**arrays, "x": less[0], "second": less[1]}, options)
    channels = options["channels"] // 2
    if channels and channels % options["groups"] in (0, channels):
        narrow = {name: array[..., :channels] if array.shape[-1] == options["channels"] else array
                  for name, array in arrays.items()}
        yield InputCase(narrow, {"channels": channels, "groups": min(channels, options["groups"])})
    for name in ("x", "second", "gamma", "beta", "running_mean", "cotangent"):
        rounder = np.round(arrays[name], 1) + 0.0
        if not np.array_equal(rounder, arrays[name]):
            yield InputCase({**arrays, name: rounder}, options)


@functools.cache
def check_for(name: str, has_affine: bool = True) -> NormCheck:
    """The Check whose reference is the normalization called `name`."""
    return NormCheck("norm", reference, BASES[name], catalogue(name, has_affine), (_case(1), _case(2, channels=128)),
                 (_case(3, **SMALL[0]), _case(4, shape=SHAPES[1], **SMALL[1])), drawn, smaller, screen=screen)


@tries_frameworks
def check_norm(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
               norm: str | None = None, groups: int | None = None, **options: Any) -> Verdict:
    """The Verdict on a normalization.

    target: a torch module, class or factory of (channels) or (groups, channels); or a function of (x, gamma, beta) and,
    where it has them, of running statistics, a flag for training and the number of groups, told by their names. norm:
    what it should be (a name of BASES), else the nearest; groups: of a group normalization that takes no number of
    groups, else it is recognized; layout: "NHWC" or "NCHW" of x, for a function whose framework usually has the other;
    options are passed to the target. InputError when it cannot be used.
    """
    if norm is not None and norm not in BASES:
        raise InputError(f"norm: norm={norm!r}: expected one of {', '.join(BASES)}")
    if groups is not None and (not isinstance(groups, int) or groups < 1):
        raise InputError(f"norm: groups={groups!r}: expected a positive whole number")
    adapter = norm_adapter(target, framework, options)
    cases = check_for("batch").typical
    if "channels" in adapter.fixed:
        cases = tuple(_case(seed, shape=adapter.fixed["pixels"] or SHAPES[0], channels=adapter.fixed["channels"])
                      for seed in (1, 2))
    if groups is not None:
        cases = tuple(_with_groups(case, groups) for case in cases)
    adapter.framework.seen.clear()
    outputs = [adapter.run(case) for case in cases]
    if adapter.fixed["takes_groups"]:
        norm, groups = norm or "group", groups or GROUPS
    base, number, distance = _recognized(cases, outputs, norm, groups)
    check = _for_target(check_for(base, adapter.fixed["has_affine"]), cases, adapter.fixed, groups or number)
    how = "compared with" if norm else "recognized as" if distance < ALIKE else "resembles none; compared with"
    notes = (f"{how} {_title(base, groups or number)}", *adapter.notes, *_about(outputs[0], cases[0]))
    return compare(check, adapter.run, target=name or title_of(target), framework=adapter.framework, examples=examples,
                   notes=notes)


def _title(base, number):
    convention = f", {CONVENTIONS[base]} convention" if base in CONVENTIONS else ""
    return f"{TITLES[base]}{convention}" + (f" of {number} groups" if base == "group" and number else "")


def _about(outputs, case):
    """Notes on what the target does not have, and on an output of another shape."""
    if outputs["output"].shape != case.arrays["x"].shape:
        yield f"its output for x {case.arrays['x'].shape} is {outputs['output'].shape}; it should have the shape of x"
    if "gradient of x" not in outputs:
        yield "the target has no derivatives that could be compared"
    if STATISTICS[0] not in outputs:
        yield "the target has no running statistics"


def _with_groups(case, groups):
    return InputCase(case.arrays, {**case.options, "groups": groups})


def _for_target(check, cases, fixed, groups):
    """The Check with cases that suit the target: its channels and pixels, and a number of groups."""
    if "channels" not in fixed and groups is None:
        return check
    if "channels" in fixed:
        shape, channels = fixed["pixels"], fixed["channels"]
        check = dataclasses.replace(
            check, typical=cases, smaller=smaller if shape is None else lambda case: (),
            edges=tuple(_case(3 + k, shape=shape or SHAPES[k], channels=channels, **SMALL[k]) for k in (0, 1)),
            drawn=lambda seed: _case(1000 + seed, shape=shape or SHAPES[seed % 2], channels=channels))
    if groups is None:
        return check
    drawn_before = check.drawn
    return dataclasses.replace(
        check, typical=tuple(_with_groups(case, groups) for case in check.typical),
        edges=tuple(_with_groups(case, groups) for case in check.edges),
        drawn=lambda seed: _with_groups(drawn_before(seed), groups))


def _recognized(cases: Sequence[InputCase], outputs: Sequence[Outputs], norm: str | None,
                groups: int | None) -> tuple[str, int | None, float]:
    """(name, number of groups or None, distance) of the normalization whose outputs in training come nearest.

    norm, groups: those that are known.
    """
    channels = [case.options["channels"] for case in cases]
    numbers = [groups] if groups is not None else [
        number for number in (32, 16, 8, 4, 2, 64, 24, 12, 6, 3) if all(count % number == 0 for count in channels)]
    has_averages = STATISTICS[0] in outputs[0]
    named = [norm] if norm is not None else ["batch", "instance", "switchable", *(
        () if has_averages else ("layer", "layer_channels", "group"))]

    def candidates():
        for name in named:
            for number in numbers if name == "group" else [None]:
                given = [case if number is None else _with_groups(case, number) for case in cases]
                yield max(map(functools.partial(_distance, BASES[name]), given, outputs)), name, number

    distance, name, number = min(candidates(), key=lambda found: found[0])
    if norm is None and has_averages and distance > ALIKE:
        name = "batch"
    if norm is None and name == "batch":
        name = _convention(cases[0], outputs[0])
    return name, number, distance


def _distance(rules, case, output):
    """Of the output in training from the reference, whatever a scale and a shift of every channel do."""
    got, expected = output["output"], screen(case, rules)["output"]
    if got.shape != expected.shape or not np.isfinite(got).all():
        return np.inf
    got, expected = (array - array.mean((0, 1, 2)) for array in (got, expected))
    along = np.sum(got * expected, axis=(0, 1, 2)) / np.maximum(np.sum(expected * expected, axis=(0, 1, 2)), 1e-30)
    return float(np.linalg.norm(got - along * expected) / (np.linalg.norm(got) or 1.0))


def _convention(case, output):
    """The convention of batch normalization that the fewest known variants lead away from, PyTorch's first."""
    def variants(name):
        base = BASES[name]
        forms = [base, *(apply(base, (variant,)) for variant in catalogue(name)[3:] if "decay" in variant.changes
                         or "statistics_unbiased" in variant.changes or "debiased" in variant.changes)]
        fitting = (position > 0 for position, rules in enumerate(forms) if _has_statistics(case, output, rules))
        return next(fitting, 2) + (tolerance.distance(output["output"], screen(case, base)["output"]) > CLOSE)

    return min(CONVENTIONS, key=variants)


def _has_statistics(case, output, rules):
    """Whether the target's running statistics come out by `rules`, to the precision of float32."""
    running, after = [case.arrays[name] for name in RUNNING], None
    for count, (x, when) in enumerate((("x", ""), ("second", " after two batches")), start=1):
        _, after = _pass(case, rules, case.arrays[x], after or running, True, count, differentiated=False)
        for name, array in named(after, when).items():
            if name not in output or tolerance.distance(output[name], array) > CLOSE:
                return False
    return True
