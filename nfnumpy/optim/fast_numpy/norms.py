"""L2 norms from plain sums of squares; those whose squares leave the safe range are computed again by the formula.

Fast path of optim/norms.py. Test: reference_tests/optim/test_norms.py.
"""

from typing import NamedTuple

import numpy

from ...functional.safe_range import RANGES
from .. import norms

NONE = numpy.zeros(0, dtype=numpy.intp)  # no indices
SAFE_SUMS = {numpy.dtype(name): (within.least**2, within.largest) for name, within in RANGES.items()}  # of squares


class Norms(NamedTuple):
    """norm/shrink are the norms, as norms.shrunk has them; shrink is None where it is 1 for all."""

    norm: numpy.ndarray
    shrink: numpy.ndarray | None

    def unscaled(self) -> numpy.ndarray:
        """The norms themselves."""
        return self.norm if self.shrink is None else self.norm / self.shrink


def column_norms(matrix: numpy.ndarray) -> Norms:
    """The Norms of all columns, vectors."""
    squares = numpy.einsum("ij,ij->j", matrix, matrix)
    rare = _out_of_range(squares)
    if rare.size:
        rare = rare[matrix[:, rare].any(axis=0)]
    if not rare.size:
        return Norms(numpy.sqrt(squares), None)
    norm, by = norms.scaled_norm(matrix[:, rare], (0,))
    return _repaired(squares, rare, norm[0], by[0])


def piece_norms(row: numpy.ndarray, sizes: numpy.ndarray) -> Norms:
    """The Norms of the pieces of these sizes that a vector consists of."""
    squares = numpy.zeros(len(sizes), dtype=row.dtype)
    ends = numpy.cumsum(sizes)
    starts = ends - sizes
    if row.size:
        with numpy.errstate(over="ignore", under="ignore"):
            squares[sizes > 0] = numpy.add.reduceat(row * row, starts[sizes > 0])
    rare = _out_of_range(squares)
    found = [(k, *norms.scaled_norm(piece)) for k in rare if (piece := row[starts[k]:ends[k]]).any()]
    if not found:
        return Norms(numpy.sqrt(squares), None)
    return _repaired(squares, *map(numpy.asarray, zip(*found, strict=True)))


def _out_of_range(squares):
    """Indices of the sums of squares, a vector of float32 or float64, that are too large, too small or NaN."""
    least, largest = SAFE_SUMS[squares.dtype]
    if squares.size and squares.min() >= least and squares.max() <= largest:
        return NONE
    are_safe = (squares >= least) & (squares <= largest)
    return numpy.flatnonzero(~are_safe)


def _repaired(squares, rare, norm, by):
    """The Norms from sums of squares, with those of `norm`/`by` at the indices `rare`."""
    norms_of_all = numpy.sqrt(squares)
    shrink = numpy.ones_like(squares)
    norms_of_all[rare], shrink[rare] = norms.shrunk(norm, by)
    return Norms(norms_of_all, shrink)
