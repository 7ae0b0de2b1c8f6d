"""Batch normalization as a layer equals PyTorch's: values, gradients and running statistics, in training and inference.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy.nn import BatchNorm, ConvNorm, Initializer, Mode

TRAINING = Mode(training=True)


def layer_and_pytorchs(seed, channels):
    rng = np.random.default_rng(seed)
    layer = BatchNorm(Initializer(dtype="float64"), channels)
    theirs = torch.nn.BatchNorm2d(channels, dtype=torch.float64)
    for own, other in ((layer.gamma, theirs.weight), (layer.beta, theirs.bias)):
        own.data = rng.normal(size=channels)
        with torch.no_grad():
            other.copy_(torch.from_numpy(own.data))
    return rng, layer, theirs


@given(st.integers(0, 99), st.integers(2, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
def test_twenty_steps_equal_pytorchs(seed, batch, height, width, channels):
    rng, layer, theirs = layer_and_pytorchs(seed, channels)
    for _ in range(20):
        x = nf.Tensor(rng.normal(size=(batch, height, width, channels)), requires_grad=True)
        y = torch.from_numpy(x.data).permute(0, 3, 1, 2).requires_grad_()
        cotangent = rng.normal(size=x.shape)
        out = layer(x, TRAINING)
        out.backward(cotangent)
        expected = theirs(y)
        expected.backward(torch.from_numpy(cotangent).permute(0, 3, 1, 2))
        np.testing.assert_allclose(out.data, expected.detach().permute(0, 2, 3, 1), rtol=1e-9, atol=1e-9)
        # A batch of two values a channel can have a variance far below eps, whose derivative is then up to 1/sqrt(eps).
        np.testing.assert_allclose(x.grad, y.grad.permute(0, 2, 3, 1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(layer.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_variance, theirs.running_var, rtol=1e-12, atol=1e-12)
    theirs.eval()
    x = rng.normal(size=(1, height, width, channels))
    expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().permute(0, 2, 3, 1)
    np.testing.assert_allclose(layer(nf.Tensor(x)).data, expected, rtol=1e-12, atol=1e-12)


def test_a_convolution_with_a_norm_has_no_bias_and_the_norms_buffers():
    pair = ConvNorm(Initializer(), 3, 4, 3, stride=2)
    assert list(pair.parameters()) == ["conv.weight", "norm.gamma", "norm.beta"]
    assert list(pair.buffers()) == ["norm.running_mean", "norm.running_variance"]
    assert pair(nf.Tensor(np.zeros((1, 5, 5, 3), np.float32))).shape == (1, 3, 3, 4)


class CountsCalls:
    """A function that adds its input's batch to the running statistics of `layer`."""

    def __init__(self, layer, mode=TRAINING):
        self.layer, self.mode, self.calls = layer, mode, 0

    def __call__(self, x):
        self.calls += 1
        return self.layer(x, self.mode)


def test_a_block_that_is_computed_again_takes_a_batch_in_once():
    x = np.random.default_rng(0).normal(size=(4, 2, 2, 3))
    expected = BatchNorm(Initializer(dtype="float64"), 3)
    expected(nf.Tensor(x), TRAINING)
    again = CountsCalls(BatchNorm(Initializer(dtype="float64"), 3))
    nf.checkpoint(lambda x: nf.checkpoint(again, x), nf.Tensor(x, requires_grad=True)).sum().backward()
    assert again.calls == 3  # forward, the outer backward pass, and within it the inner one
    for name, buffer in again.layer.buffers().items():
        np.testing.assert_array_equal(buffer, expected.buffers()[name])


def test_a_pass_that_sees_a_batch_again_can_leave_the_statistics_alone():
    layer = BatchNorm(Initializer(dtype="float64"), 3)
    x = nf.Tensor(np.random.default_rng(0).normal(size=(4, 2, 2, 3)))
    out = layer(x, Mode(training=True, update_statistics=False))
    assert not layer.running_mean.any() and (layer.running_variance == 1.0).all()
    np.testing.assert_array_equal(out.data, layer(x, TRAINING).data)
    assert layer.running_mean.all()


def test_a_batch_that_is_refused_leaves_the_statistics_alone():
    layer = BatchNorm(Initializer(), 3)
    for wrong in (np.ones((2, 2, 2, 4), np.float32), np.ones((2, 2, 2, 3)), np.ones((0, 2, 2, 3), np.float32)):
        with pytest.raises(nf.InputError):
            layer(nf.Tensor(wrong), TRAINING)
    assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_variance.tolist() == [1.0] * 3
