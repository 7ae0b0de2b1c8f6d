"""Adding a bias and summing its gradient on CuPy.

Sums: half an epsilon of the type they are computed in for each of the `rows` additions, of the magnitudes added up
(Higham, 2002, section 4.2), and half an epsilon of the result's dtype, as it is rounded to that once.
"""

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from nfnumpy.backend import cuda, to_host
from nfnumpy.functional import linear as formulas
from nfnumpy.functional.fast_cupy import linear as fast

DTYPES = st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
COLUMNS = st.one_of(st.integers(1, 40), st.sampled_from([64, 96, 130, 256, 384, 1000, 3072]))


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def put(array, misaligned=False):
    """`array` on the GPU, or at an address there that is no multiple of 16."""
    flat = cupy.asarray(np.concatenate([np.zeros(int(misaligned), array.dtype), array.ravel()]))
    return flat[int(misaligned):].reshape(array.shape)


def in_orders(function):
    """The bytes of what `function()` returns, whichever order threads and blocks run in: a set of one."""
    with pytest.MonkeyPatch.context() as patch:
        return {patch.setenv("CUDA_ON_CPU_ORDER", order) or to_host(function()).tobytes() for order in ("0", "1", "2")}


# ---- adding


@given(rows=st.integers(1, 40), columns=COLUMNS, dtype=DTYPES, misaligned=st.booleans(), bias_misaligned=st.booleans())
@example(rows=1, columns=1, dtype=np.float32, misaligned=False, bias_misaligned=False)
@example(rows=700, columns=3, dtype=np.float16, misaligned=False, bias_misaligned=False)
@example(rows=3, columns=2101, dtype=np.float32, misaligned=False, bias_misaligned=True)
def test_every_row_gets_the_bias_in_one_launch_and_one_rounding(rows, columns, dtype, misaligned, bias_misaligned):
    values, bias = normal((rows, columns), dtype), normal(columns, dtype, seed=1)
    wide = cuda.accumulator_type(np.dtype(dtype))
    out, launches = put(values, misaligned), []
    with pytest.MonkeyPatch.context() as patch:
        launch = cuda.KernelFile.launch
        patch.setattr(cuda.KernelFile, "launch", lambda *arguments: launches.append(launch(*arguments)))
        fast.add_bias(out, put(bias, bias_misaligned))
    assert np.array_equal(to_host(out), (values.astype(wide) + bias.astype(wide)).astype(dtype)) and len(launches) == 1


def test_no_bias_and_no_rows_are_left_as_they_are():
    out = put(normal((3, 4), np.float32))
    fast.add_bias(out, None)
    assert np.array_equal(to_host(out), normal((3, 4), np.float32))
    fast.add_bias(put(normal((0, 4), np.float32)), put(normal(4, np.float32)))


# ---- summing


@given(rows=st.integers(1, 600), columns=COLUMNS, dtype=DTYPES, misaligned=st.booleans(), blocks=st.integers(1, 64))
@example(rows=5000, columns=1, dtype=np.float16, misaligned=False, blocks=512)
@example(rows=5000, columns=8, dtype=np.float16, misaligned=False, blocks=512)
@example(rows=3000, columns=33, dtype=np.float32, misaligned=False, blocks=512)
@example(rows=1, columns=1, dtype=np.float32, misaligned=True, blocks=1)
def test_the_gradient_of_a_bias_is_the_sum_over_all_rows(rows, columns, dtype, misaligned, blocks):
    cotangent = normal((rows, columns), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "BLOCKS", blocks)
        back = to_host(fast.bias_vjp(put(cotangent, misaligned)))
    exact = cotangent.astype(np.float64).sum(axis=0)
    computed_in = float(ml_dtypes.finfo(cuda.accumulator_type(np.dtype(dtype))).eps) / 2
    stored_in = float(ml_dtypes.finfo(dtype).eps) / 2
    error = rows * computed_in * np.abs(cotangent.astype(np.float64)).sum(axis=0)
    assert back.dtype == dtype and back.shape == (columns,)
    assert np.all(np.abs(back.astype(np.float64) - exact) <= error + stored_in * (np.abs(exact) + error))


@given(rows=st.integers(1, 600), columns=COLUMNS, blocks=st.integers(1, 64))
def test_every_row_counts_once_in_every_column(rows, columns, blocks):
    """A one in a single row of each column, then ones everywhere."""
    cotangent = np.zeros((rows, columns))
    cotangent[np.arange(columns) * 7 % rows, np.arange(columns)] = np.arange(columns) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "BLOCKS", blocks)
        assert np.array_equal(to_host(fast.bias_vjp(put(cotangent))), np.arange(columns) + 1)
        assert np.array_equal(to_host(fast.bias_vjp(put(np.ones((rows, columns), np.float32)))), [rows] * columns)


@given(rows=st.integers(1, 600), columns=COLUMNS, dtype=DTYPES)
def test_bits_do_not_depend_on_the_order_of_threads_and_blocks(rows, columns, dtype):
    cotangent, bias = put(normal((rows, columns), dtype)), put(normal(columns, dtype, seed=1))
    assert len(in_orders(lambda: fast.bias_vjp(cotangent))) == 1

    def added():
        out = cotangent.copy()
        fast.add_bias(out, bias)
        return out
    assert len(in_orders(added)) == 1


@given(rows=st.integers(1, 1 << 24), down=st.integers(1, 256), pieces=st.integers(1, 1000))
def test_blocks_fill_a_gpu_where_rows_suffice_and_never_exceed(rows, down, pieces):
    rows_of_block = fast._rows_of_block(rows, down, pieces)
    blocks = pieces * -(-rows // rows_of_block)
    assert blocks <= max(fast.BLOCKS, pieces)
    assert blocks > fast.BLOCKS / 4 or rows_of_block <= 8 * down or rows < 4 * down


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (0, 4), (3, 0), (2, 0, 5)])
def test_all_axes_but_the_last_are_summed_however_many_there_are(shape):
    cotangent = normal(shape, np.float64)
    back = to_host(formulas.bias_vjp(put(cotangent)))
    assert back.dtype == np.float64 and back.shape == shape[-1:]
    assert np.allclose(back, formulas.bias_vjp.plain(cotangent), rtol=1e-14, atol=1e-14)


def test_a_transposed_cotangent_is_summed_as_it_reads():
    cotangent = normal((5, 7), np.float64)
    back = to_host(fast.bias_vjp(cupy.asarray(np.ascontiguousarray(cotangent.T)).T))
    assert np.allclose(back, cotangent.sum(axis=0), rtol=1e-14, atol=1e-14)
