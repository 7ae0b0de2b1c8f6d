"""Frameworks: which one a target is written in, and what a further one needs."""

import functools

import numpy as np
import pytest
import torch

from nfnumpy import InputError
from nfnumpy.verify import check_ws_conv
from nfnumpy.verify.frameworks import FRAMEWORKS, Numpy, framework_of


def of_torch(x):
    return torch.relu(x)


def of_numpy(x):
    return np.maximum(x, 0.0)


@pytest.mark.parametrize("target, name", [
    (of_torch, "torch"), (of_numpy, "numpy"), (torch.nn.ReLU, "torch"), (torch.nn.ReLU(), "torch"),
    (torch.relu, "torch"), (functools.partial(of_torch), "torch"), (functools.partial(of_numpy), "numpy"),
    (np.tanh, "numpy"), (len, "numpy")])
def test_the_framework_follows_from_the_target(target, name):
    assert framework_of(target).name == name


def test_an_unknown_framework_is_one_line():
    with pytest.raises(InputError, match="expected auto, keras, tensorflow, torch, haiku, flax, equinox, jax, numpy"):
        framework_of(len, "theano")


class ChannelsFirst(Numpy):
    """A framework of one class: NumPy with OIHW weights."""

    name = "channels_first"
    channels_first = True


def standardize(weight, gain):
    centred = weight - weight.mean((1, 2, 3), keepdims=True)
    return gain * centred / np.sqrt(np.maximum(np.square(centred).sum((1, 2, 3), keepdims=True), 1e-4))


def test_a_further_framework_is_one_class(monkeypatch):
    """The adapters name no framework: its layout, arrays and flags decide."""
    monkeypatch.setitem(FRAMEWORKS, "channels_first", ChannelsFirst)
    verdict = check_ws_conv(standardize, framework="channels_first", examples=0)
    assert verdict.passed and verdict.framework == "channels_first", str(verdict)
    assert verdict.notes == ("the layout of the weight is OIHW",)


@pytest.mark.parametrize("framework", [framework_of(of_torch), framework_of(of_numpy)], ids=lambda each: each.name)
def test_images_keep_their_values_in_both_directions(framework):
    images = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert np.array_equal(framework.from_images(framework.images(images)), images)


def test_the_handle_of_a_module_leaves_the_module_as_it_is():
    module = torch.nn.Linear(3, 2)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    handle = framework_of(module).module(module)
    handle.load({"weight": np.ones((2, 3))}, "float64")
    out = handle.call(np.ones((1, 3)), training=False)
    x_grad, grads = handle.gradients(out, np.ones((1, 2)))
    assert np.array_equal(x_grad, 2.0 * np.ones((1, 3))) and np.array_equal(grads["weight"], np.ones((2, 3)))
    assert all(torch.equal(value, before[name]) and value.grad is None for name, value in module.named_parameters())
