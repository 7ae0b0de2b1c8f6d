"""Classes of a data set are matched with a model's by name, and what cannot be matched is named."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.datasets import imagenet_classes, imagenet_numbers
from nfnumpy.evaluation import match_classes

NUMBERED = ("class 0", "class 1", "class 2")


@given(st.lists(st.text(max_size=4), min_size=1, max_size=8, unique=True), st.data())
def test_every_selection_in_every_order_is_matched_by_name(of_model, data):
    of_data = data.draw(st.permutations(of_model))[:data.draw(st.integers(1, len(of_model)))]
    outputs, names, remark = match_classes(of_model, of_data)
    assert [of_model[k] for k in outputs] == of_data and list(names) == of_model
    assert (remark == "") == (of_data == of_model)


def test_a_selection_and_another_order_are_remarked():
    assert "2 of the model's 3" in match_classes(("a", "b", "c"), ("a", "c")).remark
    assert "another order" in match_classes(("a", "b"), ("b", "a")).remark


def test_equal_lists_match_by_order_also_where_names_repeat():
    assert match_classes(("x", "x", "y"), ("x", "x", "y")).outputs.tolist() == [0, 1, 2]


def test_imagenets_folders_match_by_their_numbers():
    outputs, names, remark = match_classes(imagenet_classes(), imagenet_numbers(), are_stored=False)
    assert np.array_equal(outputs, np.arange(1000)) and names == imagenet_classes() and remark == ""
    assert match_classes(imagenet_classes(), ("n02123045", "tench")).outputs.tolist() == [281, 0]


def test_weights_without_names_match_by_number_if_there_are_as_many():
    outputs, names, remark = match_classes(NUMBERED, ("cat", "dog", "owl"), are_stored=False)
    assert outputs.tolist() == [0, 1, 2] and names == ("cat", "dog", "owl") and "'cat'" in remark and "order" in remark


@pytest.mark.parametrize("of_model, of_data, are_stored, words", [
    (("cat", "dog"), ("cat", "owl"), True, "does not know 1 of the data's 2 classes: 'owl'.*'cat', 'dog'"),
    (NUMBERED, ("cat", "dog", "owl"), True, "does not know 3"),
    (NUMBERED, ("cat", "dog"), False, "do not name their 3 classes, and the data has 2"),
    (("a", "a", "b"), ("a",), True, "two classes of the model are called 'a'"),
    (("a",), tuple("bcdefgh"), True, "'b', 'c', 'd', 'e', 'f' and 2 more"),
])
def test_what_does_not_match_is_one_line_that_names_it(of_model, of_data, are_stored, words):
    with pytest.raises(InputError, match=words) as refusal:
        match_classes(of_model, of_data, are_stored)
    assert "\n" not in str(refusal.value)
