"""What ResNets and their descendants are when they are made, and that a user can look into all of them."""

import dataclasses
import math

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError, Tensor, models
from nfnumpy.nn import Conv2D, ConvNorm, Mode
from reference_tests.helpers.resnet_configs import NAMED, RESNETS

IMAGES = np.random.default_rng(0).standard_normal((2, 24, 20, 3))


def blocks_and_inputs(config, training=True):
    """Yield (block, its input, its shortcut, its residual) of a new model, in order."""
    model = models.from_config(config, dtype="float64", seed=2)
    mode = Mode(training, model.randomness)
    x = model.stem(Tensor(IMAGES), mode)
    for block in model.blocks:
        shortcut, residual = block.branches(x, mode)
        yield block, x, shortcut, residual
        x = block(x, mode)


@pytest.mark.parametrize("name", ["resnet of bottlenecks", "resnet of basic blocks", "resnet_d", "resnext",
                                  "se_resnext", "se_resnext_d"])
def test_zero_init_residual_makes_every_block_its_shortcut(name):
    config = dataclasses.replace(RESNETS[name], zero_init_residual=True)
    for block, _, shortcut, residual in blocks_and_inputs(config):
        assert not residual.numpy().any()
        assert np.array_equal(block.add_residual(shortcut, residual).numpy(), np.maximum(shortcut.numpy(), 0))
    assert all(residual.numpy().any() for *_, residual in blocks_and_inputs(RESNETS[name]))


@pytest.mark.parametrize("name", ["fixup_resnet of bottlenecks", "fixup_resnet of basic blocks"])
def test_a_new_fixup_resnet_is_its_shortcuts_and_says_nothing(name):
    """The last layers of its branches, and the classifier, start at 0."""
    assert not any(residual.numpy().any() for *_, residual in blocks_and_inputs(RESNETS[name]))
    assert not models.from_config(RESNETS[name], dtype="float64")(IMAGES).numpy().any()


def test_a_new_skipinit_resnet_is_its_shortcuts():
    for block, _, shortcut, residual in blocks_and_inputs(RESNETS["skipinit_resnet"]):
        assert residual.numpy().any()
        assert np.array_equal(block.add_residual(shortcut, residual).numpy(), shortcut.numpy())


def relative_deviation(conv, variance):
    """The mean square of the weights relative to `variance`, minus 1, in standard deviations of that of n draws.

    The square of a Gaussian number has variance 2, so the mean of n has standard deviation √(2/n).
    """
    weights = conv.weight.numpy()
    return (np.mean(weights**2) / variance - 1) / math.sqrt(2 / weights.size)


@pytest.mark.parametrize("name", ["resnet50", "resnetv2_18", "resnet50d", "seresnext26d_32x4d"])
def test_convolutions_start_with_he_initialization_over_the_fan_out(name):
    """N(0, 2/fan_out): 5 standard deviations are passed in one of two million draws."""
    model = models.create(name, num_classes=2, depths=(1, 1), widths=(64, 128), strides=(1, 2))
    convs = [layer for layer in model.modules() if isinstance(layer, Conv2D)]
    assert len(convs) > 5
    for conv in convs:
        *window, _, out = conv.weight.shape
        assert conv.bias is None and abs(relative_deviation(conv, 2 * conv.groups / (math.prod(window) * out))) < 5


@pytest.mark.parametrize("block, power", [("basic", -1 / 2), ("bottleneck", -1 / 4)])
def test_fixup_scales_the_first_layers_of_branches_by_the_number_of_branches(block, power):
    """L^(-1/(2m - 2)) for m layers in each of L = 9 branches, times the standard deviation of He initialization."""
    config = models.FixupResNetConfig(block=block, widths=(64, 128), depths=(4, 5), strides=(1, 2))
    for layers in models.from_config(config).blocks:
        scaled = [layers.conv0] if block == "basic" else [layers.conv0, layers.conv1]
        for conv in scaled:
            height, width, _, out = conv.weight.shape
            assert abs(relative_deviation(conv, 9 ** (2 * power) * 2 / (height * width * out))) < 5


def test_resnext_has_as_many_groups_in_every_stage_and_wider_ones():
    config = models.config_of("seresnext101d_32x8d")
    assert [config.bottleneck_width(width) for width in config.widths] == [256, 512, 1024, 2048]
    model = models.create("seresnext50_32x4d", shapes_only=True)
    assert {block.conv1.conv.groups for block in model.blocks} == {32}
    assert model.blocks[0].conv1.conv.weight.shape == (3, 3, 4, 128)
    assert model.blocks[15].conv1.conv.weight.shape == (3, 3, 32, 1024)
    assert model.blocks[15].squeeze_excite.fc0.weight.shape == (2048, 128)


@pytest.mark.parametrize("name", NAMED)
def test_repr_has_a_line_for_each_layer_and_block_whose_parameters_add_up(name):
    model = models.create(name, shapes_only=True)
    title, *lines = repr(model).splitlines()
    counts = [int(line.rpartition("  ")[2].split()[0].replace(",", "")) for line in lines]
    assert sum(counts) == nf.analysis.count_params(model) == int(title.split()[1].replace(",", ""))
    assert sum("blocks." in line for line in lines) == len(model.blocks) == sum(model.config.depths)
    assert lines[-1].split()[0] == "linear" and len(max(lines, key=len)) <= 100


@pytest.mark.parametrize("name", RESNETS)
def test_outputs_are_those_of_a_pass_by_hand(name):
    model = models.from_config(RESNETS[name], dtype="float64", seed=3)
    outputs = model.outputs(IMAGES, model.output_names())
    assert list(outputs) == ["stem", "blocks.0", "blocks.1", "blocks.2", "head", "features", "logits"]
    x = model.stem(Tensor(IMAGES))
    for k, block in enumerate(model.blocks):
        x = block(x)
        assert np.array_equal(outputs[f"blocks.{k}"].numpy(), x.numpy())
    assert np.array_equal(outputs["head"].numpy(), model.head(x).numpy())
    assert np.array_equal(outputs["logits"].numpy(), model(IMAGES).numpy())


@pytest.mark.parametrize("name", RESNETS)
def test_blocks_that_are_computed_again_give_the_same_gradients(name):
    """To the last bit, and running statistics that have taken in the batch once."""
    found = []
    for again in (False, True):
        model = models.from_config(dataclasses.replace(RESNETS[name], stochdepth_rate=0.5), dtype="float64", seed=4)
        model.recompute_blocks = again
        model(IMAGES, training=True).sum().backward()
        found.append({**{key: parameter.grad for key, parameter in model.parameters().items()}, **model.buffers()})
    assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])


@pytest.mark.parametrize("config, changes, complaint", [
    (models.ResNetConfig, {"block": "inverted"}, "ResNetConfig: block='inverted': expected basic or bottleneck"),
    (models.ResNetV2Config, {"norm": "batsh"}, "ResNetV2Config: norm='batsh': expected batch or"),
    (models.SEResNeXtDConfig, {"stem_widths": (32, 64)}, "SEResNeXtDConfig: 3 stem_strides for 2 stem_widths"),
    (models.ResNeXtConfig, {"widths": (64, 128)}, "ResNeXtConfig: expected one value a stage, got 2 widths, 4 depths"),
])
def test_a_configuration_that_cannot_be_is_refused_in_one_line(config, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        config(**changes)


def test_a_convolution_with_its_norm_is_what_the_blocks_of_version_1_are_made_of():
    model = models.create("resnet18", shapes_only=True)
    pairs = [name for name, part in model.named_modules() if isinstance(part, ConvNorm)]
    assert len(pairs) == 1 + 16 + 3 and pairs[0] == "initial_conv" and "blocks.2.conv_shortcut" in pairs
