"""Which parameters AGC clips and weight decay touches, by default and by predicates."""

import warnings

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import Tensor
from nfnumpy.nn import Initializer, Linear, Module
from nfnumpy.optim import SGD, clipped_by_default, final_linear_weight, is_decayed
from reference_tests.helpers.named_parameters import parameters_with_gradients, set_gradients, values

NFNET = nf.models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4, stem_widths=(4, 8),
                              stem_strides=(1, 2), num_classes=5)
RESNET_SE = nf.models.NFResNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), use_se=True, num_classes=5)
REGNET = nf.models.NFRegNetConfig(widths=(16, 32), depths=(1, 1), strides=(1, 2), num_classes=5)


class Network(Module):
    """A body in nested containers, and a classifier called `head`."""

    def __init__(self):
        init = Initializer("numpy", "float64", 0)
        self.body = [[Linear(init, 3, 4)], [Linear(init, 4, 4)]]
        self.head = Linear(init, 4, 2)


class Nested(Module):
    """The last linear layer is in a dict in a list."""

    def __init__(self):
        init = Initializer("numpy", "float64", 0)
        self.first = Linear(init, 3, 4)
        self.rest = [{"a": Linear(init, 4, 4), "classifier": Linear(init, 4, 2)}]


class WithoutLinear(Module):
    def __init__(self):
        self.gain = Tensor(np.ones(3), requires_grad=True)


@pytest.mark.parametrize("config", [NFNET, RESNET_SE, REGNET], ids=lambda config: type(config).__name__)
def test_our_networks_decay_weights_and_spare_the_final_one(config):
    """By what the parameters are, not their names: the weights are those with an input and an output axis."""
    model = nf.models.from_config(config)
    optimizer, parameters = SGD(model, lr=0.1), model.parameters()
    assert optimizer.decayed == {name for name, parameter in parameters.items() if parameter.ndim >= 2}
    assert optimizer.clipped == set(parameters) - {"linear.weight"}
    assert SGD(parameters, lr=0.1).clipped == optimizer.clipped


@pytest.mark.parametrize("network, name", [(Network, "head.weight"), (Nested, "rest.0.classifier.weight")])
def test_the_last_linear_layer_is_spared_by_any_name(network, name):
    assert final_linear_weight(network()) == name
    clipped = clipped_by_default(network())
    assert not clipped(name) and clipped("first.weight") and clipped(name.replace("weight", "bias"))


def test_of_parameters_alone_the_last_with_two_axes_is_spared():
    parameters = {"a.weight": Tensor(np.ones((2, 3))), "head.weight": Tensor(np.ones((3, 2))),
                  "head.bias": Tensor(np.ones(2)), "late.weight": Tensor(np.ones((1, 1, 2, 2)))}
    assert final_linear_weight(parameters) == "head.weight"
    assert final_linear_weight({"linear.weight": Tensor(np.ones((2, 2))), **parameters}) == "linear.weight"


@pytest.mark.parametrize("model", [WithoutLinear(), {"w": Tensor(np.ones(3), requires_grad=True)}],
                         ids=["module", "dict"])
def test_a_model_without_a_linear_layer_is_warned_of_once(model):
    with pytest.warns(UserWarning, match="found none") as caught:
        optimizer = SGD(model, lr=0.1)
    assert len(caught) == 1 and optimizer.clipped == set(optimizer.parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SGD(model, lr=0.1, clipping=None)
        SGD(model, lr=0.1, clipped=lambda name: True)


def test_a_classifier_called_head_takes_its_whole_gradient():
    parameters = {name.replace("linear.", "head."): parameter
                  for name, parameter in parameters_with_gradients(scale=100.0).items()}
    before, grads = values(parameters), {name: parameter.grad.copy() for name, parameter in parameters.items()}
    SGD(parameters, lr=1.0, momentum=0.0, weight_decay=0.0).step()
    np.testing.assert_array_equal(parameters["head.weight"].data, before["head.weight"] - grads["head.weight"])
    assert np.abs(parameters["conv.weight"].data - before["conv.weight"]).max() < 1.0


def test_predicates_choose_what_is_clipped_and_decayed():
    parameters = parameters_with_gradients(scale=100.0)
    set_gradients(parameters, seed=50, scale=100.0)
    optimizer = SGD(parameters, lr=1.0, momentum=0.0, weight_decay=0.5, clipped=lambda name: name == "linear.weight",
                    decayed=lambda name: name.endswith("bias"))
    assert optimizer.clipped == {"linear.weight"} and optimizer.decayed == {"conv.bias", "linear.bias"}
    before, grads = values(parameters), {name: parameter.grad.copy() for name, parameter in parameters.items()}
    optimizer.step()
    assert optimizer.units == 5 and optimizer.clipped_fraction() == 1.0
    for name, parameter in parameters.items():
        if name != "linear.weight":
            decay = 0.5 * before[name] if name.endswith("bias") else 0.0
            np.testing.assert_array_equal(parameter.data, before[name] - (grads[name] + decay))


@pytest.mark.parametrize("name, decayed", [("linear.weight", True), ("blocks.0.conv1.weight", True), ("weight", True),
                                           ("conv.gain", False), ("conv.bias", False), ("weight.bias", False)])
def test_weights_decay_and_nothing_else(name, decayed):
    assert is_decayed(name) == decayed
