"""Arrays are cut into shares and blocks that cover every index once, whatever the number of threads."""

import numpy as np
from hypothesis import given, strategies as st

from nfnumpy.backend import blocking
from reference_tests.helpers.fast_paths import THREADS, smallest_sizes
from reference_tests.helpers.strategies import seeds

LENGTHS = st.integers(0, 50)


def indices_of(slices):
    return [k for one in slices for k in range(one.start, one.stop)]


@given(length=LENGTHS, count=st.integers(1, 9), values=st.integers(0, 100), least=st.integers(0, 60))
def test_shares_cover_every_index_once_and_are_even(length, count, values, least):
    with smallest_sizes(count, PARALLEL_VALUES=least):
        by_thread = blocking.split_by_thread(length)
        by_work = blocking.split_by_work(length, values)
    for shares in (by_thread, by_work):
        sizes = [share.stop - share.start for share in shares]
        assert indices_of(shares) == list(range(length)) and max(sizes) - min(sizes) <= 1
    assert len(by_thread) == max(1, min(count, length))
    assert len(by_work) <= len(by_thread) and len(by_work) <= max(1, values // max(least, 1))


@given(start=LENGTHS, length=LENGTHS, step=st.integers(1, 9))
def test_steps_cover_a_share_once(start, length, step):
    blocks = blocking.split_by_step(slice(start, start + length), step)
    assert indices_of(blocks) == list(range(start, start + length))
    assert all(0 < block.stop - block.start <= step for block in blocks)


@given(length=LENGTHS, columns=st.integers(1, 5), count=THREADS, block_values=st.integers(1, 30),
       long_row=st.integers(0, 6), seed=seeds)
def test_blocks_see_the_same_rows_of_all_arrays(length, columns, count, block_values, long_row, seed):
    """The trailing axes of the arrays may differ; `row` is repeated for a whole block."""
    draws = np.random.default_rng(seed)
    x, y, row = draws.standard_normal((length, columns)), draws.standard_normal((length, 1, 2)), draws.random(columns)
    sizes = []

    def compute(out, x, y, row):
        assert len(out) == len(x) == len(y) == len(row)
        sizes.append(max(out.size, y.size))
        out[...] = x * row + y.sum(axis=(1, 2))[:, None]

    with smallest_sizes(count, LONG_ROW_VALUES=long_row):
        out = blocking.blockwise(compute, np.full_like(x, np.nan), x, y, rows=[row], block_values=block_values)
    assert np.array_equal(out, x * row + y.sum(axis=(1, 2))[:, None])
    assert all(size <= max(block_values, columns, 2) for size in sizes)


@given(shape=st.tuples(LENGTHS, st.integers(1, 3)), count=THREADS)
def test_elementwise_results_do_not_depend_on_the_blocks(shape, count):
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    with smallest_sizes(count):
        out = blocking.elementwise(lambda out, x, y: np.subtract(x, y, out=out), 3 * x, x)
    assert out.shape == x.shape and np.array_equal(out, 2 * x)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9), count=THREADS)
def test_parts_are_added_in_their_order(values, count):
    with smallest_sizes(count):
        total = blocking.reduce_blocks(np.float32, values)
    expected = np.float32(values[0])
    for value in values[1:]:
        expected += np.float32(value)
    assert total == expected


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4), count=THREADS, least=st.sampled_from([0, 1 << 30]))
def test_lists_of_arrays_are_computed_block_by_block(sizes, count, least):
    arrays = [np.arange(size, dtype=np.float64).reshape(-1, 1) for size in sizes]
    with smallest_sizes(count, PARALLEL_VALUES=least):
        blocks = blocking.split_arrays(arrays)
        out = blocking.multi_tensor_elementwise(lambda out, x, y: np.add(x, y, out=out), arrays, arrays)
        doubled = blocking.map_by_work(lambda size: 2 * size, sizes, sum(sizes))
    assert all(np.array_equal(one, 2 * array) for one, array in zip(out, arrays, strict=True))
    assert doubled == [2 * size for size in sizes]
    lengths = [block.stop - block.start for _, block in blocks]
    assert lengths == sorted(lengths, reverse=True)
    for k, size in enumerate(sizes):
        assert sorted(indices_of([block for number, block in blocks if number == k])) == list(range(size))
