"""Checking modules of Equinox, which see one example."""

import jax
import numpy as np
import pytest

from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT
from nfnumpy.verify.frameworks import framework_of
from reference_tests.helpers import equinox_modules as modules
from reference_tests.helpers.jax_checks import few_cases, outcome  # noqa: F401

RIGHT = (("ws_conv", modules.WSConv2d), ("ws_conv", modules.weights_standardized), ("se", modules.SqueezeExcite),
         ("stochastic_depth", modules.drop_path), ("activation", modules.Relu), ("block", modules.Block))
MISTAKES = (("ws_conv", modules.Bessel, "Bessel-corrected variance"), ("se", modules.NotDoubled, "factor 2 missing"),
            ("norm", modules.MomentumTheOtherWayRound, "momentum the other way round"),
            ("stochastic_depth", modules.DropsInEvaluation, "active in evaluation"),
            ("model", modules.wrong_network, "alpha squared"))


@pytest.mark.parametrize("kind, target", RIGHT)
def test_right_modules_conform(few_cases, kind, target):  # noqa: F811
    assert outcome(kind, target) == (CONFORMS, ())


@pytest.mark.parametrize("kind, target, name", MISTAKES)
def test_mistakes_are_named(few_cases, kind, target, name):  # noqa: F811
    assert outcome(kind, target) == (DIVERGES, (name,))


def test_a_networks_running_statistics_are_compared(few_cases):  # noqa: F811
    assert outcome("model", modules.Normalized) == (VARIANT, ("running variance biased",))


def test_a_model_and_its_state_are_one_target(few_cases):  # noqa: F811
    made = modules.batch_norm(64)
    assert outcome("norm", made) == (VARIANT, ("eps 1e-05",))


def test_a_module_that_takes_a_batch_is_given_one():
    class OfABatch(modules.eqx.Module):
        def __call__(self, x):
            n, c, h, w = x.shape
            return x.reshape(n, c, h * w).mean(2)

    handle = framework_of(OfABatch()).module(OfABatch())
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert np.allclose(handle.call(x, False), x.mean((2, 3)))


def test_the_handle_leaves_a_module_as_it_is():
    module = modules.SqueezeExcite(4, key=jax.random.PRNGKey(0))
    before = np.array(module.fc0.weight)
    handle = framework_of(module).module(module)
    handle.load({"fc0.weight": np.ones((2, 4))}, "float64")
    assert np.array_equal(handle.value("fc0.weight"), np.ones((2, 4)))
    assert np.array_equal(module.fc0.weight, before)
