"""ResNets and their descendants equal their PyTorch ports in float64: logits, gradients, running statistics."""

import dataclasses

import pytest

import nfnumpy as nf
from reference_tests.helpers.baseline_pairs import assert_gradients_agree, assert_states_agree, loss_pair, pair_of
from reference_tests.helpers.port_pairs import BOUND, batch

# Three blocks: one that changes channels, one with a stride, one with an identity shortcut.
RESNET = nf.models.ResNetConfig(widths=(16, 24), depths=(1, 2), strides=(1, 2), stem_width=8, num_classes=7)
CONFIGS = {
    "resnet of bottlenecks": RESNET,
    "resnet of basic blocks": dataclasses.replace(RESNET, block="basic", widths=(8, 12)),
    "resnet for small images": dataclasses.replace(RESNET, stem_kernel=3, stem_stride=1, stem_pool=False),
}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [(33, 29), (24, 24)], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_running_statistics_agree_with_the_port(name, size, training):
    """Odd and even sizes: symmetric padding puts strided windows elsewhere than SAME padding on even ones."""
    model, port = pair_of(CONFIGS[name], seed=1)
    loss_pair(model, port, *batch(size, 7, seed=2), training)
    assert_gradients_agree(model, port)
    assert_states_agree(model, port, BOUND)
