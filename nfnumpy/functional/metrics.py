"""Counts that are reported, not differentiated.

Used by: training/. Fast paths: fast_cupy/losses.py. Kernel: losses.cu. Test: reference_tests/kernels/test_losses.py.
"""

from ..backend import as_array, formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .losses import are_whole_numbers, check_logits


def check_counted(logits: Array, labels: Array) -> None:
    """InputError unless the logits are (N, classes) and the labels whole numbers (N,)."""
    check_logits(logits)
    if not are_whole_numbers(labels, logits.shape, logits.dtype):
        raise InputError(f"labels: expected {logits.shape[0]} whole numbers, got shares {tuple(labels.shape)}")


@formula(check=check_counted)
def count_correct(logits: Array, labels: Array) -> Array:
    """How many rows of the logits (N, classes) have their first maximum at the label: labels (N,) -> () of int64."""
    xp = namespace(logits)
    hits = xp.argmax(logits, axis=1) == xp.astype(labels, xp.int64)
    return as_array(xp.sum(xp.astype(hits, xp.int64)))
