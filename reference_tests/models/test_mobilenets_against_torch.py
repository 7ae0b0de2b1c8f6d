"""MobileNets, version 1 and 2, equal their PyTorch ports in float64: logits, gradients, running statistics."""

import dataclasses

import pytest
import torch

import nfnumpy as nf
from nfnumpy.models.mobilenet_v2 import InvertedResidual
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

V1 = nf.models.MobileNetV1Config(widths=(8, 12), depths=(1, 2), strides=(1, 2), stem_width=6, num_classes=7)
# Blocks with and without expansion, shortcut and stride.
V2 = nf.models.MobileNetV2Config(widths=(8, 8, 12), depths=(1, 2, 1), strides=(1, 2, 2), expansions=(1, 3, 2),
                                 stem_width=8, head_width=20, num_classes=7, drop_rate=0.0)
CONFIGS = {
    "mobilenet_v1": V1, "mobilenet_v1 for small images": dataclasses.replace(V1, stem_stride=1, norm="batch_keras"),
    "mobilenet_v2": V2, "mobilenet_v2 for small images": dataclasses.replace(V2, stem_stride=1, norm="batch_keras"),
}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(33, 29), (24, 18)], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_running_statistics_agree_with_the_port(name, size, training):
    """Odd and even sizes: symmetric padding puts strided windows elsewhere than SAME padding on even ones."""
    model, port = pair_of(CONFIGS[name], seed=1)
    loss_pair(model, port, *batch(size, 7, seed=2), training)
    assert_gradients_agree(model, port, shifts_without_effect(model) if training else ())
    assert_states_agree(model, port, BOUND)


@pytest.mark.parametrize("config", [V1, V2], ids=["v1", "v2"])
def test_twenty_steps_agree_with_the_port(config):
    """Running statistics included."""
    model, port = pair_of(config, seed=5)
    assert_steps_agree(model, port, *batch((24, 18), 7, seed=6, count=4), learning_rate=1e-2)


@pytest.mark.parametrize("config, last", [(V1, "12 -> 12, stride 1"), (V2, "8 -> 12, width 16, stride 2")],
                         ids=["v1", "v2"])
def test_every_block_is_described(config, last):
    model = nf.models.from_config(config)
    assert [last in line for line in repr(model).splitlines() if "blocks." in line][-1]


@pytest.mark.parametrize("config", [V1, V2], ids=["v1", "v2"])
def test_dropout_agrees_with_the_port(config):
    model, port = pair_of(dataclasses.replace(config, drop_rate=0.4), seed=3)
    model.randomness.step = 5
    set_masks(model, port, 4, step=5)
    assert (port.dropout.mask == 0).any()
    loss_pair(model, port, *batch((33, 29), 7, seed=4, count=4), training=True)
    assert_gradients_agree(model, port, shifts_without_effect(model))


@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv2"])
def test_named_models_have_the_parameters_of_the_port(name):
    """No memory is taken on either side."""
    model = nf.models.create(name, shapes_only=True)
    with torch.device("meta"):
        port = from_config(model.config)
    theirs = {key: (*parameter.shape[2:], *parameter.shape[1::-1]) for key, parameter in port.named_parameters()}
    assert {port_name(key): tuple(parameter.shape) for key, parameter in model.parameters().items()} == theirs
    assert port.dropout.p == model.dropout.rate


def test_version_two_has_its_shortcuts_where_shapes_are_equal():
    """Table 2 of the paper: every block of a stage but the first; stages have 1, 2, 3, 4, 3, 3 and 1 blocks."""
    blocks = nf.models.create("mobilenetv2", shapes_only=True).blocks
    assert [k for k, block in enumerate(blocks) if not isinstance(block, InvertedResidual)] == [0, 1, 3, 6, 10, 13, 16]
