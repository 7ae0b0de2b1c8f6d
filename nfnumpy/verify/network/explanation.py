"""Which known forms make the reference into the target: looked for where the two first part, and nowhere else.

The target's own activations say which of its parts is the first to go wrong, and what went into it. Only that part is
tried with every known form, on that very input; a form that reproduces it is then tried on the whole network, where
the next part that is wrong, if there is one, is looked for in the same way. So mistakes in company are found one after
the other, and a large network costs little more than one of its blocks.
"""

import dataclasses
import itertools

import numpy as np

from ...autograd import Tensor, no_grad
from .. import tolerance
from ..variants import changed
from .answers import full_answer, trace
from .beam import BEAMS, NARROW_BEAMS, Beam
from .catalogue import GRADIENTS, OF_NETWORKS
from .forward import part
from .plans import plan_of
from .rounding import allowed

MOST = 8  # entries in one explanation
ALIKE = 3  # explanations of all activations whose gradients are looked at
LARGE = 1_000_000  # parameters of a part from which on NARROW_BEAMS are used
NEAR = 4.0  # times what rounding explains: on a part by itself; the whole network is then held to it exactly


@dataclasses.dataclass(frozen=True)
class Case:
    """A Question, and what the target made of it: {part or gradient: array}, in our layouts."""

    question: object
    answer: dict

    def cheap(self):
        """The same for its first image alone, of which only parts are looked at."""
        question = dataclasses.replace(self.question, images=self.question.images[:1], labels=self.question.labels[:1])
        return Case(question, {name: array[:1] if array.ndim in (2, 4) and name not in self.question.parameters
                               and not name.startswith(("gradient of", "step of")) else array
                               for name, array in self.answer.items()})


def excesses(case, config, rules, precision, gradients=False):
    """{name: (error, allowed)} of all that the target answered, relative, from the reference by `rules`."""
    coarse = case.question.cast(np.float32)
    with np.errstate(all="ignore"):
        if gradients:
            with_step = any(name.startswith("step of") for name in case.answer)
            reference, sums = full_answer(case.question, config, rules, with_step)
            in_float32, _ = full_answer(coarse, config, rules, False)
        else:
            reference, in_float32, sums = trace(case.question, config, rules), trace(coarse, config, rules), {}
        limits, scales = allowed(reference, in_float32, precision, sums)
        return {name: (tolerance.distance(case.answer[name], reference[name], scales[name]), limits[name])
                for name in reference if name in case.answer}


def explain(cases, config, rules, precision):
    """(entries that make the reference by `rules` into the target, or None; entries that come nearest)."""
    search, found = _Search(cases, config, precision), []
    for entries in itertools.islice(search.forward(rules, ()), ALIKE):
        if not search.gradients_off(changed(rules, entries)):
            return entries, ()
        found.append(entries)
    for entries in found[:1]:
        for entry in GRADIENTS:
            if not search.gradients_off(changed(rules, (*entries, entry))):
                return (*entries, entry), ()
    return None, found[0] if found else search.nearest


class _Search:
    def __init__(self, cases, config, precision):
        self.cases, self.config, self.precision = sorted(cases, key=lambda case: case.question.images.size), config, \
            precision
        self.nearest, self.reached, self.known = (), -1, {}

    def gradients_off(self, rules):
        """Whether a gradient or step of the target is not that of the reference by `rules`."""
        for case in self.cases:
            if not any(name.startswith("gradient of") for name in case.answer):
                continue
            if any(error > limit for name, (error, limit) in
                   excesses(case, self.config, rules, self.precision, gradients=True).items()
                   if " of " in name):
                return True
        return False

    def forward(self, rules, entries):
        """Yield entries that reproduce every part, `entries` among them."""
        wrong = self.first_wrong(rules)
        if wrong is None:
            yield entries
            return
        if wrong > self.reached:
            self.nearest, self.reached = entries, wrong
        if len(entries) >= MOST:
            return
        further = []
        for more in self.reproducing(rules, entries, wrong):
            position = self.first_wrong(changed(rules, more))
            if position is None:
                yield (*entries, *more)
            elif position > wrong:  # else it mends this part and spoils another
                further.append((position, more))
        for _, more in sorted(further, key=lambda pair: -pair[0]):
            yield from self.forward(changed(rules, more), (*entries, *more))

    def first_wrong(self, rules):
        """The position of the first part that the reference by `rules` does not reproduce, or None."""
        if rules not in self.known:
            self.known[rules] = self._first_wrong(rules)
        return self.known[rules]

    def _first_wrong(self, rules):
        parts, first = plan_of(self.config, rules).parts, None
        for case in self.cases:
            try:
                off = excesses(case, self.config, rules, self.precision)
            except (ArithmeticError, ValueError):  # these rules do not fit these shapes
                return 0
            here = next((k for k, name in enumerate(parts) if name in off and off[name][0] > off[name][1]), None)
            first = here if first is None else first if here is None else min(first, here)
        return first

    def reproducing(self, rules, entries, wrong):
        """Tuples of further entries that reproduce the part at position `wrong`, the likeliest first."""
        whole = [_Segment(case, self.config, rules, wrong, self.precision) for case in self.cases]
        quick = [_Segment(case.cheap(), self.config, rules, wrong, self.precision) for case in self.cases]
        taken = {key for entry in entries for key in entry.changes}
        search = Beam([entry for entry in OF_NETWORKS if not taken & set(entry.changes)], rules,
                      lambda rules: [segment.output(rules) for segment in quick if segment.can_tell],
                      [segment.wanted for segment in quick if segment.can_tell],
                      [segment.near for segment in quick if segment.can_tell],
                      lambda rules: max(segment.excess(rules) for segment in whole),
                      BEAMS if whole[0].size <= LARGE else NARROW_BEAMS)
        yield from search.groups()
        if search.nearest and wrong >= self.reached:
            self.nearest = (*entries, *search.nearest)


class _Segment:
    """The parts from the last one that can be seen in the target up to the one that is wrong, and what went in."""

    def __init__(self, case, config, rules, wrong, precision):
        parts = plan_of(config, rules).parts
        before = [k for k in range(wrong) if parts[k] in case.answer]
        self.config, self.parts = config, parts[before[-1] + 1 if before else 0:wrong + 1]
        entering = case.answer[parts[before[-1]]] if before else case.question.images
        self.entering = entering.astype(np.float64)
        self.can_tell = parts[wrong] in case.answer
        self.wanted = case.answer[parts[wrong]] if self.can_tell else None
        used = case.question.parameters if len(self.parts) > 2 else _of_parts(case.question.parameters, self.parts)
        self.parameters = {name: Tensor(array) for name, array in used.items()}
        self.size = sum(tensor.data.size for tensor in self.parameters.values())
        exact = self.output(rules)
        in_float32 = {name: Tensor(array.astype(np.float32)) for name, array in used.items()}
        coarse = self.output(rules, in_float32, np.float32)
        self.near = NEAR * tolerance.allowed({"": exact}, {"": coarse}, {}, precision)[""]

    def output(self, rules, parameters=None, dtype=np.float64):
        """What the reference by `rules` makes of what went in."""
        plan, x = plan_of(self.config, rules), Tensor(self.entering.astype(dtype))
        with no_grad(), np.errstate(all="ignore"):
            for name in self.parts:
                x = part(parameters or self.parameters, name, x, plan, rules)
        return x.data

    def excess(self, rules):
        """How far that is from what the target made of it, over what is near; infinite where it cannot be computed."""
        try:
            return tolerance.distance(self.wanted, self.output(rules)) / self.near if self.can_tell else 0.0
        except (ArithmeticError, ValueError, KeyError):
            return float("inf")


def _of_parts(parameters, parts):
    """The parameters of these parts alone."""
    fronts = {"stem": ("stem_convs.", "initial_conv."), "pooled features": ("final_conv.",), "logits": ("linear.",)}
    wanted = tuple(front for name in parts for front in fronts.get(name, (f"{name}.",)))
    return {name: array for name, array in parameters.items() if name.startswith(wanted)}
