"""Confusions, precision, recall and calibration are what their definitions say, example by example."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.analysis import calibration, confusion_matrix, precision_and_recall

EPS = np.finfo(np.float64).eps
pairs = st.integers(1, 6).flatmap(lambda classes: st.tuples(
    st.just(classes), st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), max_size=30)))
# Also the edges of bins, and the little above 1 that a sum of roundings gives.
confidence = st.floats(0.0, 1.0) | st.integers(0, 15).map(lambda k: k / 15) | st.just(1.0 + EPS)


@given(pairs)
def test_confusions_precision_and_recall_are_counted_by_definition(drawn):
    classes, examples = drawn
    confusion = confusion_matrix(*np.array(examples, np.int64).reshape(-1, 2).T, classes)
    assert confusion.shape == (classes, classes) and confusion.dtype == np.int64
    precision, recall = precision_and_recall(confusion)
    for k in range(classes):
        for j in range(classes):
            assert confusion[k, j] == examples.count((k, j))
        for score, relevant in ((precision[k], [e for e in examples if e[1] == k]),
                                (recall[k], [e for e in examples if e[0] == k])):
            if relevant:
                assert score == relevant.count((k, k)) / len(relevant)
            else:
                assert np.isnan(score)


@given(st.lists(st.tuples(confidence, st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
def test_the_calibration_error_is_that_of_the_bins_by_definition(examples, bins):
    found = calibration(*zip(*examples, strict=True), bins=bins)
    error = 0.0
    for m in range(bins):
        is_last, is_first = m == bins - 1, m == 0
        inside = [(p, hit) for p, hit in examples
                  if (p > m / bins or is_first) and (p <= (m + 1) / bins or is_last)]
        assert found.counts[m] == len(inside)
        if not inside:
            assert np.isnan(found.confidence[m]) and np.isnan(found.accuracy[m])
            continue
        accuracy = sum(hit for _, hit in inside) / len(inside)
        mean = sum(p for p, _ in inside) / len(inside)
        # Sums of at most 40 numbers up to 1, in any order, and a division.
        assert abs(found.confidence[m] - mean) <= 80 * EPS and found.accuracy[m] == accuracy
        error += len(inside) / len(examples) * abs(accuracy - mean)
    assert abs(found.error - error) <= 200 * EPS and 0.0 <= found.error <= 1.0 + EPS


def test_a_classifier_that_is_right_as_often_as_it_is_sure_has_no_calibration_error():
    confidences = np.repeat([0.25, 0.75], 8)
    correct = np.arange(8)[None] < np.array([2, 6])[:, None]
    assert calibration(confidences, correct.ravel()).error == 0.0
    assert calibration(confidences, np.ones(16, bool)).error == 0.5


@pytest.mark.parametrize("labels, predictions, words", [
    ([0, 3], [0, 0], "labels.*0 to 2"), ([0, 1], [0, -1], "predictions.*0 to 2"), ([0.5], [0], "labels.*whole"),
    ([0, 1], [0], "2 labels but 1"), ([[0]], [0], "labels")])
def test_what_are_no_class_numbers_is_refused(labels, predictions, words):
    with pytest.raises(InputError, match=words):
        confusion_matrix(labels, predictions, 3)


@pytest.mark.parametrize("confidences, correct, bins", [([], [], 15), ([0.5], [True, False], 15), ([0.5], [True], 0)])
def test_what_has_no_calibration_is_refused(confidences, correct, bins):
    with pytest.raises(InputError, match="calibration"):
        calibration(confidences, correct, bins)
