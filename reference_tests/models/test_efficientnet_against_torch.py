"""EfficientNets equal their PyTorch port in float64: logits, gradients, running statistics; and their initial values.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy.models.efficientnet import MBConv, ResidualMBConv, scaled_width
from nfnumpy.ports.torch_networks import from_config
from reference_tests.helpers.baseline_pairs import (
    assert_gradients_agree,
    assert_states_agree,
    assert_steps_agree,
    loss_pair,
    pair_of,
    port_name,
    set_masks,
    shifts_without_effect,
)
from reference_tests.helpers.port_pairs import BOUND, batch

# Blocks with and without expansion, shortcut and stride, and both windows.
TINY = nf.models.EfficientNetConfig(widths=(8, 8, 12), depths=(1, 2, 1), strides=(1, 2, 2), kernels=(3, 5, 3),
                                    expansions=(1, 3, 2), stem_width=8, head_width=20, num_classes=7, drop_rate=0.0,
                                    stochdepth_rate=0.0)
CONFIGS = {
    "efficientnet": TINY,
    "efficientnet for small images": dataclasses.replace(TINY, stem_stride=1, se_ratio=0.5),
    "efficientnet with another norm": dataclasses.replace(TINY, norm="batch"),
}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(33, 29), (24, 18)], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_running_statistics_agree_with_the_port(name, size, training):
    """Odd and even sizes: SAME padding is symmetric on the ones and not on the others."""
    model, port = pair_of(CONFIGS[name], seed=1)
    loss_pair(model, port, *batch(size, 7, seed=2), training)
    assert_gradients_agree(model, port, shifts_without_effect(model) if training else ())
    assert_states_agree(model, port, BOUND)


def test_twenty_steps_agree_with_the_port():
    """Running statistics included."""
    model, port = pair_of(TINY, seed=5)
    assert_steps_agree(model, port, *batch((24, 18), 7, seed=6, count=4), learning_rate=1e-2)


def test_every_layer_and_block_is_described_and_can_be_computed_again():
    """With recomputed blocks, logits and gradients have the same bits, and running statistics are updated once."""
    model, again = (nf.models.from_config(TINY, dtype="float64") for _ in range(2))
    again.recompute_blocks = True
    images, labels = batch((12, 9), 7, seed=7)
    for network in (model, again):
        nf.ops.softmax_cross_entropy(network(images, training=True), labels).backward()
    for name, parameter in model.parameters().items():
        assert np.array_equal(parameter.grad, again.parameters()[name].grad), name
    for name, array in model.state_dict().items():
        assert np.array_equal(array, again.state_dict()[name]), name
    lines = repr(model).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "initial_conv", *(f"blocks.{k}" for k in range(4)), "final_conv", "linear"]
    assert "8 -> 12, width 16, 3×3, stride 2" in lines[-3]


def test_dropout_and_drop_connect_agree_with_the_port():
    """Of 4 examples in 3 blocks with a shortcut, at rates of 0, 0.18 and 0.54, some are dropped and some are kept."""
    config = dataclasses.replace(TINY, depths=(1, 2, 2), drop_rate=0.4, stochdepth_rate=0.9)
    model, port = pair_of(config, seed=3)
    model.randomness.step = 5
    kept = set_masks(model, port, 4, step=5)
    assert len(kept) == 3 and kept[0].all() and 0 < kept.sum() < kept.numel()
    loss_pair(model, port, *batch((33, 29), 7, seed=4, count=4), training=True)
    assert_gradients_agree(model, port, shifts_without_effect(model))
    assert_states_agree(model, port, BOUND)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b3", "efficientnet_32px"])
def test_named_models_have_the_parameters_and_rates_of_the_port(name):
    """No memory is taken on either side."""
    model = nf.models.create(name, shapes_only=True)
    with torch.device("meta"):
        port = from_config(model.config)
    theirs = {key: (*parameter.shape[2:], *parameter.shape[1::-1]) for key, parameter in port.named_parameters()}
    assert {port_name(key): tuple(parameter.shape) for key, parameter in model.parameters().items()} == theirs
    for ours, block in zip(model.blocks, port.blocks, strict=True):
        assert isinstance(ours, ResidualMBConv) == block.is_residual
        if block.is_residual:
            assert ours.stochastic_depth.rate == block.stochastic_depth.rate and ours.stochastic_depth.rescale
    assert port.dropout.p == model.dropout.rate


@pytest.mark.parametrize("factor, width, scaled", [
    (1.0, 32, 32), (1.1, 32, 32), (1.2, 40, 48), (1.1, 24, 24), (1.1, 40, 48), (1.4, 16, 24), (2.0, 1280, 2560)])
def test_widths_are_scaled_to_multiples_of_eight_and_lose_at_most_a_tenth(factor, width, scaled):
    assert scaled_width(width, factor) == scaled


@given(st.integers(1, 4000), st.floats(0.1, 4.0))
def test_scaled_widths_are_near_the_exact_ones(width, factor):
    found, exact = scaled_width(width, factor), width * factor
    assert found % 8 == 0 and 0.9 * exact <= found <= max(8, exact + 8)


def test_initial_values_are_those_of_the_released_code():
    """Of n draws the variance lies within 6·√(2/n) of its expected value, and the greatest of 10⁴ in ±b above 0.99·b.

    The seed is fixed. Depthwise kernels have one output each, so that theirs is 2/(kh·kw).
    """
    model = nf.models.create("efficientnet_b0", num_classes=100)
    block = model.blocks[9]
    assert type(block) is ResidualMBConv and isinstance(block, MBConv)
    kernel, width, out, hidden = 5, 672, 112, 28
    for weight, fan_out in ((block.conv0.conv.weight, width), (block.conv1.conv.weight, kernel**2),
                            (block.conv2.conv.weight, out), (block.squeeze_excite.fc0.weight, hidden),
                            (block.squeeze_excite.fc1.weight, width), (model.initial_conv.conv.weight, 9 * 32)):
        assert weight.data.var() * fan_out / 2 == pytest.approx(1.0, abs=6 * math.sqrt(2 / weight.data.size))
    bound = 1 / math.sqrt(100)
    classifier = model.linear.weight.data
    assert classifier.shape == (1280, 100) and np.all(np.abs(classifier) <= bound)
    assert classifier.min() < -0.99 * bound and classifier.max() > 0.99 * bound and not model.linear.bias.data.any()
    # The mean of the squares of numbers even in ±b is b²/3; their standard deviation is √(4/45)·b².
    assert np.mean(np.float64(classifier)**2) / bound**2 == pytest.approx(
        1 / 3, abs=6 * math.sqrt(4 / 45 / classifier.size))
