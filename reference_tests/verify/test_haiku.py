"""Checking modules of Haiku, and functions and pairs that are to be transformed or are."""

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT, check
from nfnumpy.verify.frameworks import framework_of
from reference_tests.helpers import haiku_modules as modules
from reference_tests.helpers.jax_checks import few_cases, outcome  # noqa: F401

RIGHT = (("ws_conv", modules.WSConv2D), ("ws_conv", modules.ws_conv), ("se", modules.SqueezeExcite),
         ("norm", modules.hk.BatchNorm), ("stochastic_depth", modules.dropped), ("activation", modules.Relu),
         ("model", modules.pair))
MISTAKES = (("ws_conv", modules.Bessel, "Bessel-corrected variance"), ("se", modules.NotDoubled, "factor 2 missing"),
            ("norm", modules.MomentumTheOtherWayRound, "momentum the other way round"),
            ("stochastic_depth", modules.DropsInEvaluation, "active in evaluation"),
            ("block", modules.SquaresAlpha, "alpha squared"))


@pytest.mark.parametrize("kind, target", RIGHT)
def test_right_modules_conform(few_cases, kind, target):  # noqa: F811
    assert outcome(kind, target) == (CONFORMS, ())


@pytest.mark.parametrize("kind, target, name", MISTAKES)
def test_mistakes_are_named(few_cases, kind, target, name):  # noqa: F811
    assert outcome(kind, target) == (DIVERGES, (name,))


def test_a_networks_running_statistics_are_compared(few_cases):  # noqa: F811
    assert outcome("model", modules.normalized) == (VARIANT, ("running variance biased",))


@pytest.mark.parametrize("target", [modules.Network, modules.forward, modules.pair, modules.pair_with_state])
def test_what_needs_a_transformation_is_found_out(target):
    framework = framework_of(target)
    assert framework.name == "haiku"
    built = framework.built(target) if target is modules.forward else target
    handle = framework.module(built if framework.is_module(built) else framework.made(built))
    handle.build(np.zeros((1, 16, 16, 3), np.float32))
    assert "network.skip_gain" not in handle.parameters and handle.parameters["network/block.skip_gain"] == ()
    assert list(handle.parameters)[:3] == [f"network/ws_conv2_d.{leaf}" for leaf in ("w", "gain", "b")]


def test_a_function_of_arrays_is_called_as_it_is(few_cases):  # noqa: F811
    def standardized(weight, gain):
        return modules.standardize(weight, gain)

    verdict = check("ws_conv", standardized, framework="haiku", examples=0)
    assert verdict.passed and verdict.notes == ("the layout of the weight is HWIO",)


def test_a_module_that_raises_is_one_line():
    class Fails(modules.hk.Module):
        def __call__(self, x):
            raise RuntimeError("the width is odd")

    with pytest.raises(nf.InputError, match=r"the target raised RuntimeError: the width is odd \(test_haiku"):
        check("activation", Fails, examples=0)
