"""The PyTorch port of any configuration, and its folded form."""

import pytest
import torch
from torch import nn

import nfnumpy as nf
from nfnumpy.ports import torch_networks
from reference_tests.helpers.baseline_pairs import pair_of

SMALL = ("resnet_8px", "se_resnext_8px", "efficientnet_8px")


def test_every_family_has_a_port():
    assert {config.__name__ for config in nf.models.FAMILIES} == set(torch_networks.PORTS)


@pytest.mark.parametrize("name", SMALL)
def test_a_folded_port_has_the_same_logits_and_fewer_layers(name):
    """In float64: each of the convolutions, at most 50 deep, rounds its sums of up to 2,000 products anew."""
    _, port = pair_of(nf.models.config_of(name), seed=1)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = port.eval()(images)
        port.initial_conv.norm.running_mean += 0.5
        assert not torch.allclose(port(images), expected)
        expected = port(images)
        found = torch_networks.folded(port)(images)
    assert torch.linalg.norm(found - expected) <= 1e-12 * torch.linalg.norm(expected)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in port.modules())
