"""Checking a nonlinearity: which one it is, whether gamma is in it, and what is wrong with it."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nfnumpy import InputError
from nfnumpy.functional.activations import GAMMA, NONLINEARITIES
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.checks.activation import FORMS, check_activation, check_for, exact_gamma
from nfnumpy.verify.compare import compare
from nfnumpy.verify.frameworks import Numpy
from nfnumpy.verify.variants import apply

G = GAMMA["gelu"]


def check(target, **options):
    return check_activation(target, examples=3, **options)


class GammaAct(torch.nn.Module):
    """A module with its nonlinearity and gamma as arguments."""

    def __init__(self, act_type="relu", gamma=1.0, inplace=False):
        super().__init__()
        self.function, self.gamma, self.inplace = getattr(F, act_type), gamma, inplace

    def forward(self, x):
        return self.function(x).mul(self.gamma)


def act_with_gamma(act_type, gamma=1.0):
    """A factory of factories of modules."""
    def create(inplace=False):
        return GammaAct(act_type, gamma, inplace)
    return create


def written_out(x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))) * G


def in_place(x):
    return F.silu(x, inplace=True).mul_(GAMMA["silu"])


@pytest.mark.parametrize("target, options", [
    (written_out, {}), (in_place, {}), (GammaAct, {"act_type": "silu", "gamma": GAMMA["silu"]}),
    (GammaAct("relu", GAMMA["relu"]), {}), (act_with_gamma, {"act_type": "elu", "gamma": GAMMA["elu"]}),
    (lambda x: F.gelu(x, approximate="tanh") * G, {}), (lambda x: F.glu(x) * GAMMA["glu"], {}),
    (lambda x: F.gelu(x.float(), approximate="tanh") * G, {}),
    (lambda x: F.gelu(x.bfloat16(), approximate="tanh") * G, {}),
    (lambda x: F.gelu(x) * G, {"nonlinearity": "gelu_erf"}), (torch.nn.Identity(), {})])
def test_right_ones_conform(target, options):
    verdict = check(target, **options)
    assert verdict.outcome == CONFORMS, str(verdict)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_every_nonlinearity_is_recognized_by_its_curve(name):
    verdict = check(lambda x: NONLINEARITIES[name][0](x) * GAMMA[name], framework="numpy")
    assert verdict.passed and f"recognized as {'gelu' if name == 'gelu_erf' else name}," in verdict.notes[0]


@pytest.mark.parametrize("target, names", [
    (F.gelu, ("gamma left out", "form gelu_erf")), (torch.nn.SiLU(inplace=True), ("gamma left out",)),
    (torch.nn.ReLU, ("gamma left out",)), (lambda x: F.gelu(x) * G, ("form gelu_erf",)),
    (lambda x: F.relu6(x) * 1.713, ("gamma to four digits",))])
def test_benign_forms_are_named(target, names):
    verdict = check(target)
    assert verdict.outcome == VARIANT and verdict.diagnosis == names, str(verdict)


@pytest.mark.parametrize("target, names, options", [
    (lambda x: torch.sigmoid(1.702 * x) * x * G, ("form x·sigmoid(1.702·x)",), {}),
    (lambda x: F.gelu(G * x, approximate="tanh"), ("gamma on the input",), {}),
    (lambda x: F.relu(x) * 2.0**0.5, ("gamma without subtracting the mean",), {}),
    (lambda x: F.silu(x) * G, ("gamma of gelu",), {}), (lambda x: F.silu(x) / GAMMA["silu"], ("divided by gamma",), {}),
    (lambda x: F.leaky_relu(x, 0.2) * GAMMA["leaky_relu"], ("form slope 0.2",), {}),
    (lambda x: F.hardswish(x) * GAMMA["silu"], ("form hard swish",), {}),
    (lambda x: F.silu(x) * G, ("it is silu",), {"nonlinearity": "gelu"})])
def test_mistakes_are_named(target, names, options):
    verdict = check(target, **options)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == names, str(verdict)


def test_a_wrong_derivative_is_found_where_the_value_is_right():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return F.relu(x) * GAMMA["relu"]

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent

    verdict = check(lambda x: Wrong.apply(x))
    assert verdict.outcome == DIVERGES and verdict.first_difference.tensor == "derivative"
    assert not verdict.diagnosis and verdict.counterexample["x"]


def test_extreme_inputs_are_only_noted():
    verdict = check(written_out)
    assert verdict.outcome == CONFORMS and any("derivative is nan" in note for note in verdict.notes)


def test_a_nan_that_vanishes_is_noted():
    verdict = check(lambda x: torch.where(x > 0, x, torch.zeros_like(x)) * GAMMA["relu"])
    assert any("NaN" in note for note in verdict.notes)


@pytest.mark.parametrize("name", [*FORMS, "relu6"])
def test_every_form_in_the_catalogue_is_recognized(name):
    known = check_for(name)
    for entry in known.catalogue:
        run = functools.partial(known.reference, rules=apply(known.rules, (entry,)))
        verdict = compare(known, run, target="itself", framework=Numpy(), examples=2)
        assert verdict.diagnosis == (entry.name,), str(verdict)


def test_the_exact_integral_is_that_of_the_relu():
    exact = exact_gamma("relu")
    assert abs(exact - math.sqrt(2.0 / (1.0 - 1.0 / math.pi))) < 1e-14


def fails(x):
    raise KeyError("first\nsecond")


@pytest.mark.parametrize("target, options, text", [
    (3, {}, "expected something to call"), (fails, {}, "the target raised KeyError"),
    (torch.nn.Threshold, {}, "cannot be made without threshold, value"), (np.tanh, {"nonlinearity": "gelo"}, "gelo"),
    (lambda: 3, {}, "expected something to call")])
def test_what_cannot_be_run_is_one_line(target, options, text):
    with pytest.raises(InputError) as error:
        check(target, **options)
    assert text in str(error.value) and "\n" not in str(error.value)
