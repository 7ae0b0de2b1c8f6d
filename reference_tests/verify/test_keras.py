"""Checking Keras's layers and networks, on TensorFlow here and on PyTorch and JAX in processes of their own."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import nfnumpy as nf
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT, check
from nfnumpy.verify.__main__ import main
from nfnumpy.verify.frameworks import framework_of
from nfnumpy.verify.frameworks.layer_variables import in_order_of_creation
from reference_tests.helpers import keras_layers, keras_networks
from reference_tests.helpers.keras_layers import BENIGN, MISTAKES, RIGHT

ROOT = Path(__file__).parents[2]
SECONDS = 300  # for a child that hangs


@pytest.mark.parametrize("kind, target", [(kind, target) for kind, some in RIGHT.items() for target in some],
                         ids=lambda value: getattr(value, "__name__", value))
def test_right_layers_conform(kind, target):
    verdict = check(kind, target, framework="keras", examples=1)
    assert verdict.outcome == CONFORMS and verdict.precision == "float64", str(verdict)


@pytest.mark.parametrize("target", MISTAKES, ids=lambda target: target.__name__)
def test_mistakes_are_named(target):
    kind, name = MISTAKES[target]
    verdict = check(kind, target, examples=1)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


@pytest.mark.parametrize("target", BENIGN, ids=lambda target: target.__name__)
def test_benign_forms_are_variants(target):
    kind, name = BENIGN[target]
    verdict = check(kind, target, examples=1)
    assert verdict.outcome == VARIANT and verdict.diagnosis == (name,), str(verdict)


OF_TORCH = ("ScaledStandardizedConv2D", "functional_convolution", "functional_squeeze_excite", "StochasticDepth",
            "ScaledRelu", "Normalization", "NotDoubled")
OF_JAX = ("FromScratch", "StochasticDepth")  # few, because JAX compiles for every case


@pytest.mark.parametrize("backend, names", [("torch", OF_TORCH), ("jax", OF_JAX)])
def test_the_same_layers_conform_on_another_backend(backend, names):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    child = subprocess.run([sys.executable, "-m", "reference_tests.helpers.keras_layers", *names],
                           env=environment, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout.splitlines()[-1])
    assert found.pop("backend") == backend
    mistakes = {"NotDoubled": [DIVERGES, ["factor 2 missing"]]}
    assert found == {name: mistakes.get(name, [CONFORMS, []]) for name in names}


def test_a_gain_that_gets_no_gradient_is_found():
    class Frozen(keras_layers.ScaledStandardizedConv2D):
        def standardize_weight(self, weight):
            gain = ops.stop_gradient(ops.convert_to_tensor(self.gain))
            return super().standardize_weight(weight) / self.gain * gain

    verdict = check("ws_conv", Frozen, examples=0)
    assert verdict.outcome == DIVERGES and verdict.first_difference.tensor == "gradient of gain"


def test_a_variable_that_keras_does_not_know_of_is_not_trained():
    class Untracked(keras_layers.FromScratch):
        def build(self, input_shape):
            super().build(input_shape)
            self.g = tf.Variable(tf.ones((1, 1, 1, self.filters), self.compute_dtype))

    verdict = check("ws_conv", Untracked, examples=0)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == ("gain without a gradient",), str(verdict)


def test_padding_is_asked_for_and_its_default_is_not_a_difference():
    verdict = check("ws_conv", keras_layers.ScaledStandardizedConv2D, examples=0)
    assert "it is asked with padding = 'same'" in verdict.notes


def test_grouped_convolutions_are_differentiated_on_a_processor():
    verdict = check("ws_conv", keras_layers.ScaledStandardizedConv2D, examples=1)
    assert verdict.passed and not any(re.search("groups = [^1]|takes no groups", note) for note in verdict.notes)


def network(layer):
    """Two layers of one name, one of them with running statistics."""
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [layer(4, 3, padding="same", name="same"), layer(5, 3, padding="same", name="same")]
            self._hidden, self.norm = layers.Dense(3), layers.BatchNormalization()

        def call(self, x, training=False):
            for block in self.blocks:
                x = block(x)
            return self.norm(self._hidden(x), training=training)
    return Network()


def test_variables_are_named_by_attributes_and_each_once():
    handle = framework_of(keras.Model).module(network(layers.Conv2D))
    handle.build(np.zeros((1, 5, 5, 2)))
    assert list(handle.parameters) == ["blocks.0.kernel", "blocks.0.bias", "blocks.1.kernel", "blocks.1.bias",
                                       "hidden.kernel", "hidden.bias", "norm.gamma", "norm.beta"]
    assert set(handle.buffers) == {"norm.moving_mean", "norm.moving_variance"}
    assert handle.parameters["blocks.1.kernel"] == (3, 3, 4, 5) and handle.strides == [1, 1]


def test_the_handle_leaves_a_network_as_it_is():
    given = network(layers.Conv2D)
    given(np.zeros((1, 5, 5, 2), np.float32))
    before = [variable.numpy() for variable in given.variables]
    handle = framework_of(given).module(given)
    handle.load({"norm.gamma": np.full(3, 2.0)}, "float64")
    out = handle.call(np.ones((2, 5, 5, 2)), training=True, observed={"part": "blocks.1"})
    handle.gradients(out, np.ones((2, 5, 5, 3)))
    assert handle.outputs["part"].dtype == np.float64 and handle.buffers["norm.moving_mean"].any()
    del handle, out
    assert all(variable.dtype == "float32" and np.array_equal(variable.numpy(), old)
               for variable, old in zip(given.variables, before, strict=True))
    assert given(np.zeros((1, 5, 5, 2), np.float32)).dtype == "float32"


def test_a_layer_in_a_network_is_in_training_alone_where_it_has_statistics():
    handle = framework_of(keras.Model).module(network(layers.Conv2D))
    x = np.random.default_rng(0).standard_normal((4, 5, 5, 2))
    handle.build(x)
    handle.load({}, "float64")
    out = handle.framework.host(handle.call(x, "statistics"))
    assert np.allclose(out.mean((0, 1, 2)), 0.0, atol=1e-9) and handle.buffers["norm.moving_mean"].any()


@pytest.mark.parametrize("make", [keras_networks.network, functools.partial(keras_networks.network, size=32),
                                  keras_networks.OfModules])
def test_networks_of_the_functional_form_conform(make):
    """Their layers are not in the order of the reference, and have automatic names; a constant is float32."""
    verdict = check("model", make(), config=keras_networks.CONFIG)
    assert verdict.outcome == CONFORMS and verdict.precision == "float32", str(verdict)


@pytest.mark.parametrize("mistake, name", [({"last_activation": False}, "final nonlinearity missing"),
                                           ({"resets": False}, "expected_std never reset")])
def test_a_mistake_in_a_network_of_the_functional_form_is_named(mistake, name):
    verdict = check("model", keras_networks.network(**mistake), config=keras_networks.CONFIG, size=24)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


@pytest.mark.parametrize("mistake, diagnosis", [({}, ()), ({"forgets_beta": True}, ("beta missing",))])
def test_functions_that_build_a_block_are_checked(mistake, diagnosis):
    def block(x, filters, stride, beta, alpha):
        return keras_networks.residual_block(x, filters, stride, beta, alpha, **mistake)

    verdict = check("block", block, framework="keras", examples=0)
    assert verdict.diagnosis == diagnosis and verdict.passed == (not diagnosis), str(verdict)


def test_layers_of_one_automatic_name_are_in_order_of_their_numbers():
    made = [layers.Dense(1, name=name) for name in ("dense_2", "other", "dense", "dense_10", "dense_1")]
    assert [layer.name for layer in in_order_of_creation(made)] == ["dense", "other", "dense_1", "dense_2", "dense_10"]


def test_the_command_takes_layers(capsys):
    assert main(["ws_conv", "reference_tests.helpers.keras_layers:Bessel", "--examples", "0"]) == 1
    assert "(keras): DIVERGES" in capsys.readouterr().out


@pytest.mark.parametrize("kind, target, text", [
    ("ws_conv", layers.Dense, "expected a layer of (filters, kernel_size)"),
    ("se", layers.Dense, "se: "), ("norm", layers.Conv2D, "norm: "), ("block", layers.Layer, "block: "),
    ("model", layers.Conv2D(3, 3), "model: ")])
def test_what_cannot_be_run_is_one_line(kind, target, text):
    with pytest.raises(nf.InputError) as error:
        check(kind, target, examples=0)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_an_exception_inside_a_layer_is_told_without_keras_preface():
    class Fails(layers.Layer):
        def call(self, x):
            raise RuntimeError("the width is odd")

    with pytest.raises(nf.InputError, match="RuntimeError: .*the width is odd|the width is odd"):
        check("activation", Fails, examples=0)
