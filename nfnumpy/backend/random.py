"""Counter-based random numbers: they depend on (seed, step, site) and on nothing that happened before.

Philox-4×64 (Salmon et al., SC 2011) turns a key and a counter into random bits. The key is (seed, hash of the site's
name), the counter's highest word is the step. So a resumed run draws the numbers of the uninterrupted one, a recomputed
block gets its old masks, and both backends get the same numbers, because all are drawn on the host.
Uniforms and normals are made here from the raw bits, because NumPy may change its own distributions between versions.
(Normals go through a logarithm and a cosine, whose last bit may differ between processors.)
"""

import contextlib
import contextvars
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy

from ..errors import InputError
from .context import setting


@dataclass
class DrawnSteps:
    """The steps that the training passes within `repeatable_steps` have taken, in order."""

    steps: list[int] = field(default_factory=list)


@dataclass
class _Cursor:
    """Where a `repeatable_steps` context stands: the next step is drawn.steps[position], if there is one."""

    drawn: DrawnSteps
    position: int
    outer: "_Cursor | None"


_cursor: contextvars.ContextVar[_Cursor | None] = contextvars.ContextVar("cursor", default=None)


@contextlib.contextmanager
def repeatable_steps(drawn: DrawnSteps) -> Iterator[None]:
    """Context in which training passes take the steps in `drawn` again; further steps are added to it.

    The first time round `drawn` is empty; the second time the same passes see the same random numbers.
    """
    with setting(_cursor, _Cursor(drawn, 0, _cursor.get())):
        yield


def _take_step(rng, cursor):
    """The step of the next training pass: a repeated one, or a new one."""
    if cursor is None:
        step, rng.step = rng.step, rng.step + 1
        return step
    if cursor.position == len(cursor.drawn.steps):
        cursor.drawn.steps.append(_take_step(rng, cursor.outer))
    cursor.position += 1
    return cursor.drawn.steps[cursor.position - 1]


class CounterRNG:
    """Random numbers for one run: a `seed` (0 … 2⁶⁴-1) and the current `step`, which every training pass advances."""

    def __init__(self, seed: int, step: int = 0) -> None:
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise InputError(f"seed {seed!r}: expected a whole number from 0 to 2**64 - 1")
        self.seed = seed
        self.step = step

    def next_step(self) -> "CounterRNG":
        """The random numbers of the current step, which stay those of that step; this object goes on to the next one.

        A model calls it once in each training pass, so that two passes never use the same numbers by accident.
        """
        return CounterRNG(self.seed, _take_step(self, _cursor.get()))

    def bits(self, site: str, count: int) -> numpy.ndarray:
        """`count` random 64-bit words for the place called `site`: a host uint64 array."""
        key = [self.seed, int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "little")]
        generator = numpy.random.Philox(key=numpy.array(key, dtype=numpy.uint64),
                                        counter=numpy.array([0, 0, 0, self.step], dtype=numpy.uint64))
        return generator.random_raw(count)

    def uniform(self, site: str, shape: tuple[int, ...]) -> numpy.ndarray:
        """Numbers evenly spread over the multiples of 2⁻⁵³ in [0, 1): a host float64 array of `shape`."""
        return ((self.bits(site, math.prod(shape)) >> numpy.uint64(11)) * 2.0**-53).reshape(shape)

    def normal(self, site: str, shape: tuple[int, ...]) -> numpy.ndarray:
        """Standard normal numbers (Box and Muller, 1958): a host float64 array of `shape`."""
        count = math.prod(shape)
        half = (count + 1) // 2
        uniforms = self.uniform(site, (2, half))
        radius = numpy.sqrt(-2.0 * numpy.log1p(-uniforms[0]))  # 1 - u is never zero
        angle = 2.0 * math.pi * uniforms[1]
        return numpy.concatenate([radius * numpy.cos(angle), radius * numpy.sin(angle)])[:count].reshape(shape)

    def permutation(self, site: str, count: int) -> numpy.ndarray:
        """The numbers 0 … count-1 in random order: a host int64 array."""
        return numpy.argsort(self.bits(site, count), kind="stable")
