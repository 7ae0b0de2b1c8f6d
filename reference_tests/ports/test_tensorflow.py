"""The TensorFlow port computes what the reference computes: logits, gradients, steps; float64.

The bound is that of helpers/port_pairs.py, where it is derived.
"""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import nfnumpy as nf
from nfnumpy.functional.activations import GAMMA, NONLINEARITIES
from nfnumpy.ports import tensorflow as port, tensorflow_optim
from nfnumpy.verify import CONFORMS, DIVERGES, check
from reference_tests.helpers.port_pairs import BOUND, SMALL, batch, random_state

COMPARED = {"nfnet": SMALL["nfnet"], "nf_resnet": SMALL["nf_resnet with squeeze-and-excite"],
            "nf_regnet": SMALL["nf_regnet"]}
SIZE = (18, 29)  # even and odd, so that paddings differ


@pytest.fixture(autouse=True)
def in_float64():
    """Keras makes layers in float32 by default."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def relative(ours, theirs):
    """‖ours - theirs‖ / ‖theirs‖."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def pair_of(config):
    """A model with random values and the port with the same."""
    model = nf.models.from_config(config, dtype="float64", seed=1)
    model.load_state_dict(random_state(model, 1))
    network = port.from_config(config)
    port.load_reference_state(network, model.state_dict())
    return model, network


@pytest.mark.parametrize("family", COMPARED)
def test_logits_gradients_and_a_step_agree(family):
    """Then AGC, decay of the weights and Nesterov momentum."""
    model, network = pair_of(COMPARED[family])
    images, labels = batch(SIZE, 7, seed=2, count=4)
    variables = dict(port.named_variables(network))
    values = [variable.value for variable in variables.values()]
    with tf.GradientTape() as tape:
        logits = network(images, training=False)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, values)
    ours = model(images)
    assert relative(ours.numpy(), logits.numpy()) <= BOUND
    nf.ops.softmax_cross_entropy(ours, labels).backward()
    differences = {name: relative(model.parameters()[name].grad, gradient.numpy())
                   for name, gradient in zip(variables, gradients, strict=True)}
    assert set(differences) == set(model.parameters()) and max(differences.values()) <= BOUND
    optimizer = nf.optim.SGD(model, lr=0.3, clipping=0.05, weight_decay=1e-2, momentum=0.0, nesterov=False)
    optimizer.step()
    assert 0.0 < optimizer.clipped_fraction() < 1.0
    theirs = tensorflow_optim.SGD(0.3, clipping=0.05, weight_decay=1e-2, momentum=0.0, nesterov=False,
                                  last=variables["linear.weight"],
                                  is_decayed=lambda variable: variable.name == "weight")
    theirs.apply(gradients, list(variables.values()))
    state = port.reference_state(network)
    assert max(relative(array, state[name]) for name, array in model.state_dict().items()) <= BOUND


@pytest.mark.parametrize("name", ["nfnet_8px", "nf_resnet_32px", "nf_regnet_32px"])
def test_fresh_parameters_have_our_names_shapes_and_deviations(name):
    """Of n normal numbers the deviation errs by 1/√(2n) of itself; the bound is five of these."""
    keras.utils.set_random_seed(0)
    model = nf.models.create(name, shapes_only=True)
    state = port.reference_state(port.from_config(model.config))
    assert {key: array.shape for key, array in state.items()} == {
        key: tuple(parameter.shape) for key, parameter in model.parameters().items()}
    for key, array in state.items():
        if key.endswith("weight"):
            last = 0.0 if "regnet" in name else 0.01
            wanted = last if key == "linear.weight" else math.prod(array.shape[:-1]) ** -0.5
            assert abs(array.std() - wanted) <= 5 * wanted / math.sqrt(2 * array.size), key
        else:
            assert (array == float(key.endswith(".gain"))).all(), key


def test_every_nonlinearity_is_there_with_its_gain():
    """Keras's and the reference's in float64: a few operations of one rounding each."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert set(port.FUNCTIONS) == set(NONLINEARITIES) - {"glu"}  # it halves the channels
    for name in port.FUNCTIONS:
        ours = nf.ops.scaled_nonlinearity(nf.Tensor(x), name=name, scale=GAMMA[name]).numpy()
        assert relative(port.activation(tf.constant(x), name).numpy(), ours) <= BOUND, name


def test_whole_examples_drop_in_training_alone():
    """Of 1,000 draws a share errs by at most 0.016 in the mean square; the bound is five of these."""
    layer, x = port.StochasticDepth(0.3), tf.ones((1000, 2, 1, 1))
    out = layer(x, training=True).numpy()
    assert set(np.unique(out)) == {0.0, 1.0} and (out[:, 0] == out[:, 1]).all() and abs(out.mean() - 0.7) <= 0.08
    assert (layer(x).numpy() == 1.0).all()
    config = dataclasses.replace(COMPARED["nfnet"], drop_rate=0.5, stochdepth_rate=0.5)
    _, network = pair_of(config)
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3))
    assert np.array_equal(network(images), network(images))
    assert not np.array_equal(network(images, training=True), network(images))


def test_images_are_normalized_as_ours():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    ours = (images / 255.0 - np.array(nf.datasets.preprocessing.MEAN)) / np.array(
        nf.datasets.preprocessing.STANDARD_DEVIATION)
    assert np.allclose(port.normalize(images, tf.float64), ours, rtol=1e-13, atol=1e-13)


def test_a_network_trains_with_sam_schedule_and_averages():
    """The loss of eight images falls in a few steps, and the averages follow the weights."""
    network = port.from_config(nf.models.config_of("nfnet_8px"), size=8)
    images, labels = batch((8, 8), 10, seed=0, count=8)
    model = tensorflow_optim.SAM(network)
    model.compile(optimizer=tensorflow_optim.SGD(tensorflow_optim.WarmupCosine(0.1, 1, 20)),
                  loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    averages = tensorflow_optim.ExponentialMovingAverage()
    history = model.fit(images, labels, batch_size=8, epochs=4, verbose=0, callbacks=[averages]).history["loss"]
    assert history[-1] < history[0] and averages.updates == 4
    assert len(averages.averages) == len(network.trainable_variables)


BLOCKS = {"nfnet": port.NFNetBlock, "nf_resnet": port.NFResNetBlock, "nf_regnet": port.NFRegNetBlock}
BLOCK_CONFIGS = {"nfnet": nf.models.NFNetConfig(group_size=8), "nf_resnet": nf.models.NFResNetConfig(use_se=True),
                 "nf_regnet": nf.models.NFRegNetConfig()}


def factory_of(family, block=None):
    """A factory of the port's blocks."""
    def make(in_channels, out_channels, stride, alpha, beta):
        config = dataclasses.replace(BLOCK_CONFIGS[family], alpha=alpha)
        return (block or BLOCKS[family])(config, 1, in_channels, out_channels, stride, beta)
    return make


@pytest.mark.parametrize("family", BLOCKS)
def test_verify_says_that_the_ports_blocks_conform(family):
    verdict = check("block", factory_of(family), framework="keras", examples=1)
    assert verdict.outcome == CONFORMS and verdict.precision == "float64", str(verdict)


@pytest.mark.parametrize("kind, target", [("ws_conv", port.ScaledWSConv2D), ("ws_conv", port.standardize),
                                          ("se", port.SqueezeExcite), ("stochastic_depth", port.StochasticDepth)])
def test_verify_says_that_the_ports_layers_conform(kind, target):
    verdict = check(kind, target, examples=2)
    assert verdict.outcome == CONFORMS and verdict.precision == "float64", str(verdict)


@pytest.mark.parametrize("family", COMPARED)
def test_verify_says_that_the_ports_networks_conform(family):
    verdict = check("model", port.from_config(COMPARED[family]), config=COMPARED[family], size=16)
    assert verdict.outcome == CONFORMS and verdict.precision == "float64", str(verdict)
    assert "our names" in verdict.notes[0]


def mistaken(name):
    """A network of the port's with one mistake."""
    network = port.from_config(COMPARED["nfnet"])
    if name == "alpha missing":
        for block in network.blocks:
            block.alpha = 1.0
    else:
        for block in network.blocks:
            se = block.squeeze_excite
            se.call = lambda x, se=se: x * tf.sigmoid(se.fc1(tf.nn.relu(se.fc0(
                tf.reduce_mean(x, axis=[1, 2])))))[:, None, None, :]
    return network


@pytest.mark.parametrize("name", ["alpha missing", "factor 2 missing"])
def test_a_mistake_in_the_ports_network_is_named(name):
    verdict = check("model", mistaken(name), config=COMPARED["nfnet"], size=16)
    assert verdict.outcome == DIVERGES and verdict.diagnosis == (name,), str(verdict)


def test_the_mistake_of_a_block_is_named():
    class ShortcutFromX(port.NFNetBlock):
        def call(self, x, training=False):
            out = port.activation(x, self.act, self.beta)
            shortcut = x
            if self.conv_shortcut is not None:
                shortcut = self.conv_shortcut(port.avg_pool_same(x) if self.stride > 1 else x)
            return shortcut + self.branch(out) * (self.alpha * self.skip_gain)

    verdict = check("block", factory_of("nfnet", ShortcutFromX), framework="keras", examples=0)
    assert verdict.diagnosis == ("shortcut from x",), str(verdict)
