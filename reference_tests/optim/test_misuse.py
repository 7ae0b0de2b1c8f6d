"""Optimizers and schedules refuse, in one line, what is no number or array of the documented kind."""

from fractions import Fraction

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError, Tensor, optim

GRAD = np.ones((2, 3))
# Of every kind that a caller can mistake for a positive number.
NO_NUMBERS = [None, "0.1", [0.1], {}, 1j, float("nan"), -1, -0.5, 10**400, -10**400, np.ones(2), np.ones((0,)), int]
NO_ARRAYS = [None, "text", 3, 2.5, [[1.0, 1.0, 1.0]] * 2, {}, np.ones((2, 3), complex), np.ones((2, 3), int),
             np.array([["a"] * 3] * 2), np.array([[None] * 3] * 2), Tensor(GRAD)]


def model():
    return nf.nn.Linear(nf.nn.Initializer(), 2, 2)


NUMBERS = {
    "adaptive_gradient_clip clipping": lambda value: optim.adaptive_gradient_clip(GRAD, GRAD, clipping=value),
    "adaptive_gradient_clip eps": lambda value: optim.adaptive_gradient_clip(GRAD, GRAD, eps=value),
    "clip_factor clipping": lambda value: optim.clip_factor(GRAD, GRAD, clipping=value),
    "clip_factor eps": lambda value: optim.clip_factor(GRAD, GRAD, eps=value),
    "clip_by_global_norm max_norm": lambda value: optim.clip_by_global_norm([GRAD], value),
    "constant peak": optim.constant,
    "cosine peak": lambda value: optim.cosine(value, 10),
    "cosine total_steps": lambda value: optim.cosine(1.0, value),
    "warmup_cosine warmup_steps": lambda value: optim.warmup_cosine(1.0, value, 10),
    "exponential_decay interval": lambda value: optim.exponential_decay(1.0, 0, 0.5, value),
    "step_decay milestones": lambda value: optim.step_decay(1.0, 0, 0.5, [value]),
    "a step": lambda value: optim.step_decay(1.0, 2, 0.5, [3])(value),
    "SGD lr": lambda value: optim.SGD(model(), lr=value),
    "SGD momentum": lambda value: optim.SGD(model(), lr=0.1, momentum=value),
    "SGD weight_decay": lambda value: optim.SGD(model(), lr=0.1, weight_decay=value),
    "SGD lr_factor": lambda value: optim.SGD(model(), lr=0.1, lr_factor=lambda name: value),
    "SGD eps": lambda value: optim.SGD(model(), lr=0.1, eps=value),
    "RMSProp lr": lambda value: optim.RMSProp(model(), lr=value),
    "RMSProp decay": lambda value: optim.RMSProp(model(), lr=0.1, decay=value),
    "RMSProp epsilon": lambda value: optim.RMSProp(model(), lr=0.1, epsilon=value),
    "SAM rho": lambda value: optim.SAM(optim.SGD(model(), lr=0.1), rho=value),
    "EMA decay": lambda value: optim.ExponentialMovingAverage(model(), value)}

ARRAYS = {
    "adaptive_gradient_clip grad": lambda value: optim.adaptive_gradient_clip(value, GRAD),
    "adaptive_gradient_clip param": lambda value: optim.adaptive_gradient_clip(GRAD, value),
    "clip_factor grad": lambda value: optim.clip_factor(value, GRAD),
    "clip_factor param": lambda value: optim.clip_factor(GRAD, value),
    "unitwise_norm": optim.unitwise_norm,
    "global_norm": lambda value: optim.global_norm([GRAD, value]),
    "global_norm arrays": lambda value: optim.global_norm(value),
    "clip_by_global_norm": lambda value: optim.clip_by_global_norm([value], 1.0)}


def refused(call, value):
    with pytest.raises(InputError) as error:
        call(value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_in_range_is_refused(name):
    for value in NO_NUMBERS:
        refused(NUMBERS[name], value)


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_no_array_of_floating_numbers_is_refused(name):
    for value in NO_ARRAYS:
        refused(ARRAYS[name], value)


WRONG_CALLS = {
    "an optimizer that is text": lambda: optim.SAM("sgd"),
    "no optimizer": lambda: optim.SAM(None),
    "a learning rate factor for all": lambda: optim.SGD(model(), lr=0.1, lr_factor=0.1),
    "learning rate factors in a dict": lambda: optim.SGD(model(), lr=0.1, lr_factor={"w": 0.1}),
    "nesterov that is text": lambda: optim.SGD(model(), lr=0.1, nesterov="no"),
    "a loss scale without backend": lambda: optim.LossScale(None),
    "an ascent of text": lambda: optim.sam_perturb("params", "grads", rho=0.1),
    "an ascent of nothing": lambda: optim.sam_perturb([], [], rho=0.1),
    "an ascent with a gradient too few": lambda: optim.sam_perturb([GRAD], [], rho=0.1),
    "an ascent of other shapes": lambda: optim.sam_perturb([GRAD], [GRAD[:1]], rho=0.1),
    "an ascent along rho that is text": lambda: optim.sam_perturb([GRAD], [GRAD], rho="0.1"),
    "an average of text": lambda: optim.moving_average("averages", "arrays", decay=0.9),
    "an average with an array too few": lambda: optim.moving_average([GRAD], [], decay=0.9),
    "an average of other shapes": lambda: optim.moving_average([GRAD], [GRAD[0]], decay=0.9),
    "an average with a decay of text": lambda: optim.moving_average([GRAD], [GRAD], decay="0.9"),
    "an average with many decays": lambda: optim.moving_average([GRAD], [GRAD], decay=GRAD),
    "weights that are a number": lambda: nf.weights.from_haiku(5),
    "a state that is a number": lambda: nf.weights.to_timm(5),
    "the parameters of text": lambda: nf.analysis.count_params("nfnet_f0"),
    "images of no size": lambda: nf.models.default_for("32"),
    "images of a negative size": lambda: nf.models.default_for(-1)}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_is_refused(name):
    refused(lambda _: WRONG_CALLS[name](), None)


@pytest.mark.parametrize("value", ["dynamic", 2.0**16, True])
def test_a_loss_scale_of_another_kind_is_refused(value):
    refused(lambda given: optim.SGD(model(), lr=0.1, loss_scale=given), value)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1), Fraction(1, 2)])
def test_every_kind_of_real_number_is_taken(value):
    assert optim.cosine(value, 10)(0) == value and optim.SGD(model(), lr=value).lr == value
