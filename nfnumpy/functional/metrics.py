"""Counts that are reported, not differentiated.

Used by: training/. Fast paths of `count_correct`: fast_cupy/losses.py. Kernel: losses.cu.
Tests: reference_tests/kernels/test_losses.py, functional/test_metrics.py.
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


def count_in_top(logits: Array, labels: Array, k: int) -> Array:
    """How many rows of the logits (N, classes) have the label among their k largest: labels (N,) -> () of int64.

    Of equal logits the first counts as larger, as in `count_correct`, which this is for k = 1. With at most k classes
    every row counts. InputError as there.
    """
    check_counted(logits, labels)
    xp = namespace(logits)
    classes = xp.arange(logits.shape[1], dtype=xp.int64)[None, :]
    own = xp.astype(labels, xp.int64)[:, None]
    of_label = xp.sum(xp.where(classes == own, logits, xp.zeros_like(logits)), axis=1, keepdims=True)
    before = (logits > of_label) | ((logits == of_label) & (classes < own))
    rank = xp.sum(xp.astype(before, xp.int64), axis=1)
    return as_array(xp.sum(xp.astype(rank < k, xp.int64)))
