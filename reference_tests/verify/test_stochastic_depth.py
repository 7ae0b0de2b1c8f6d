"""Stochastic depth: every known variant is recognized, correct targets of any style conform."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import nfnumpy as nf
from nfnumpy.verify.checks.stochastic_depth import check_stochastic_depth
from nfnumpy.verify.variants import apply
from nfnumpy.verify.variants.stochastic_depth import BATCH, CATALOGUE, CHANNELS, StochasticDepthRules, dropped, rescaled


def of_rules(rules):
    """The variant as a NumPy function."""
    def drop(x, rate, training, seed):
        return dropped(x, rate, training, seed, rules)
    return drop


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_catalogued_form_is_recognized_and_named(entry):
    verdict = check_stochastic_depth(of_rules(apply(StochasticDepthRules(), [entry])), framework="numpy")
    assert verdict.diagnosis == (entry.name,)
    assert verdict.outcome == ("conforms as a named variant" if entry.benign else "diverges")


def test_two_mistakes_at_once_are_both_named():
    rules = StochasticDepthRules(mask=CHANNELS, scale=rescaled)
    verdict = check_stochastic_depth(of_rules(rules), framework="numpy")
    assert set(verdict.diagnosis) == {"a mask for every channel", "rescaled by 1/(1 - rate)"}


def torch_function(x, drop_prob, training=False):
    if not training or drop_prob == 0.0:
        return x
    return x * (torch.rand(x.shape[0], 1, 1, 1) >= drop_prob)


def of_survival(x, survival_prob, deterministic):
    return x if deterministic else x * torch.bernoulli(torch.full((len(x), 1, 1, 1), survival_prob))


class DropPath(nn.Module):
    def __init__(self, drop_prob=0.0, scale_by_keep=False):
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, x):
        if not self.training:
            return x
        kept = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return x * (kept / (1 - self.drop_prob) if self.scale_by_keep else kept)


class PlainObject:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x, is_training, rng):
        return np.where(rng.random((len(x), 1, 1, 1)) < self.rate, 0.0, x) if is_training else x


def of_ours(x, rate, training, seed):
    layer = nf.nn.StochasticDepth(nf.nn.Initializer(path="drop"), rate)
    mode = nf.nn.Mode(training, nf.backend.CounterRNG(seed))
    return layer(nf.autograd.Tensor(x), mode).numpy()


@pytest.mark.parametrize("target", [torch_function, of_survival, DropPath, PlainObject, of_ours],
                         ids=lambda target: target.__name__)
def test_correct_forms_in_many_styles_conform(target):
    torch.manual_seed(0)
    framework = "numpy" if target in (PlainObject, of_ours) else "torch"
    assert check_stochastic_depth(target, framework=framework).outcome == "conforms"


def test_options_reach_the_target_and_its_rescaling_is_a_variant():
    verdict = check_stochastic_depth(DropPath, framework="torch", scale_by_keep=True)
    assert verdict.diagnosis == ("rescaled by 1/(1 - rate)",)
    assert verdict.passed and 0.3 < verdict.relative_difference < 0.4


def test_a_gradient_that_ignores_the_mask_diverges():
    def straight_through(x, rate, training):
        return x + (torch_function(x, rate, training) - x).detach()

    verdict = check_stochastic_depth(straight_through, framework="torch")
    assert verdict.outcome == "diverges" and not verdict.diagnosis
    assert verdict.first_difference.tensor == "gradient, rate 0.1"


def test_the_counterexample_shows_eight_examples():
    verdict = check_stochastic_depth(of_rules(StochasticDepthRules(mask=BATCH)), framework="numpy")
    assert len(verdict.counterexample["x"]) == len(verdict.counterexample["in training"]) == 8


@pytest.mark.parametrize("target", [lambda x, rate, training: 1 / 0, functools.partial(print, sep=""), 3,
                                    DropPath(0.5)],
                         ids=["raises", "prints", "a number", "an instance"])
def test_what_cannot_be_run_is_one_line(target):
    with pytest.raises(nf.InputError) as error:
        check_stochastic_depth(target, framework="torch")
    assert str(error.value).startswith("stochastic_depth: ") and "\n" not in str(error.value)


def drop_connect(inputs, training=False, drop_connect_rate=0.0):
    keep = 1.0 - drop_connect_rate
    mask = torch.floor(keep + torch.rand(len(inputs), 1, 1, 1, dtype=inputs.dtype))
    return inputs * mask / keep if training else inputs


def with_another_name(inputs, training=False, share=0.0):
    return drop_connect(inputs, training, share)


def test_a_rate_is_known_by_its_name_or_asked_for():
    """A function that was called without its rate would drop nothing."""
    assert check_stochastic_depth(drop_connect).diagnosis == ("rescaled by 1/(1 - rate)",)
    with pytest.raises(nf.InputError, match="the rate by a name such as rate"):
        check_stochastic_depth(with_another_name)
