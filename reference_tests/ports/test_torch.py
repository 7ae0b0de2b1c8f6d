"""The PyTorch port by itself: its initialization, its masks, its units for AGC, its weights both ways.

That its networks and steps compute what the reference computes is in models/test_models_against_torch.py and
training/test_training_steps_against_torch.py.
"""

import dataclasses

import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy.functional.activations import GAMMA, NONLINEARITIES
from nfnumpy.models.config import ACTIVATIONS
from nfnumpy.ports import torch as port, torch_optim
from reference_tests.helpers.port_pairs import FAMILIES, pair_of


@pytest.mark.parametrize("family", ["nfnet", "nf_resnet with squeeze-and-excite", "nf_regnet"])
def test_fresh_weights_have_their_deviations(family):
    """Of n normal numbers the deviation errs by 1/√(2n) of itself; the bound is five of these."""
    torch.manual_seed(0)
    network = port.from_config(FAMILIES[family])
    ends = {"nf_regnet": 0.0}.get(family, 0.01)
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            wanted = ends if name == "linear.weight" else parameter[0].numel() ** -0.5
            assert abs(parameter.std(correction=0).item() - wanted) <= 5 * wanted / (2 * parameter.numel()) ** 0.5, name
        else:
            assert (parameter == float(name.endswith(".gain"))).all(), name


@pytest.mark.parametrize("family", ["nfnet", "nf_resnet with squeeze-and-excite", "nf_regnet"])
def test_weights_carry_over_both_ways_bit_for_bit(family):
    model, network = pair_of(FAMILIES[family], seed=3)
    returned = port.reference_state(network)
    assert set(returned) == set(model.state_dict())
    for name, array in model.state_dict().items():
        assert np.array_equal(returned[name], array) and returned[name].flags.c_contiguous


def test_masks_act_in_training_alone_and_whole_examples_drop():
    """Of 1,000 draws a share errs by at most 0.016 in the mean square; the bound is five of these."""
    torch.manual_seed(0)
    layer, x = port.StochasticDepth(0.3), torch.ones(1000, 2, 1, 1)
    out = layer(x)
    assert set(out.unique().tolist()) == {0.0, 1.0} and (out[:, 0] == out[:, 1]).all()
    assert abs(out.mean().item() - 0.7) <= 0.08
    assert layer.eval()(x) is x
    config = dataclasses.replace(FAMILIES["nfnet"], drop_rate=0.5, stochdepth_rate=0.5)
    _, network = pair_of(config, seed=4)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(network.eval()(images), network.eval()(images))
    assert not torch.equal(network.train()(images), network.eval()(images))


@pytest.mark.parametrize("shape", [(), (5,), (5, 1, 1, 1), (5, 3), (5, 3, 2, 2), (1, 3)])
def test_units_for_agc_are_those_of_the_reference(shape):
    """Clipped gradients equal the reference's in the reference's layout: norms of at most 60 terms, 1e-14 apart."""
    rng = np.random.default_rng(0)
    param = torch.nn.Parameter(torch.from_numpy(np.asarray(rng.standard_normal(shape))))
    param.grad = torch.from_numpy(np.asarray(0.05 * rng.standard_normal(shape)))
    ours = nf.optim.adaptive_gradient_clip(port.to_reference_layout(param.grad), port.to_reference_layout(param))
    torch_optim.adaptive_gradient_clip_([param, torch.nn.Parameter(torch.ones(2))])  # the last has no gradient
    np.testing.assert_allclose(port.to_reference_layout(param.grad), ours, rtol=1e-14)


def test_sam_leaves_the_weights_and_a_gradient_of_zero_alone():
    network = torch.nn.Linear(3, 2).double()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    loss = torch_optim.sam_backward(network, lambda: 0.0 * network(torch.ones(1, 3, dtype=torch.float64)).sum())
    assert loss == 0.0
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value) and not parameter.grad.any()


def test_every_activation_of_a_network_is_in_the_port():
    missing = sorted(set(ACTIVATIONS) - set(port.FUNCTIONS))
    assert not missing, f"{missing}: add them to FUNCTIONS in nfnumpy/ports/torch.py"


@pytest.mark.parametrize("name", port.FUNCTIONS)
def test_nonlinearities_are_those_of_the_reference(name):
    """In float64, to some ten roundings of a value; log_softmax is along the channels."""
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5))
    ours = GAMMA[name] * NONLINEARITIES[name][0](x)
    theirs = port.Activation(name)(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(theirs, ours, rtol=2e-15 * 10, atol=1e-15 * 10)
