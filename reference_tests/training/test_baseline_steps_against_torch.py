"""Training steps of networks with normalizations equal their PyTorch ports', in float64: SGD with Nesterov momentum.

The bound is 1e-9 of every parameter's and every running statistic's norm after each of the steps: 5e-14 (measured for a
gradient) are added to the difference that earlier steps left.
"""

import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy import models
from reference_tests.helpers.baseline_pairs import assert_states_agree, loss_pair, pair_of
from reference_tests.helpers.port_pairs import batch

BOUND = 1e-9
STEPS = 20
RATE = 0.02
WEIGHT_DECAY = 1e-2  # large enough to have an effect in 20 steps
SMALL = {"widths": (8, 12), "depths": (1, 2), "strides": (1, 2), "num_classes": 5}
STEM = {"stem_width": 4, "stem_kernel": 3, "stem_stride": 1, "stem_pool": False}
GROUPS = {"groups": 2, "group_width": 2, "se_ratio": 0.5}
CONFIGS = {
    "resnet": models.ResNetConfig(**SMALL, **STEM),
    "resnet_v2": models.ResNetV2Config(**SMALL, **STEM),
    "se_resnext_d": models.SEResNeXtDConfig(**SMALL, **GROUPS, stem_widths=(4, 4, 8)),
    "fixup_resnet": models.FixupResNetConfig(**SMALL, **STEM),
    "skipinit_resnet": models.SkipInitResNetConfig(**SMALL, **STEM),
}


def pytorchs_sgd(port):
    """Weight decay on convolutions and linear layers alone, not on biases, scales and shifts."""
    weights = [parameter for parameter in port.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in port.parameters() if parameter.ndim <= 1]
    return torch.optim.SGD([{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others}], lr=RATE,
                           momentum=0.9, nesterov=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_twenty_steps_agree_with_the_port(name):
    """The loss falls, so the steps go somewhere: the batch is the same each time."""
    model, port = pair_of(CONFIGS[name], seed=3)
    optimizer = nf.optim.SGD(model, lr=RATE, clipping=None, weight_decay=WEIGHT_DECAY)
    port_optimizer = pytorchs_sgd(port)
    images, labels = batch((13, 11), 5, seed=4, count=4)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        port_optimizer.zero_grad()
        loss, _ = loss_pair(model, port, images, labels, training=True)
        optimizer.step()
        port_optimizer.step()
        assert_states_agree(model, port, BOUND)
        losses.append(loss)
    assert min(losses) < 0.9 * losses[0] and np.isfinite(losses).all()
    assert not any(torch.isnan(parameter).any() for parameter in port.parameters())
