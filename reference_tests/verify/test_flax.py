"""Checking modules of Flax: linen's and nnx's."""

import functools

import numpy as np
import pytest
from flax import linen, nnx

import nfnumpy as nf
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT, check
from nfnumpy.verify.frameworks import framework_of
from reference_tests.helpers import flax_modules as modules
from reference_tests.helpers.jax_checks import few_cases, outcome  # noqa: F401

RIGHT = (("ws_conv", modules.WSConv), ("se", modules.squeeze_excite), ("stochastic_depth", modules.DropPath),
         ("model", modules.network), ("ws_conv", modules.NnxWSConv), ("se", modules.NnxSqueezeExcite),
         ("stochastic_depth", modules.NnxDropPath))
MISTAKES = (("ws_conv", modules.Bessel, "Bessel-corrected variance"), ("se", modules.NotDoubled, "factor 2 missing"),
            ("norm", modules.MomentumTheOtherWayRound, "momentum the other way round"),
            ("stochastic_depth", modules.DropsChannels, "a mask for every channel"),
            ("ws_conv", modules.GainWithoutVariable, "gain without a gradient"),
            ("block", modules.NnxSquaresAlpha, "alpha squared"))
VARIANTS = (("norm", functools.partial(linen.BatchNorm, use_running_average=False), "eps 1e-05"),
            ("model", modules.Normalized, "running variance biased"),
            ("model", modules.NnxNormalized, "running variance biased"))


@pytest.mark.parametrize("kind, target", RIGHT)
def test_right_modules_conform(few_cases, kind, target):  # noqa: F811
    assert outcome(kind, target) == (CONFORMS, ())


@pytest.mark.parametrize("kind, target, name", MISTAKES)
def test_mistakes_are_named(few_cases, kind, target, name):  # noqa: F811
    assert outcome(kind, target) == (DIVERGES, (name,))


@pytest.mark.parametrize("kind, target, name", VARIANTS)
def test_benign_forms_are_variants(few_cases, kind, target, name):  # noqa: F811
    assert outcome(kind, target) == (VARIANT, (name,))


def test_the_handle_leaves_an_nnx_module_as_it_is():
    module = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    handle = framework_of(module).module(module)
    handle.load({"scale": np.full(3, 2.0)}, "float64")
    x = np.random.default_rng(0).standard_normal((4, 2, 2, 3))
    out = handle.framework.host(handle.call(x, "statistics"))
    assert np.allclose(out.std((0, 1, 2)), 2.0, atol=1e-4) and handle.buffers["mean"].any()
    assert not module.mean[...].any() and (module.scale[...] == 1.0).all() and module.mean[...].dtype == np.float32


def test_an_exception_in_a_module_is_one_line():
    class Fails(linen.Module):
        @linen.compact
        def __call__(self, x):
            raise RuntimeError("the width is odd")

    with pytest.raises(nf.InputError, match="the target raised RuntimeError: the width is odd"):
        check("activation", Fails(), examples=0)
