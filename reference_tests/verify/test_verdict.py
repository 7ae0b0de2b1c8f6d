"""A verdict as text, as JSON, and as values that users compare."""

import json

import pytest

from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT, Difference, Outcome, Verdict
from nfnumpy.verify.reports.json import json_text


def verdict(outcome=DIVERGES, **others):
    differences = (Difference("weight", 3.0, 8.0, 1e-16), Difference("output", float("inf"), 8.0, float("inf")))
    return Verdict("ws_conv", "mine", "numpy", outcome, "float64", 5, differences, **others)


def test_outcomes_equal_their_texts():
    assert list(Outcome) == [CONFORMS, VARIANT, DIVERGES] == ["conforms", "conforms as a named variant", "diverges"]
    assert f"{DIVERGES}" == "diverges" and Outcome("diverges") is DIVERGES


@pytest.mark.parametrize("value, text", [(float("nan"), "NaN"), (float("inf"), "Infinity"),
                                         (-float("inf"), "-Infinity")])
def test_numbers_that_are_not_finite_are_strings_in_json(value, text):
    given = verdict(counterexample={"x": [[1.0, value]], "limit": value}, relative_difference=value)
    found = json.loads(json_text(given), parse_constant=lambda name: pytest.fail(name))
    assert found["counterexample"] == {"x": [[1.0, text]], "limit": text} and found["relative_difference"] == text
    assert found["differences"][1]["error_eps"] == "Infinity" and not found["passed"]
    assert text in str(given)


def test_the_first_difference_is_the_first_that_rounding_does_not_explain():
    found = verdict()
    assert found.first_difference.tensor == "output" and "first difference: output" in str(found)
    assert str(found).splitlines()[0] == "ws_conv mine (numpy): DIVERGES"


def test_only_a_divergence_does_not_pass():
    assert [verdict(outcome).passed for outcome in Outcome] == [True, True, False]
