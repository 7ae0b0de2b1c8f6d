"""ResNets and their descendants equal their PyTorch ports in float64: logits, gradients, running statistics, training.
"""

import dataclasses

import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy.ports.torch_networks import from_config
from nfnumpy.ports.torch_parts import port_name
from reference_tests.helpers.baseline_pairs import (
    STEPS_BOUND,
    assert_gradients_agree,
    assert_states_agree,
    assert_steps_agree,
    loss_pair,
    pair_of,
)
from reference_tests.helpers.port_pairs import BOUND, batch, set_masks
from reference_tests.helpers.resnet_configs import NAMED, RESNETS

IN_PYTORCH = [norm for norm in nf.nn.NORMS if norm not in ("batch_haiku", "switchable")]
SMALL = [name for name in NAMED if nf.models.config_of(name).train_size <= 32]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(33, 29), (24, 24)], ids=str)
@pytest.mark.parametrize("name", RESNETS)
def test_logits_gradients_and_running_statistics_agree_with_the_port(name, size, training):
    """Odd and even sizes: symmetric padding puts strided windows elsewhere than SAME padding on even ones."""
    model, port = pair_of(RESNETS[name], seed=1)
    loss_pair(model, port, *batch(size, 7, seed=2), training)
    assert_gradients_agree(model, port)
    assert_states_agree(model, port, BOUND)


@pytest.mark.parametrize("name", ["resnet of bottlenecks", "resnet_v2 of basic blocks", "resnet_d", "se_resnext",
                                  "fixup_resnet of basic blocks"])
def test_dropout_and_stochastic_depth_agree_with_the_port(name):
    """What is kept is divided by the probability of keeping it, in both."""
    config = dataclasses.replace(RESNETS[name], drop_rate=0.4, stochdepth_rate=0.9)
    model, port = pair_of(config, seed=3)
    assert [block.stochastic_depth.rate for block in port.blocks] == pytest.approx([0.0, 0.3, 0.6])
    set_masks(model, port, 6, step=0)
    for block, ours in zip(port.blocks, model.blocks, strict=True):
        block.stochastic_depth.mask = block.stochastic_depth.mask.double() / (1 - ours.stochastic_depth.rate)
    kept = torch.stack([block.stochastic_depth.mask > 0 for block in port.blocks])
    assert 0 < kept.sum() < kept.numel() and kept[0].all()
    loss_pair(model, port, *batch((24, 24), 7, seed=4, count=6), training=True)
    assert_gradients_agree(model, port)


@pytest.mark.parametrize("name", ["resnet of bottlenecks", "resnet_v2 of bottlenecks", "se_resnext_d",
                                  "fixup_resnet of bottlenecks", "skipinit_resnet"])
def test_twenty_training_steps_agree_with_the_port(name):
    """Parameters and running statistics after every step, and then the outputs that these statistics give."""
    model, port = pair_of(RESNETS[name], seed=3)
    before = model.buffers()
    images, labels = batch((24, 24), 7, seed=4, count=4)
    assert_steps_agree(model, port, images, labels, learning_rate=1e-2)
    assert all((array != before[key]).all() for key, array in model.buffers().items())
    loss_pair(model, port, images, labels, training=False, bound=STEPS_BOUND)


@pytest.mark.parametrize("family", ["resnet of bottlenecks", "resnet_v2 of bottlenecks", "se_resnext_d"])
@pytest.mark.parametrize("norm", IN_PYTORCH)
def test_batch_normalization_can_be_exchanged_for_any_other(family, norm):
    model, port = pair_of(dataclasses.replace(RESNETS[family], norm=norm), seed=7)
    loss_pair(model, port, *batch((24, 24), 7, seed=8), training=True)
    assert_gradients_agree(model, port)
    assert_states_agree(model, port, BOUND)


@pytest.mark.parametrize("norm", nf.nn.NORMS)
def test_every_parameter_has_a_gradient_under_every_normalization(norm):
    model = nf.models.from_config(dataclasses.replace(RESNETS["resnet of bottlenecks"], norm=norm), seed=7)
    images, labels = batch((24, 24), 7, seed=8)
    nf.ops.softmax_cross_entropy(model(images.astype("float32"), training=True), labels).backward()
    assert all(np.abs(parameter.grad).max() > 0 for parameter in model.parameters().values())


@pytest.mark.parametrize("name", SMALL)
def test_small_named_models_agree_with_the_port(name):
    config = nf.models.config_of(name, drop_rate=0.0)
    model, port = pair_of(config, seed=5)
    loss_pair(model, port, *batch((config.train_size,) * 2, config.num_classes, seed=6, count=2), training=False)
    assert_gradients_agree(model, port)


@pytest.mark.parametrize("name", NAMED)
def test_named_models_have_the_parameters_of_the_port(name):
    """Names and shapes, and the rate of dropout; no memory is taken on either side."""
    model = nf.models.create(name, shapes_only=True)
    with torch.device("meta"):
        port = from_config(model.config)
    ours = {port_name(key): tuple(array.shape) for key, array in model.state_dict().items()}
    theirs = {key: (*array.shape[2:], *array.shape[1::-1]) for key, array in port.state_dict().items()
              if not key.endswith("num_batches_tracked")}
    assert ours == theirs
    assert port.dropout.p == model.dropout.rate
