"""Looking for the few known forms, of many, that together reproduce a target, without trying all combinations.

One of several mistakes, put right, usually brings the reference nearer to the target. So forms are tried one by one; of
the nearest, and of the pairs and triples that grow from them, a few are tried with each further one. Two mistakes that
undo each other in part do not show in this way; but each of them alone moves the reference along the line on which the
target lies, so those that do are tried in pairs.
"""

import itertools

import numpy as np

from .. import tolerance
from ..variants import changed

BEAMS = (8, 6, 4)  # of single forms, pairs and triples, how many are tried with one more
NARROW_BEAMS = (4, 1, 1)  # where a trial is dear
WORTH_ONE_MORE = 0.5  # of the distance must be left, for a longer tuple to count as nearer
ALONG = 0.999  # cosine to the target from which on a form counts as lying in its direction


class Beam:
    """A search through `catalogue`, starting from `rules`.

    outputs(rules): a list of arrays, quickly computed; wanted: what they should be; near: how far each may be away;
    excess(rules): the error of everything over what is allowed. After `groups` has run, `nearest` is the tuple of
    entries that came nearest.
    """

    def __init__(self, catalogue, rules, outputs, wanted, near, excess, beams):
        self.catalogue = sorted(catalogue, key=lambda entry: not entry.harmless)
        self.rules, self.outputs, self.wanted, self.near = rules, outputs, wanted, near
        self.excess, self.beams, self.nearest = excess, beams, ()
        self.start = outputs(rules)

    def trial(self, group):
        """(the largest error over what is near, the root mean square distance, the cosine of the way that the group
        moves the reference to the way that it should move); infinite and 0 where the group cannot be computed.
        """
        try:
            got = self.outputs(changed(self.rules, group))
        except (ArithmeticError, ValueError, KeyError):
            return np.inf, np.inf, 0.0
        largest = max(tolerance.distance(want, out) / near for want, out, near in zip(self.wanted, got, self.near))
        if not np.isfinite(largest):
            return np.inf, np.inf, 0.0
        apart = max(float(np.linalg.norm(want - out) / (np.linalg.norm(out) or 1.0))
                    for want, out in zip(self.wanted, got))
        if any(out.shape != start.shape for out, start in zip(got, self.start)):
            return largest, apart, 0.0
        way = [want - start for want, start in zip(self.wanted, self.start)]
        moved = [out - start for out, start in zip(got, self.start)]
        lengths = _dot(way, way)**0.5 * _dot(moved, moved)**0.5
        return largest, apart, abs(_dot(way, moved)) / lengths if lengths else 0.0

    def groups(self):
        """Yield the tuples of entries that reproduce the target, all of the smallest length that there are."""
        tried = [(*self.trial((entry,)), (entry,)) for entry in self.catalogue]
        untouched, nearest = self.trial(())[:2], np.inf
        usable = [entry for error, apart, _, (entry,) in tried if np.isfinite(apart) and (error, apart) != untouched
                  or _needs_a_batch((entry,))]
        along = [entry for _, _, cosine, (entry,) in tried if cosine > ALONG]
        for beam in (*self.beams, 0):
            within = [group for error, _, _, group in tried if error <= 1.0 or _needs_a_batch(group)]
            found = [group for group in within if self.excess(changed(self.rules, group)) <= 1.0]
            ranked = sorted((each for each in tried if np.isfinite(each[1])), key=lambda each: each[1])
            if ranked and ranked[0][1] < WORTH_ONE_MORE * nearest:
                nearest, self.nearest = ranked[0][1], ranked[0][3]
            yield from found
            if found:
                return
            best = [group for _, _, _, group in ranked[:beam]]
            tried = [(*self.trial(pair), pair) for pair in itertools.combinations(along, 2) if _apart(*pair)]
            if not any(error <= 1.0 for error, *_ in tried):
                tried += self._longer(best, usable)
            along = ()

    def _longer(self, groups, usable):
        """Trials of groups with one more entry, until one reproduces the target."""
        for group in groups:
            for entry in usable:
                if all(_apart(entry, other) for other in group):
                    found = self.trial((*group, entry))
                    yield *found, (*group, entry)
                    if found[0] <= 1.0:
                        return


def _dot(ones, others):
    return sum(float(np.vdot(one, other)) for one, other in zip(ones, others))


def _apart(one, other):
    """Whether two entries change different rules."""
    return not set(one.changes) & set(other.changes)


def _needs_a_batch(group):
    """Whether a single image, on which forms are tried first, cannot tell."""
    return any("batch" in entry.name for entry in group)
