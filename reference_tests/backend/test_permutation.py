"""A keyed permutation is one of all numbers, the same however it is asked, and spreads them evenly."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.backend import CounterRNG, KeyedPermutation


@given(count=st.integers(0, 3000), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000))
def test_every_number_comes_once(count, seed, epoch):
    order = KeyedPermutation(CounterRNG(seed, epoch), "site", count)
    assert len(order) == count
    assert np.array_equal(np.sort(order[:]), np.arange(count))


@given(count=st.integers(1, 10**15), start=st.integers(0, 10**15), length=st.integers(0, 50), step=st.integers(1, 7))
def test_any_part_is_that_of_the_whole(count, start, length, step):
    order = KeyedPermutation(CounterRNG(3), "site", count)
    part = order[start:start + length * step:step]
    assert part.dtype == np.int64 and np.all((part >= 0) & (part < count))
    positions = range(count)[start:start + length * step:step]
    assert part.tolist() == [order[position] for position in positions]


@pytest.mark.parametrize("position", [7, -8])
def test_positions_outside_are_index_errors(position):
    with pytest.raises(IndexError):
        KeyedPermutation(CounterRNG(0), "site", 7)[position]


def test_seed_epoch_and_site_each_give_another_order():
    orders = [KeyedPermutation(CounterRNG(seed, epoch), site, 1000)[:].tolist()
              for seed in (0, 1) for epoch in (0, 1) for site in "ab"]
    assert len({tuple(order) for order in orders}) == 8


def test_the_parts_of_an_order_are_even_samples():
    """Of 2^21 + 3 numbers, every 64th of positions has 1/64 of every 64th of numbers: 64² cells of 512 each.

    The counts have nearly a multinomial distribution; their chi-square of 63² degrees of freedom has the mean 3969 and
    the standard deviation √7938 = 89: five of those either way happen with a probability of 6e-7 by chance.
    """
    count = 2**21 + 3
    order = KeyedPermutation(CounterRNG(11), "site", count)[:]
    cells = np.histogram2d(np.arange(count), order, bins=64)[0]
    chi_square = ((cells - count / 64**2) ** 2).sum() / (count / 64**2)
    assert abs(chi_square - 3969) < 5 * 89


def test_neighbours_do_not_stay_neighbours():
    """Of 10^6 pairs of neighbours about two are neighbours again, in either order: Poisson, 15 and more 4e-9."""
    order = KeyedPermutation(CounterRNG(5), "site", 10**6)[:]
    assert np.count_nonzero(np.abs(np.diff(order)) == 1) < 15


def test_fixed_points_are_as_many_as_by_chance():
    """Over 400 keys one a permutation on average: 400 in all, with a standard deviation of 20; five of those."""
    fixed = sum(np.count_nonzero(KeyedPermutation(CounterRNG(seed), "site", 1000)[:] == np.arange(1000))
                for seed in range(400))
    assert abs(fixed - 400) < 5 * math.sqrt(400)
