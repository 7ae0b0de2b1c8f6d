"""Targets that do nothing, or return something else than an array, get their true name or one line."""

import asyncio

import numpy as np
import pytest
import torch
from torch import nn

from nfnumpy import InputError
from nfnumpy.verify import DIVERGES, check


def of(kind, result):
    """A function or class of a kind whose result is `result(the input)`."""
    if kind == "agc":
        return lambda grad, param, clipping=0.01, eps=1e-3: result(grad)
    if kind == "activation":
        return lambda x, /: result(x)
    if kind == "norm":
        return lambda x, gamma, beta: result(x)
    if kind == "stochastic_depth":
        return lambda x, rate, training: result(x)
    if kind == "ema":
        return lambda average, value, decay: result(average)
    if kind == "schedule":
        return lambda step, peak, warmup_steps, total_steps: result(peak)
    if kind == "sam":
        return _sam(result)
    return _squeeze_excite(result) if kind == "se" else _convolution(result)


def _sam(result):
    class Target:
        def __init__(self, optimizer, rho=0.05):
            self.optimizer = optimizer

        def step(self, closure):
            return result(closure())
    return Target


def _squeeze_excite(result):
    class Target(nn.Module):
        def __init__(self, channels, ratio=0.5):
            super().__init__()
            self.fc0, self.fc1 = (nn.Linear(*sizes) for sizes in ((channels, max(1, int(channels * ratio))),
                                                                  (max(1, int(channels * ratio)), channels)))

        def forward(self, x):
            return result(x)
    return Target


def _convolution(result):
    class Target(nn.Conv2d):
        def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1):
            super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups)
            self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

        def forward(self, x):
            return result(x)
    return Target


ZEROS, RETURNED = "nothing but zeros", "input returned as it is"
KINDS = ("activation", "ws_conv", "agc", "se", "norm", "stochastic_depth", "ema", "schedule", "sam")


@pytest.mark.parametrize("kind, of_zeros, of_the_input", [
    ("ws_conv", ZEROS, RETURNED), ("agc", "all gradients zero", "nothing is clipped"), ("se", ZEROS, "x returned"),
    ("norm", ZEROS, RETURNED), ("stochastic_depth", ZEROS, "nothing dropped"), ("ema", ZEROS, "never updated"),
    ("schedule", ZEROS, "always the peak"), ("sam", "nothing moves", "nothing moves"), ("activation", ZEROS, None)])
def test_what_does_nothing_is_named_as_that(kind, of_zeros, of_the_input):
    for result, name in ((lambda x: x * 0, of_zeros), (lambda x: x, of_the_input)):
        if name is not None:
            verdict = check(kind, of(kind, result), framework="torch", examples=0)
            assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


def test_a_constant_is_named_as_that():
    verdict = check("activation", lambda x, /: x * 0.0 + 3.0, framework="numpy", examples=0)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == ("always the same number",)


async def coroutine(x):
    return x


def generator(x):
    yield x


def closed(x):
    """A coroutine that Python does not complain about."""
    made = coroutine(x)
    asyncio.run(made)
    return made


@pytest.mark.parametrize("result", [lambda x: None, lambda x: "text", lambda x: {}, generator, closed, lambda x: 1 / 0,
                                    lambda x: np.array(["a"])],
                         ids=["None", "text", "dict", "generator", "coroutine", "raises", "array of text"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sam"])
def test_what_returns_no_numbers_is_one_line_or_a_verdict_of_doing_nothing(kind, result):
    try:
        verdict = check(kind, of(kind, result), framework="torch", examples=0)
    except InputError as error:
        assert str(error).startswith(f"{kind}: ") and "\n" not in str(error)
    else:
        assert verdict.diagnosis in (("nothing is clipped",), ("never updated",)), str(verdict)
