"""The search for the known variants that make the reference of a network into the target.

1. The first part of the network whose output the reference does not reproduce is found, from the target's activations.
2. Every known variant is tried on that part alone, with the target's own input to it (beam_search.py).
3. Each group of variants that reproduces the part is applied to the whole network. Where all parts are then right, the
   gradients are compared too; else the search goes on with the next wrong part. So several mistakes are found, one at a
   time, and a large network costs little more than one of its blocks.
4. Where only gradients differ, the variants of the backward pass alone are tried.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...autograd import Tensor, no_grad
from .. import tolerance
from ..diagnosis import Diagnosis
from ..variants import apply, combinations
from .architecture import Rules, architecture_of, catalogues_of
from .baselines import fronts_of
from .beam_search import BEAMS, NARROW_BEAMS, BeamSearch, Group
from .forward import part
from .layers import Parameters
from .observation import Observation
from .reference_run import trace, trace_and_gradients
from .rounding import allowed

MOST = 8  # variants in one diagnosis
ALIKE = 3  # diagnoses of all activations whose gradients are compared
LARGE = 1_000_000  # parameters of a part from which on NARROW_BEAMS are used
NEAR = 4.0  # times what rounding explains: for a part alone; the whole network is then compared exactly


def excesses(seen: Observation, config: Any, rules: Rules, precision: str,
             gradients: bool = False) -> dict[str, tuple[float, float]]:
    """{name: (error, allowed)}, relative, of all of the target's results from the reference by `rules`."""
    coarse = seen.inputs.in_float32
    with np.errstate(all="ignore"):
        if gradients:
            with_step = any(name.startswith("step of") for name in seen.results)
            reference, sums = trace_and_gradients(seen.inputs, config, rules, with_step)
            in_float32, _ = trace_and_gradients(coarse, config, rules, False)
        else:
            reference, in_float32, sums = trace(seen.inputs, config, rules), trace(coarse, config, rules), {}
        limits, scales = allowed(reference, in_float32, precision, sums)
        return {name: (tolerance.distance(seen.results[name], reference[name], scales[name]), limits[name])
                for name in reference if name in seen.results}


def diagnose(seen: Sequence[Observation], config: Any, rules: Rules, precision: str) -> Diagnosis:
    """The Diagnosis of a target whose results are not those of the reference by `rules`."""
    search, found = _Search(seen, config, precision), []
    for variants in itertools.islice(search.forward(rules, ()), ALIKE):
        if not search.gradients_differ(apply(rules, variants)):
            return Diagnosis(variants, ())
        found.append(variants)
    for variants in found[:1]:
        for further in combinations(catalogues_of(config).backward):
            if not search.gradients_differ(apply(rules, (*variants, *further))):
                return Diagnosis((*variants, *further), ())
    return Diagnosis(None, found[0] if found else search.nearest)


class _Search:
    def __init__(self, seen, config, precision):
        self.seen = sorted(seen, key=lambda each: each.inputs.images.size)
        self.config, self.precision = config, precision
        self.nearest, self.reached, self.known = (), -1, {}

    def gradients_differ(self, rules: Rules) -> bool:
        """Whether a gradient, step or running statistic of the target is not that of the reference by `rules`."""
        for each in (each for each in self.seen if each.inputs.training):  # quickly found, without gradients
            table = excesses(each, self.config, rules, self.precision)
            if any(error > limit for name, (error, limit) in table.items() if name.startswith("statistics of")):
                return True
        for each in self.seen:
            if not any(name.startswith("gradient of") for name in each.results):
                continue
            table = excesses(each, self.config, rules, self.precision, gradients=True)
            if any(error > limit for name, (error, limit) in table.items() if " of " in name):
                return True
        return False

    def forward(self, rules: Rules, variants: Group) -> Iterator[Group]:
        """Yield groups of variants that reproduce every part and begin with `variants`."""
        wrong = self.first_wrong(rules)
        if wrong is None:
            yield variants
            return
        if wrong > self.reached:
            self.nearest, self.reached = variants, wrong
        if len(variants) >= MOST:
            return
        further = []
        for more in self.reproducing(rules, variants, wrong):
            position = self.first_wrong(apply(rules, more))
            if position is None:
                yield (*variants, *more)
            elif position > wrong:  # else it corrects this part and breaks an earlier one
                further.append((position, more))
        for _, more in sorted(further, key=lambda pair: -pair[0]):
            yield from self.forward(apply(rules, more), (*variants, *more))

    def first_wrong(self, rules: Rules) -> int | None:
        """The position of the first part that the reference by `rules` does not reproduce."""
        if rules not in self.known:
            try:
                positions = [self._first_wrong(each, rules) for each in self.seen]
            except (ArithmeticError, ValueError):  # these rules do not apply to these shapes
                positions = [0]
            self.known[rules] = min((position for position in positions if position is not None), default=None)
        return self.known[rules]

    def _first_wrong(self, seen, rules):
        table = excesses(seen, self.config, rules, self.precision)
        for position, name in enumerate(architecture_of(self.config, rules).parts):
            error, limit = table.get(name, (0.0, 0.0))
            if error > limit:
                return position
        return None

    def reproducing(self, rules: Rules, variants: Group, wrong: int) -> Iterator[Group]:
        """Groups of further variants that reproduce the part at position `wrong`, the most probable first."""
        whole = [_Segment(each, self.config, rules, wrong, self.precision) for each in self.seen]
        quick = [_Segment(each.first_image(), self.config, rules, wrong, self.precision) for each in self.seen]
        quick = [segment for segment in quick if segment.wanted is not None]
        free = [further for further in _catalogue_of(self.config, whole[0].parts)
                if not any(further.conflicts(variant) for variant in variants)]
        search = BeamSearch(free, rules, outputs=lambda rules: [segment.output(rules) for segment in quick],
                            wanted=[segment.wanted for segment in quick], near=[segment.near for segment in quick],
                            excess=lambda rules: max(segment.excess(rules) for segment in whole),
                            beams=BEAMS if whole[0].size <= LARGE else NARROW_BEAMS)
        yield from search.groups()
        if search.nearest and wrong >= self.reached:
            self.nearest = (*variants, *search.nearest)


class _Segment:
    """The parts from the last one that is observed before the wrong one, up to the wrong one, and their input.

    wanted: the target's output of the wrong part, or None where it is not observed; near: the error that is allowed.
    """

    def __init__(self, seen, config, rules, wrong, precision):
        parts = architecture_of(config, rules).parts
        before = max((k for k in range(wrong) if parts[k] in seen.results), default=None)
        first = 0 if before is None else before + 1
        self.config, self.parts, self.training = config, parts[first:wrong + 1], seen.inputs.training
        entering = seen.inputs.images if before is None else seen.results[parts[before]]
        self.entering = entering.astype(np.float64)
        self.wanted = seen.results.get(parts[wrong])
        parameters = seen.inputs.parameters
        used = parameters if len(self.parts) > 2 else _of_parts(parameters, self.parts)
        self.parameters = {name: Tensor(array) for name, array in used.items()}
        self.size = sum(tensor.data.size for tensor in self.parameters.values())
        in_float32 = {name: Tensor(array.astype(np.float32)) for name, array in used.items()}
        exact, coarse = self.output(rules), self.output(rules, in_float32, np.float32)
        self.near = NEAR * tolerance.allowed({"": exact}, {"": coarse}, {}, precision)[""]

    def output(self, rules: Rules, parameters: Parameters | None = None, dtype: Any = np.float64) -> np.ndarray:
        """The output of the reference by `rules`."""
        architecture, x = architecture_of(self.config, rules), Tensor(self.entering.astype(dtype))
        with no_grad(), np.errstate(all="ignore"):
            for name in self.parts:
                x = part(parameters or self.parameters, name, x, architecture, rules, training=self.training)
        return x.data

    def excess(self, rules: Rules) -> float:
        """Its error over what is near; infinite where it cannot be computed, 0 where nothing is observed."""
        if self.wanted is None:
            return 0.0
        try:
            return tolerance.distance(self.wanted, self.output(rules)) / self.near
        except (ArithmeticError, ValueError):  # these rules do not apply to these shapes
            return float("inf")


def _catalogue_of(config, parts):
    """The known variants that change the output of any of these parts."""
    known, in_blocks = catalogues_of(config), {name.startswith("blocks.") for name in parts}
    if len(in_blocks) > 1:
        return known.in_all_parts
    return known.in_blocks if in_blocks == {True} else known.in_ends


def _of_parts(parameters, parts):
    """The parameters of these parts alone."""
    wanted = tuple(front for name in parts for front in fronts_of(name))
    return {name: array for name, array in parameters.items() if name.startswith(wanted)}
