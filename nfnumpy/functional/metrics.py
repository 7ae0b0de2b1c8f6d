"""Counts that are reported, not differentiated.

Used by: training/, evaluation/. Fast paths of `count_correct`: fast_cupy/losses.py. Kernel: losses.cu.
Test: reference_tests/kernels/test_losses.py, functional/test_metrics.py.
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


def label_ranks(logits: Array, labels: Array) -> Array:
    """How many classes come before the label's, from the largest logit down: (N, classes), (N,) -> (N,) of int64.

    Of equal logits the first comes first, as in `count_correct`. Where logits are NaN the label is the last one.
    InputError unless the labels are whole numbers.
    """
    check_counted(logits, labels)
    xp = namespace(logits)
    classes = xp.arange(logits.shape[1], dtype=xp.int64)[None, :]
    own = xp.astype(labels, xp.int64)[:, None]
    of_label = xp.sum(xp.where(classes == own, logits, xp.zeros_like(logits)), axis=1, keepdims=True)
    is_after = (logits < of_label) | ((logits == of_label) & (classes >= own))
    return as_array(xp.sum(xp.astype(~is_after, xp.int64), axis=1))


def count_in_top(logits: Array, labels: Array, k: int) -> Array:
    """How many rows of the logits (N, classes) have the label among their k largest: labels (N,) -> () of int64.

    This is `count_correct` for k = 1, and with at most k classes every row counts, but for rows with NaN.
    """
    xp = namespace(logits)
    return as_array(xp.sum(xp.astype(label_ranks(logits, labels) < k, xp.int64)))
