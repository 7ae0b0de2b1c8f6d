"""The search for the few known variants, of many, that together reproduce a target.

1. Every single variant is tried: the reference with it is computed and compared with the target's outputs.
2. Of the tuples that reproduce the outputs, those that also reproduce everything else (`excess`) are the result.
3. Else the best tuples by distance, as many as the beam is wide, are extended by every variant without conflict, and
   the search goes on with 2. One of several mistakes, corrected, usually brings the reference nearer to the target.
4. Two mistakes that cancel in part do not show in this way. But each of them alone moves the outputs along the line to
   the target (the cosine of the two displacements is nearly 1 or -1); all pairs of such variants are tried before 3.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import tolerance
from ..variants import KnownVariant, apply, extensions

BEAMS = (8, 6, 4)  # of single variants, pairs and triples, how many are extended by one more
NARROW_BEAMS = (4, 1, 1)  # where a trial takes long
WORTH_ONE_MORE = 0.5  # of the distance must be left, for a longer tuple to count as nearer
ALONG = 0.999  # |cosine| from which on a variant counts as a move along the line to the target

Group = tuple[KnownVariant, ...]


class Trial(NamedTuple):
    """error: the largest, over what is near; distance: root mean square; cosine: its magnitude, of the displacement by
    the group and the displacement to the target. Infinite and 0 where the group cannot be computed. has_effect: whether
    it changes any of the outputs.
    """

    error: float
    distance: float
    cosine: float
    group: Group
    has_effect: bool = False


class BeamSearch:
    """A search through `catalogue`, starting from `rules`.

    outputs(rules): a list of arrays, quickly computed; wanted: the target's; near: the error that is allowed for each;
    excess(rules): the error of everything over its limit. After `groups` has run, `nearest` is the tuple of variants
    that came nearest.
    """

    def __init__(self, catalogue: Iterable[KnownVariant], rules: Any,
                 outputs: Callable[[Any], list[np.ndarray]], wanted: Sequence[np.ndarray],
                 near: Sequence[float], excess: Callable[[Any], float], beams: tuple[int, ...] = BEAMS):
        self.catalogue = sorted(catalogue, key=lambda variant: not variant.benign)
        self.rules, self.outputs, self.wanted, self.near = rules, outputs, wanted, near
        self.excess, self.beams = excess, beams
        self.nearest: Group = ()
        self.start = outputs(rules)
        self.to_target = _displacement(self.start, wanted)

    def trial(self, group: Group) -> Trial:
        """The Trial of a group of variants."""
        try:
            got = self.outputs(apply(self.rules, group))
        except (ArithmeticError, ValueError):  # these rules do not apply to these shapes
            return Trial(np.inf, np.inf, 0.0, group)
        error = max(tolerance.distance(want, out) / near
                    for want, out, near in zip(self.wanted, got, self.near, strict=True))
        if not np.isfinite(error):
            return Trial(np.inf, np.inf, 0.0, group)
        distance = max(float(np.linalg.norm(want - out) / (np.linalg.norm(out) or 1.0))
                       for want, out in zip(self.wanted, got, strict=True))
        has_effect = any(not np.array_equal(*pair) for pair in zip(self.start, got, strict=True))
        return Trial(error, distance, self._cosine(got), group, has_effect)

    def _cosine(self, got):
        moved = _displacement(self.start, got)
        if self.to_target is None or moved is None:
            return 0.0
        lengths = _dot(self.to_target, self.to_target)**0.5 * _dot(moved, moved)**0.5
        return abs(_dot(self.to_target, moved)) / lengths if lengths else 0.0

    def groups(self) -> Iterator[Group]:
        """Yield the tuples of variants that reproduce the target, all of the smallest length that there are."""
        tried = [self.trial((variant,)) for variant in self.catalogue]
        nearest = np.inf
        usable = [trial.group[0] for trial in tried if trial.has_effect or _across_examples(trial.group)]
        along = [trial.group[0] for trial in tried if trial.cosine > ALONG]
        for beam in (*self.beams, 0):
            within = [trial.group for trial in tried if trial.error <= 1.0 or _across_examples(trial.group)]
            found = [group for group in within if self.excess(apply(self.rules, group)) <= 1.0]
            ranked = sorted((trial for trial in tried if np.isfinite(trial.distance)), key=lambda trial: trial.distance)
            if ranked and ranked[0].distance < WORTH_ONE_MORE * nearest:
                nearest, self.nearest = ranked[0].distance, ranked[0].group
            yield from found
            if found:
                return
            pairs = itertools.combinations(along, 2)
            tried = [self.trial(pair) for pair in pairs if not pair[0].conflicts(pair[1])]
            if not any(trial.error <= 1.0 for trial in tried):
                tried += self._longer(_extended(ranked, beam), usable)
            along = []

    def _longer(self, groups, usable):
        """Trials of groups with one more variant, until one reproduces the target."""
        for group in groups:
            for longer in extensions(group, usable):
                trial = self.trial(longer)
                yield trial
                if trial.error <= 1.0:
                    return


def _extended(ranked, beam):
    """The groups that get one more variant: the nearest, and single variants whose distance a single image hides."""
    hidden = [trial.group for trial in ranked[beam:] if len(trial.group) == 1 and _across_examples(trial.group)]
    return [trial.group for trial in ranked[:beam]] + (hidden if beam else [])


def _displacement(starts, ends):
    """The differences of two lists of arrays, or None where the shapes differ."""
    if any(start.shape != end.shape for start, end in zip(starts, ends, strict=True)):
        return None
    return [end - start for start, end in zip(starts, ends, strict=True)]


def _dot(ones, others):
    return sum(float(np.vdot(one, other)) for one, other in zip(ones, others, strict=True))


def _across_examples(group):
    """Whether a single image, on which variants are tried first, does not show the group."""
    return any(variant.across_examples for variant in group)
