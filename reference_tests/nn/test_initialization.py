"""What parameters start as, and the random numbers behind them.

Statistical bounds: the seeds are fixed, so a test passes always or never; each bound is one that a correct generator
misses with probability below 1e-6: five standard deviations, or for distribution functions the inequality of Dvoretzky,
Kiefer, Wolfowitz and Massart: P(sup |F_n - F| > t) ≤ 2 exp(-2 n t²).
"""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.backend import CounterRNG

MODELS = ("nfnet_16px", "nf_resnet_32px", "nf_regnet_32px")
SIGMAS = 5
SEEDS = st.integers(0, 2**64 - 1)


def largest_deviation(sample, distribution):
    """sup |F_n - F| over a sample, the values of F at which are `distribution(sorted sample)`."""
    n = sample.size
    expected = distribution(np.sort(sample, axis=None))
    return max(np.abs(np.arange(1, n + 1) / n - expected).max(), np.abs(np.arange(n) / n - expected).max())


def allowed_deviation(n, probability=1e-6):
    return math.sqrt(math.log(2 / probability) / (2 * n))


def normal_distribution(values):
    return torch.special.ndtr(torch.from_numpy(values)).numpy()


def weights_of(model):
    """(name, weight, standard deviation it should have) of all weights drawn from a normal distribution."""
    for name, parameter in model.parameters().items():
        if name.endswith("weight") and not (name == "linear.weight" and isinstance(model, nf.models.NFRegNet)):
            fan_in = math.prod(parameter.shape[:-1])
            yield name, parameter.data, 0.01 if name == "linear.weight" else fan_in**-0.5


# ---- parameters


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_same_parameters_in_either_dtype(name):
    single, again, double = (nf.models.create(name, seed=7, dtype=dtype).state_dict()
                             for dtype in ("float32", "float32", "float64"))
    for key, value in double.items():
        assert value.dtype == np.float64 and single[key].dtype == np.float32
        assert np.array_equal(single[key], again[key])
        assert np.array_equal(single[key], value.astype(np.float32))


@pytest.mark.parametrize("name", MODELS)
def test_no_two_weights_or_seeds_share_their_draws(name):
    """Of 2.4e5 normals, 0.01 pairs lie within 1e-12 of each other by chance, and three pairs practically never; a
    weight that is a copy of another one would add a hundred pairs.
    """
    model, other = (nf.models.create(name, seed=seed, dtype="float64") for seed in (0, 1))
    drawn = np.concatenate([np.unique(weight * (1 / scale)) for m in (model, other)
                            for _, weight, scale in weights_of(m)])
    assert np.unique(drawn.round(12)).size > drawn.size - 3


@pytest.mark.parametrize("name", MODELS)
def test_gains_start_at_one_and_biases_and_skip_gains_at_zero(name):
    model = nf.models.create(name)
    expected = {"gain": 1.0, "bias": 0.0, "skip_gain": 0.0}
    for key, value in model.state_dict().items():
        kind = key.rpartition(".")[2]
        assert kind == "weight" or (value == expected[kind]).all(), key
    assert (model.linear.weight.data == 0).all() == name.startswith("nf_regnet")


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_has_its_mean_and_variance(name):
    """Of n normals, mean/sigma has standard deviation 1/sqrt(n), and the mean square/sigma² has sqrt(2/n)."""
    for key, weight, scale in weights_of(nf.models.create(name, dtype="float64", seed=3)):
        z = weight / scale
        assert abs(z.mean()) < SIGMAS / math.sqrt(z.size), key
        assert abs((z * z).mean() - 1) < SIGMAS * math.sqrt(2 / z.size) + 2 * SIGMAS**2 / z.size, key


@pytest.mark.parametrize("name", MODELS)
def test_all_weights_together_are_normal(name):
    """Untruncated: beyond 3 sigma lie 0.27 % of them, with a binomial's standard deviation."""
    z = np.concatenate([(weight / scale).reshape(-1) for _, weight, scale in
                        weights_of(nf.models.create(name, dtype="float64"))])
    assert largest_deviation(z, normal_distribution) < allowed_deviation(z.size)
    tail = 2 * (1 - 0.9986501019683699)
    assert abs((np.abs(z) > 3).mean() - tail) < SIGMAS * math.sqrt(tail / z.size)


def test_a_model_of_shapes_holds_zeros():
    assert not any(array.any() for array in nf.models.create("nfnet_8px", shapes_only=True).state_dict().values())


# ---- random bits

MASK = 2**64 - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def philox(counter, key):
    """Philox-4×64-10 of Salmon et al. (2011), written from the paper: four words of counter and two of key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(MULTIPLIERS[0] * c0, 2**64)
        high1, low1 = divmod(MULTIPLIERS[1] * c2, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + WEYL[0]) & MASK
        k1 = (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


@pytest.mark.parametrize("counter, key, words", [
    ((0, 0, 0, 0), (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
    ((MASK,) * 4, (MASK,) * 2, (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)),
    ((0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
     (0x452821E638D01377, 0xBE5466CF34E90C6C),
     (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6))])
def test_philox_gives_the_known_answers_of_its_authors(counter, key, words):
    """The vectors published with their library Random123."""
    assert philox(counter, key) == words


@given(SEEDS, SEEDS, st.text(max_size=20), st.integers(1, 9))
def test_bits_are_philox_of_seed_site_and_step(seed, step, site, count):
    """Key: the seed and BLAKE2b of the site; counter: 1, 2, …, and the step in its highest word."""
    key = (seed, int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "little"))
    expected = [word for block in range(1, 4) for word in philox((block, 0, 0, step), key)]
    bits = CounterRNG(seed, step=step).bits(site, count)
    assert bits.dtype == np.uint64 and bits.tolist() == expected[:count]


def test_numbers_of_a_seed_never_change():
    """A change of these changes every run; the first is the top 53 bits of Philox's first word."""
    randomness = CounterRNG(2021, step=6)
    first = philox((1, 0, 0, 6), (2021, int.from_bytes(hashlib.blake2b(b"dropout", digest_size=8).digest(), "little")))
    assert randomness.uniform("dropout", (1,))[0] == (first[0] >> 11) / 2**53
    u = first[0] >> 11
    v = first[1] >> 11
    expected = math.sqrt(-2 * math.log1p(-u / 2**53)) * np.asarray([math.cos(2 * math.pi * v / 2**53),
                                                                    math.sin(2 * math.pi * v / 2**53)])
    np.testing.assert_allclose(randomness.normal("dropout", (2,)), expected, rtol=8 * 2.3e-16)


# ---- distributions


@given(SEEDS, st.integers(0, 2**20))
def test_uniform_numbers_are_spread_evenly_below_one(seed, step):
    sample = CounterRNG(seed, step).uniform("site", (20, 100))
    assert sample.shape == (20, 100) and sample.dtype == np.float64
    assert (0 <= sample).all() and (sample < 1).all()
    assert (sample * 2**53 == np.floor(sample * 2**53)).all()
    assert largest_deviation(sample, lambda values: values) < allowed_deviation(sample.size)


@given(SEEDS, st.integers(0, 2**20))
def test_normal_numbers_are_normal(seed, step):
    """Mean, variance, skewness and kurtosis have variances 1, 2, 6 and 24 over n."""
    sample = CounterRNG(seed, step).normal("site", (21, 101))
    assert sample.shape == (21, 101)
    assert largest_deviation(sample, normal_distribution) < allowed_deviation(sample.size)
    hermite = (sample, sample**2 - 1, sample**3 - 3 * sample, sample**4 - 6 * sample**2 + 3)
    for moment, variance in zip(hermite, (1, 2, 6, 24), strict=True):
        assert abs(moment.mean()) < 2 * SIGMAS * math.sqrt(variance / sample.size)


@given(SEEDS, st.integers(0, 6), st.integers(0, 6), st.integers(1, 5))
def test_first_rows_of_a_draw_do_not_depend_on_later_rows(seed, rows, more, columns):
    """So a batch cut short keeps its masks."""
    randomness = CounterRNG(seed)
    draw = randomness.uniform("site", (rows + more, columns))
    assert np.array_equal(draw[:rows], randomness.uniform("site", (rows, columns)))


@given(SEEDS, st.integers(0, 100))
def test_a_permutation_holds_every_number_once(seed, count):
    order = CounterRNG(seed).permutation("order", count)
    assert np.array_equal(np.sort(order), np.arange(count))


def test_every_permutation_is_equally_likely():
    """Of 3 numbers in 6000 draws: a count has standard deviation sqrt(6000·5/36)."""
    orders = [tuple(CounterRNG(0, step).permutation("order", 3).tolist()) for step in range(6000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6 and max(abs(count - 1000) for count in counts) < SIGMAS * math.sqrt(6000 * 5 / 36)


@pytest.mark.parametrize("one, other", [
    (CounterRNG(0), CounterRNG(1)), (CounterRNG(0), CounterRNG(2**63)), (CounterRNG(0, 0), CounterRNG(0, 1)),
    (CounterRNG(1, 0), CounterRNG(0, 1))], ids=["seeds", "distant seeds", "steps", "seed and step"])
def test_seeds_and_steps_give_unrelated_numbers(one, other):
    assert_unrelated(one.uniform("site", (10_000,)), other.uniform("site", (10_000,)))


@pytest.mark.parametrize("other", ["blocks.1", "blocks.00", "Blocks.0", "blocks.0.", ""])
def test_sites_give_unrelated_numbers(other):
    randomness = CounterRNG(0)
    assert_unrelated(randomness.uniform("blocks.0", (10_000,)), randomness.uniform(other, (10_000,)))


def assert_unrelated(one, other):
    """No number in common, and a correlation within five standard deviations of 1/sqrt(n)."""
    assert not np.intersect1d(one, other).size
    assert abs(np.corrcoef(one, other)[0, 1]) < SIGMAS / math.sqrt(one.size)


def test_draws_do_not_depend_on_what_was_drawn_before():
    randomness = CounterRNG(5)
    first = randomness.normal("site", (7,))
    randomness.uniform("another", (100,))
    assert np.array_equal(first, randomness.normal("site", (7,)))
    assert np.array_equal(first, CounterRNG(5).normal("site", (7,)))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(InputError, match="seed"):
        CounterRNG(seed)
