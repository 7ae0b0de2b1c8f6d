"""DenseNet and Inception v3 equal their PyTorch ports in float64: logits, gradients, running statistics, training."""

import functools

import numpy as np
import pytest

import nfnumpy as nf
from reference_tests.helpers.baseline_pairs import (
    STEPS_BOUND,
    assert_gradients_agree,
    assert_states_agree,
    assert_steps_agree,
    loss_pair,
    pair_of,
)
from reference_tests.helpers.port_pairs import BOUND, batch

CONFIGS = {
    "densenet": nf.models.DenseNetConfig(depths=(2, 1, 2), growth=6, num_classes=7),
    "densenet that keeps a third": nf.models.DenseNetConfig(depths=(1, 3), growth=5, bottleneck=2, compression=0.34,
                                                            num_classes=7),
    "inception_v3": nf.models.InceptionV3Config(pool_widths=(32,), factorized_widths=(128,), expanded_modules=1,
                                                width_factor=1 / 16, num_classes=7),
}
SIZES = {"densenet": (37, 30), "inception_v3": (123, 119)}  # the smallest feature maps have at least 2 × 2 pixels


def images_for(name, seed):
    return batch(SIZES[name.split()[0]], 7, seed, count=4)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_running_statistics_agree_with_the_port(name, training):
    model, port = pair_of(CONFIGS[name], seed=1)
    loss_pair(model, port, *images_for(name, seed=2), training)
    assert_gradients_agree(model, port)
    assert_states_agree(model, port, BOUND)


@pytest.mark.parametrize("name", ["densenet", "inception_v3"])
def test_twenty_training_steps_agree_with_the_port(name):
    """Parameters and running statistics after every step, and then the outputs that these statistics give."""
    model, port = pair_of(CONFIGS[name], seed=3)
    before = model.buffers()
    assert_steps_agree(model, port, *images_for(name, seed=10), learning_rate=1e-3)
    assert all((array != before[key]).all() for key, array in model.buffers().items())
    loss_pair(model, port, *images_for(name, seed=4), training=False, bound=STEPS_BOUND)


def test_a_dense_layer_keeps_what_it_is_given():
    """Its output's first channels are its input, bit for bit; so are a dense block's."""
    model = nf.models.from_config(CONFIGS["densenet"], dtype="float64", seed=5)
    images, _ = images_for("densenet", seed=6)
    x = model.stem(nf.Tensor(images))
    out = model.blocks[0](x)
    assert out.shape[3] == x.shape[3] + 2 * 6
    assert np.array_equal(out.numpy()[..., :x.shape[3]], x.numpy())


def test_the_average_pool_of_inception_counts_the_padding():
    """In a corner 4 of 9 pixels are real; SAME average pooling would divide by 4."""
    ones = nf.Tensor(np.ones((1, 4, 5, 2)))
    found = nf.models.inception_v3.average_of_neighbours(ones).numpy()[0, :, :, 0]
    counts = functools.reduce(np.multiply.outer, ([2, 3, 3, 2], [2, 3, 3, 3, 2]))
    np.testing.assert_allclose(found, counts / 9, rtol=9 * 2.3e-16)
