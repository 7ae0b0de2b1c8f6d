"""Top-k counts are those of sorting each row; ties count as argmax counts them."""

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.functional.metrics import count_correct, count_in_top, label_ranks
from reference_tests.helpers.strategies import seeds


@given(seed=seeds, rows=st.integers(1, 9), classes=st.integers(1, 9), k=st.integers(1, 9), dtype=st.sampled_from("fd"))
def test_the_count_is_that_of_sorting(seed, rows, classes, k, dtype):
    """Whole numbers from 0 to 3, so that most rows have ties: a stable sort keeps the first of them first."""
    random = np.random.default_rng(seed)
    logits = random.integers(0, 4, (rows, classes)).astype(dtype)
    labels = random.integers(0, classes, rows)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    found = count_in_top(logits, labels, k)
    assert found == sum(label in row for label, row in zip(labels, order, strict=True)) and found.shape == ()
    assert count_in_top(logits, labels, 1) == count_correct(logits, labels)
    assert found == rows or k < classes
    assert int(count_in_top(strict.asarray(logits), strict.asarray(labels), k)) == found


@given(seed=seeds, rows=st.integers(1, 9), classes=st.integers(1, 9))
def test_a_rank_is_the_place_in_the_sorted_row(seed, rows, classes):
    random = np.random.default_rng(seed)
    logits, labels = random.integers(0, 4, (rows, classes)).astype("f"), random.integers(0, classes, rows)
    order = np.argsort(-logits, axis=1, kind="stable").tolist()
    assert label_ranks(logits, labels).tolist() == [row.index(label) for row, label in zip(order, labels, strict=True)]


def test_logits_that_are_nan_are_never_a_hit():
    logits = np.array([[np.nan, np.nan], [np.nan, 1.0]], np.float32)
    assert label_ranks(logits, np.array([0, 0])).tolist() == [2, 2] and count_in_top(logits, np.array([0, 0]), 1) == 0


def test_shares_in_place_of_labels_are_refused():
    with pytest.raises(InputError, match="expected 2 whole numbers"):
        count_in_top(np.zeros((2, 6)), np.zeros((2, 6)), 5)
