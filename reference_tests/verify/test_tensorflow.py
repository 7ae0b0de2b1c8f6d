"""Checking plain TensorFlow: functions of tensors, modules, networks."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import nfnumpy as nf
from nfnumpy.verify import CONFORMS, DIVERGES, check
from nfnumpy.verify.frameworks import framework_of
from reference_tests.helpers.port_pairs import SMALL

CONFIG = SMALL["nf_resnet with squeeze-and-excite"]


def standardize(weight, gain, axes=(0, 1, 2)):
    mean, variance = tf.nn.moments(weight, axes, keepdims=True)
    fan_in = float(np.prod(weight.shape[:3]))
    return gain * (weight - mean) * tf.math.rsqrt(tf.maximum(variance * fan_in, 1e-4))


@tf.function
def compiled(weight, gain):
    return standardize(weight, gain)


def with_float32_constants(weight, gain):
    """It takes no float64."""
    mean = tf.reduce_mean(weight, [0, 1, 2], keepdims=True)
    total = tf.reduce_sum(tf.square(weight - mean), [0, 1, 2], keepdims=True)
    return gain * (weight - mean) / tf.sqrt(tf.maximum(total, tf.constant(1e-4)))


class Convolution(tf.Module):
    """Channels first in its signature, as PyTorch's; one module makes its gain when called."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding="VALID", name=None):
        super().__init__(name=name)
        shape = (kernel_size, kernel_size, in_channels, out_channels)
        self.w, self.bias = tf.Variable(tf.random.normal(shape)), tf.Variable(tf.zeros(out_channels))
        self.stride, self.padding, self.gain = stride, padding, None

    @tf.Module.with_name_scope
    def __call__(self, x):
        if self.gain is None:
            self.gain = tf.Variable(tf.ones((1, 1, 1, self.w.shape[3])))
        return tf.nn.conv2d(x, standardize(self.w, self.gain), self.stride, self.padding) + self.bias


class SqueezeExcite(tf.Module):
    """All parameters in one place."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.w0, self.b0 = tf.Variable(tf.ones((channels, hidden))), tf.Variable(tf.ones(hidden))
        self.w1, self.b1 = tf.Variable(tf.ones((hidden, channels))), tf.Variable(tf.ones(channels))

    def __call__(self, x):
        return squeeze_excite(x, self.w0, self.b0, self.w1, self.b1)


def squeeze_excite(x, weight0, bias0, weight1, bias1, factor=2.0):
    hidden = tf.nn.relu(tf.reduce_mean(x, [1, 2]) @ weight0 + bias0)
    return x * factor * tf.sigmoid(hidden @ weight1 + bias1)[:, None, None, :]


def stochastic_depth(x, rate, training):
    if not training:
        return x
    return x * tf.cast(tf.random.uniform((x.shape[0], 1, 1, 1)) >= rate, x.dtype)


def scaled_gelu(x):
    """tf.nn.gelu has a constant in float32."""
    return tf.nn.gelu(x, approximate=True) * 1.7015043497085571


def batch_norm(x, gamma, beta, moving_mean, moving_variance, training, momentum=0.99):
    if not training:
        return tf.nn.batch_normalization(x, moving_mean, moving_variance, beta, gamma, 1e-3), moving_mean, \
            moving_variance
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    out = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
    return out, moving_mean * momentum + mean * (1 - momentum), moving_variance * momentum + variance * (1 - momentum)


@pytest.mark.parametrize("kind, target", [
    ("ws_conv", standardize), ("ws_conv", compiled), ("ws_conv", with_float32_constants), ("ws_conv", Convolution),
    ("se", SqueezeExcite), ("se", squeeze_excite), ("stochastic_depth", stochastic_depth), ("activation", scaled_gelu),
    ("norm", batch_norm)], ids=lambda value: getattr(value, "__name__", None))
def test_right_ones_conform(kind, target):
    verdict = check(kind, target, framework="tensorflow", examples=3)
    assert verdict.outcome == CONFORMS and verdict.framework == "tensorflow", str(verdict)
    assert verdict.precision == ("float32" if target in (with_float32_constants, scaled_gelu) else "float64")


@pytest.mark.parametrize("kind, target, name", [
    ("ws_conv", functools.partial(standardize, axes=(1, 2, 3)), "statistics per kernel row"),
    ("se", functools.partial(squeeze_excite, factor=1.0), "factor 2 missing"),
    ("norm", functools.partial(batch_norm, momentum=0.01), "momentum the other way round")])
def test_mistakes_are_named(kind, target, name):
    verdict = check(kind, target, examples=2)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


def nf_resnet(parameters, images, reads_beta=True):
    """A network as a function of its parameters, by our names."""
    def convolution(name, x, stride=1):
        weight = standardize(parameters[f"{name}.weight"], parameters[f"{name}.gain"])
        return tf.nn.conv2d(x, weight, stride, "SAME") + parameters[f"{name}.bias"]

    def activated(x):
        return tf.nn.relu(x) * 1.7139588594436646

    def block(name, x, stride, beta):
        out = activated(x) * (beta if reads_beta else 1.0)
        shortcut = convolution(f"{name}.conv_shortcut", out, stride) if f"{name}.conv_shortcut.weight" in parameters \
            else x
        out = activated(convolution(f"{name}.conv1", activated(convolution(f"{name}.conv0", out)), stride))
        gates = [parameters[f"{name}.squeeze_excite.{leaf}"] for leaf in (
            "fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")]
        out = squeeze_excite(convolution(f"{name}.conv2", out), *gates)
        return shortcut + CONFIG.alpha * parameters[f"{name}.skip_gain"] * out

    x = tf.nn.max_pool2d(convolution("initial_conv", images, 2), 3, 2, "SAME")
    for number, (stride, variance) in enumerate([(1, 1.0), (2, 1.0 + CONFIG.alpha**2), (1, 1.0 + CONFIG.alpha**2)]):
        x = block(f"blocks.{number}", x, stride, variance ** -0.5)
    return tf.reduce_mean(activated(x), [1, 2]) @ parameters["linear.weight"] + parameters["linear.bias"]


@pytest.mark.parametrize("options, diagnosis", [({}, ()), ({"reads_beta": False}, ("beta missing",))])
def test_a_network_may_be_a_function_of_its_parameters(options, diagnosis):
    verdict = check("model", functools.partial(nf_resnet, **options), config=CONFIG, size=24, framework="tensorflow")
    assert verdict.diagnosis == diagnosis and verdict.passed == (not diagnosis), str(verdict)


def test_a_module_is_left_as_it_is():
    module = Convolution(2, 3, 3)
    module(tf.zeros((1, 5, 5, 2)))
    before = {variable.ref(): variable.numpy() for variable in module.variables}
    handle = framework_of(module).module(module)
    handle.load({"gain": np.full((1, 1, 1, 3), 2.0)}, "float64")
    out = handle.call(np.ones((1, 5, 5, 2)), training=False)
    assert handle.framework.host(out).dtype == np.float64 and list(handle.parameters) == ["w", "bias", "gain"]
    del handle
    assert {variable.ref() for variable in module.variables} == set(before)
    assert all(np.array_equal(variable.numpy(), before[variable.ref()]) for variable in module.variables)


@pytest.mark.parametrize("compiled", [False, True])
def test_grouped_convolutions_have_gradients_on_a_processor(compiled):
    """The same as those of one convolution for each group; sums of 36 terms."""
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((2, 6, 5, 4)), random.standard_normal((3, 3, 2, 6))
    grouped = functools.partial(tf.nn.conv2d, strides=2, padding="SAME")

    def one_by_one(x, weight):
        parts = zip(tf.split(x, 2, 3), tf.split(weight, 2, 3), strict=True)
        return tf.concat([grouped(image, kernel) for image, kernel in parts], 3)

    framework = framework_of(grouped, "tensorflow")
    arrays = [framework.array(x), framework.array(weight)]
    function = tf.function(grouped) if compiled else grouped
    value, grads = framework.value_and_vjp(function, arrays, np.ones((1,)))
    expected, expected_grads = framework.value_and_vjp(one_by_one, arrays, np.ones((1,)))
    assert np.allclose(value, expected, rtol=1e-12, atol=1e-12)
    assert all(np.allclose(*pair, rtol=1e-12, atol=1e-12) for pair in zip(grads, expected_grads, strict=True))


def test_what_cannot_be_run_is_one_line():
    def fails(weight, gain):
        raise ValueError("first\nsecond")

    with pytest.raises(nf.InputError) as error:
        check("ws_conv", fails, framework="tensorflow")
    assert "the target raised ValueError: first" in str(error.value) and "\n" not in str(error.value)
