"""Networks with normalizations, Fixup and SkipInit: mistakes are named, correct ones conform, rules are our models."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import nfnumpy as nf
from nfnumpy.autograd import Tensor
from nfnumpy.ports import torch_networks, torch_parts
from nfnumpy.verify.checks.model import check_model
from nfnumpy.verify.network.architecture import architecture_of, base_rules
from nfnumpy.verify.network.baselines import is_buffer, running_statistics
from nfnumpy.verify.network.forward import forward
from nfnumpy.verify.network.inputs import random_parameters
from nfnumpy.verify.network.shapes import parameter_shapes
from nfnumpy.verify.variants.baselines.catalogue import catalogue
from reference_tests.helpers.wrong_baselines import CONFIGS, MISTAKES, mistaken

SIZE = 20
SIZES = {"inception": 79}  # it takes none below 75


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_the_default_rules_are_our_models_bit_for_bit(family, training):
    config = dataclasses.replace(CONFIGS[family], drop_rate=0.0)
    if hasattr(config, "stochdepth_rate"):
        config = dataclasses.replace(config, stochdepth_rate=0.0)
    rules, model = base_rules(config), nf.models.from_config(config, dtype="float64")
    state = random_parameters(parameter_shapes(config, rules), 1)
    model.load_state_dict(state)
    leaves = {name: Tensor(array, requires_grad=not is_buffer(name)) for name, array in state.items()}
    images = np.random.default_rng(0).standard_normal((2, *2 * [SIZES.get(family, SIZE)], 3))
    logits = forward(leaves, images, architecture_of(config, rules), rules, training)["logits"]
    expected = model(images, training=training)
    assert np.array_equal(logits.numpy(), expected.numpy())
    for each in (logits, expected):
        nf.ops.softmax_cross_entropy(each, np.array([1, 2])).backward()
    assert all(np.array_equal(leaves[name].grad, value.grad) for name, value in model.parameters().items())
    statistics = running_statistics(config, rules)
    assert all(np.array_equal(array, statistics[f"statistics of {name}"]) for name, array in model.buffers().items())


@pytest.mark.parametrize("family", CONFIGS)
def test_a_correct_port_conforms(family):
    torch.manual_seed(0)
    verdict = check_model(torch_networks.from_config(CONFIGS[family]), config=CONFIGS[family],
                          size=SIZES.get(family, SIZE))
    assert verdict.outcome == "conforms" and verdict.precision == "float64", str(verdict)
    has_averages = any(difference.tensor.startswith("statistics of") for difference in verdict.differences)
    assert has_averages == (family not in ("fixup", "skipinit"))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_and_named(name):
    torch.manual_seed(0)
    network, config, names = mistaken(name)
    verdict = check_model(network, config=config, size=SIZE)
    assert set(verdict.diagnosis) == set(names), str(verdict)
    benign = {entry.name for entry in catalogue(config) if entry.benign}
    assert verdict.outcome == ("conforms as a named variant" if set(names) <= benign else "diverges")


class InASequence(nn.Module):
    """An inverted residual with its layers in a sequence of its own, as they are often written."""

    def __init__(self, block):
        super().__init__()
        layers = [layer for convolution in (block.conv0, block.conv1) if convolution is not None
                  for layer in (convolution, nn.ReLU6())]
        self.branch, self.is_residual = nn.Sequential(*layers, block.conv2), block.is_residual

    def forward(self, x):
        out = self.branch(x)
        if self.is_residual:
            out += x
        return out


def test_a_block_is_observed_where_its_shortcut_is_added():
    """The sequence of its branch has all of its parameters too; its eps is a variant, so that blocks are looked at."""
    torch.manual_seed(0)
    network = torch_networks.from_config(CONFIGS["mobilenet_v2"])
    network.blocks = nn.ModuleList(InASequence(block) for block in network.blocks)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-4
    verdict = check_model(network, config=CONFIGS["mobilenet_v2"], size=SIZE)
    assert verdict.diagnosis == ("eps 0.0001",) and not any("inside" in note for note in verdict.notes), str(verdict)


class Undivided(torch_parts.StochasticDepth):
    """Whole examples are dropped, and the others left as they are."""

    def forward(self, x):
        return super().forward(x) * (1.0 - self.rate) if self.training else x


class Elementwise(torch_parts.StochasticDepth):
    """Every value is dropped by itself."""

    def forward(self, x):
        return torch.nn.functional.dropout(x, self.rate, self.training)


class CountedTwice(torch_parts.StochasticDepth):
    """What is kept is multiplied by the keep probability."""

    def forward(self, x):
        return super().forward(x) * (1.0 - self.rate) ** 2 if self.training else x


@pytest.mark.parametrize("layer, names", [
    (torch_parts.StochasticDepth, ()), (Undivided, ("not divided by 1 - rate",)),
    (Elementwise, ("a mask for every element",)), (CountedTwice, ("multiplied by 1 - rate",))])
@pytest.mark.parametrize("family", ["resnet", "resnet_v2", "resnet_d", "se_resnext_d", "efficientnet"])
def test_stochastic_depth_drops_whole_examples_and_divides(family, layer, names):
    """At a rate of 0.6 that the middle blocks have too; the first block, whose rate is 0, has an undisturbed branch."""
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIGS[family], stochdepth_rate=0.6)
    network = torch_networks.from_config(config)
    for module in network.modules():
        if isinstance(module, torch_parts.StochasticDepth):
            module.__class__ = layer
    verdict = check_model(network, config=config, size=SIZE)
    assert verdict.diagnosis == names, str(verdict)
    assert verdict.outcome == ("diverges" if names else "conforms")


def test_two_mistakes_are_named_together():
    network, config, one = mistaken("resnet: the sum")
    MISTAKES["resnet: momentum"][1](network)
    assert set(check_model(network, config=config, size=SIZE).diagnosis) == {*one, "momentum the other way round"}


class Unnamed(nn.Module):
    """A MobileNet with names of its own, in a Sequential."""

    def __init__(self):
        super().__init__()
        port = torch_networks.from_config(CONFIGS["mobilenet_v1"])
        layers = [port.initial_conv.conv, port.initial_conv.norm, nn.ReLU6()]
        for block in port.blocks:
            for part in (block.depthwise, block.pointwise):
                layers += [part.conv, part.norm, nn.ReLU6()]
        self.body, self.classifier = nn.Sequential(*layers), nn.Linear(12, 4)

    def forward(self, x):
        return self.classifier(self.body(x).mean((2, 3)))


def test_parameters_and_running_statistics_are_matched_by_shape_and_order():
    verdict = check_model(Unnamed(), config=CONFIGS["mobilenet_v1"], size=SIZE)
    assert verdict.outcome == "conforms" and "matched by shape and order" in verdict.notes[0], str(verdict)


def test_a_bias_before_a_normalization_is_set_to_zero():
    network = Unnamed()
    network.body[0] = nn.Conv2d(3, 6, 3, 2, 1)
    verdict = check_model(network, config=CONFIGS["mobilenet_v1"], size=SIZE)
    assert verdict.outcome == "conforms" and "not used, set to 0: body.0.bias" in verdict.notes, str(verdict)


def test_a_nonlinearity_is_missed_in_the_stem_alone():
    network = Unnamed()
    network.body[2] = nn.Identity()
    verdict = check_model(network, config=CONFIGS["mobilenet_v1"], size=SIZE)
    assert verdict.diagnosis == ("no nonlinearity in the stem",), str(verdict)


def test_a_network_without_running_statistics_is_recognized():
    network = torch_networks.from_config(nf.models.config_of("resnet_8px"))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    verdict = check_model(network)
    assert verdict.diagnosis == ("batch statistics in evaluation",), str(verdict)
    assert verdict.notes[0].startswith("recognized as resnet_8px")


class Unfinished(Unnamed):
    def forward(self, x):
        return self.result(super().forward(x))


@pytest.mark.parametrize("result, part", [(lambda out: None, "returned None, expected logits"),
                                          (lambda out: out[:, :3], "logits are (2, 3), expected (2, 4)")])
def test_what_is_no_logits_is_one_line(result, part):
    network = Unfinished()
    network.result = result
    with pytest.raises(nf.InputError) as error:
        check_model(network, config=CONFIGS["mobilenet_v1"], size=SIZE)
    assert "\n" not in str(error.value) and part in str(error.value)


def numpy_model(parameters, images):
    model = nf.models.from_config(CONFIGS["resnet"], dtype=str(images.dtype))
    model.load_state_dict(parameters)
    return model(images).numpy()


def test_a_function_of_parameters_and_running_statistics_conforms():
    verdict = check_model(numpy_model, framework="numpy", config=CONFIGS["resnet"], size=16)
    assert verdict.outcome == "conforms", str(verdict)


def test_another_normalization_is_named():
    config = CONFIGS["resnet"]
    network = torch_networks.from_config(dataclasses.replace(config, norm="group"))
    verdict = check_model(network, config=config, size=SIZE)
    assert verdict.diagnosis == ("group normalization in place of batch normalization",), str(verdict)
    assert any("the target has no initial_conv.norm.running_mean" in note for note in verdict.notes)
