"""A random order of any number of things, any part of which is computed without the rest of it.

Used by: datasets/survey.py, augment/examples.py. Test: reference_tests/backend/test_permutation.py.
"""

from typing import overload

import numpy

from .random import CounterRNG

ROUNDS = 8


class KeyedPermutation:
    """The numbers 0 … count-1 in a random order that depends on (seed, step, site), in a memory that does not grow.

    A Feistel network permutes the numbers of as many bits as `count` needs; a number outside of the range is permuted
    again until it is inside ("cycle walking"; Black and Rogaway, 2002, section 3), which takes less than two turns on
    average. Eight rounds are four more than a network of ideal round functions needs to be indistinguishable from a
    random permutation (Luby and Rackoff, 1988). This is for shuffling, not for secrets.
    """

    def __init__(self, rng: CounterRNG, site: str, count: int) -> None:
        self.count = count
        bits = max(2, (count - 1).bit_length())
        self._widths = (bits // 2, bits - bits // 2)  # of the left and the right half
        self._keys = rng.bits(site, ROUNDS)

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, positions: int) -> int: ...

    @overload
    def __getitem__(self, positions: slice) -> numpy.ndarray: ...

    def __getitem__(self, positions: int | slice) -> int | numpy.ndarray:
        """The number at a position, or those at a slice of positions: a host int64 array."""
        wanted = range(self.count)[positions]
        if isinstance(wanted, int):
            return int(self._permuted(numpy.array([wanted], dtype=numpy.uint64))[0])
        return self._permuted(numpy.arange(wanted.start, wanted.stop, wanted.step).astype(numpy.uint64))

    def _permuted(self, numbers: numpy.ndarray) -> numpy.ndarray:
        """The numbers at the positions `numbers` uint64 (n,)."""
        numbers = self._network(numbers)
        outside = numpy.flatnonzero(numbers >= self.count)
        while outside.size:
            numbers[outside] = self._network(numbers[outside])
            outside = outside[numbers[outside] >= self.count]
        return numbers.astype(numpy.int64)

    def _network(self, numbers: numpy.ndarray) -> numpy.ndarray:
        """The Feistel network: numbers uint64 (n,) of as many bits as both halves have, permuted."""
        left_width, right_width = self._widths
        left, right = numbers >> numpy.uint64(right_width), numbers & numpy.uint64(2**right_width - 1)
        for key in self._keys:
            # The halves change places, and with them their widths.
            left, right = right, (left + _mixed(right ^ key)) & numpy.uint64(2**left_width - 1)
            left_width, right_width = right_width, left_width
        return (left << numpy.uint64(right_width)) | right


def _mixed(words: numpy.ndarray) -> numpy.ndarray:
    """A function of uint64 words that changes every bit of the result with half of the chances (Stafford's mix 13)."""
    words = (words ^ (words >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return words ^ (words >> numpy.uint64(31))
