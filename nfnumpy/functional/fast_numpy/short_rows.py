"""Copies and sums of short rows, for which NumPy would start one loop each.

Used by: convolution/ and pooling.py. Test: fast_numpy/test_convolution.py.
"""

import math

import numpy

from ...backend import tuning


def copy_runs(target: numpy.ndarray, source: numpy.ndarray) -> None:
    """target[...] = source, (…, rows, values): NumPy starts a loop for every run of values, which costs as much as 20.

    Short runs are copied as single items of their length instead, so that the loop is over their neighbours.
    """
    size = source.shape[-1] * source.itemsize
    if size > tuning.LONG_RUN_BYTES or source.strides[-1] != source.itemsize:
        numpy.copyto(target, source)
        return
    target, source = (array.view(f"V{size}")[..., 0] for array in (target, source))
    for row in range(source.shape[-1]):
        target[..., row] = source[..., row]


def add_bias(result: numpy.ndarray, bias: numpy.ndarray) -> None:
    """result (outputs, groups, channels) += bias (groups·channels,), several outputs at a time where rows are short."""
    if len(bias) < tuning.LONG_ROW_VALUES and result.flags.c_contiguous:
        together = math.gcd(len(result), 1 << (tuning.LONG_ROW_VALUES // len(bias)).bit_length())
        result = result.reshape(len(result) // together, -1)
        result += numpy.tile(bias, together)
    else:
        result += bias.reshape(result.shape[1:])
