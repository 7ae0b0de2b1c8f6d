"""The blocks of a convolution cover everything once, are no larger than they may be, and give every thread some."""

import numpy as np
from hypothesis import given, strategies as st

from nfnumpy.functional.fast_numpy.convolution.problem import ConvProblem, plan_blocks
from nfnumpy.functional.windows import Windows

SIZES = st.integers(1, 9)


@st.composite
def problems(draw):
    """A ConvProblem of any number of images, rows, columns, groups, channels and threads."""
    out = draw(st.tuples(SIZES, SIZES))
    windows = Windows.with_output(out, (1, 1), out, before=(0, 0))
    images, groups, fan_in, channels = (draw(SIZES) for _ in range(4))
    return ConvProblem(windows, images, groups, fan_in, channels, 4, draw(st.integers(1, 4)))


@given(problem=problems(), row_bytes=st.integers(1, 50), block_bytes=st.integers(1, 3000))
def test_every_row_of_every_image_and_group_is_in_one_block(problem, row_bytes, block_bytes):
    covered = np.zeros((problem.images, problem.windows.out[0], problem.groups), int)
    for block in plan_blocks(problem, row_bytes, block_bytes):
        covered[block.images, block.rows, block.groups] += 1
    assert np.all(covered == 1)


@given(problem=problems(), row_bytes=st.integers(1, 50), block_bytes=st.integers(1, 3000))
def test_a_block_is_at_most_a_row_larger_than_asked_for(problem, row_bytes, block_bytes):
    """A row is never cut, and narrow groups stay together."""
    width = problem.windows.out[1]
    for block in plan_blocks(problem, row_bytes, block_bytes):
        images, rows, groups = (part.stop - part.start for part in block)
        row = groups * width * row_bytes
        assert images * rows * row <= block_bytes + row


@given(problem=problems(), row_bytes=st.integers(1, 50))
def test_there_is_a_block_for_every_thread_where_there_are_rows(problem, row_bytes):
    blocks = plan_blocks(problem, row_bytes, 1 << 30)
    runs = len({(block.groups.start, block.groups.stop) for block in blocks})
    most = runs * problem.images * problem.windows.out[0]
    assert len(blocks) >= min(problem.threads, most)
