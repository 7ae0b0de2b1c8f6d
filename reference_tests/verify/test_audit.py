"""The auditor's own audit: how many targets there are, and verify's answers for those that are quick.

`python -m reference_tests.tools.audit_verify` runs all of them.
"""

import collections

import pytest

from nfnumpy.functional.activations import NONLINEARITIES
from nfnumpy.verify import KINDS
from nfnumpy.verify.checks import activation, agc, ema, sam
from nfnumpy.verify.network.observation import RANDOM
from nfnumpy.verify.variants import normalization_catalogue
from nfnumpy.verify.variants.normalization import BASES
from reference_tests.audit.registry import FRAMEWORKS, TESTS, cases
from reference_tests.audit.results import result_of
from reference_tests.verify.test_variants import CATALOGUES

OF_MODULES = ("block", "sam")  # in PyTorch, TensorFlow and Keras; elsewhere there is nothing of that form
CASES = cases()
PLANTED = [case for case in CASES if case.is_planted]
RIGHT = [case for case in CASES if not case.is_planted]
QUICK_TOGETHER = ("activation", "norm", "stochastic_depth", "ema", "schedule")  # kinds with a short search for several
COMPILED = (("sam", "tensorflow"), ("agc", "tensorflow"))  # which takes long, as in JAX
QUICK = [case for case in CASES if case.is_quick and case.module != TESTS
         and case.framework != "jax" and (case.kind, case.framework) not in COMPILED
         and (len(case.causes) < 2 or (case.kind in QUICK_TOGETHER and case.framework != "tensorflow"))]
KNOWN = {variant.name for catalogue in (
    *(catalogue for _, catalogue in CATALOGUES.values()), agc.USES, ema.USES, sam.USES, RANDOM.values(),
    *(activation.catalogue(name) for name in NONLINEARITIES),
    *(normalization_catalogue.catalogue(name, has_affine=False) for name in BASES)) for variant in catalogue}


def test_there_are_as_many_as_a_figure_needs():
    """99 % of 200 is one miss less than all but two."""
    assert len(PLANTED) >= 200 and len(RIGHT) >= 60
    assert sum(case.framework == "tensorflow" for case in RIGHT) >= 15


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_single_and_several_mistakes_and_right_targets_in_every_framework(kind):
    for framework in ("torch", "tensorflow") if kind in OF_MODULES else FRAMEWORKS:
        here = [case for case in CASES if (case.kind, case.framework) == (kind, framework)]
        numbers = collections.Counter(len(case.causes) for case in here)
        assert numbers[0] and numbers[1] >= 3, (framework, numbers)
        assert numbers[2] and (numbers[3] or kind in ("activation", "ema")), (framework, numbers)


def test_every_name_is_one_of_the_catalogues():
    unknown = {name for case in CASES for name in case.causes | case.forms} - KNOWN
    assert not unknown, unknown


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.key)
def test_what_was_planted_is_named_and_a_right_target_conforms(case):
    result = result_of(case, examples=0)
    assert not result.is_miss, f"{result.outcome} {result.diagnosis}: {result.said}"
