"""Intermediate outputs and features are those of a pass made by hand; repr names every layer and block."""

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError, Tensor, models, ops
from nfnumpy.nn import EVALUATION
from reference_tests.helpers.port_pairs import FAMILIES


def small_model(config):
    """A float64 model whose skip gains are 1: no output is the shortcut alone."""
    model = models.from_config(config, dtype="float64", seed=3)
    for name, parameter in model.parameters().items():
        if name.endswith("skip_gain"):
            parameter.data = np.ones(())
    return model


def pass_by_hand(model, images):
    """name -> array of every output, from the model's own parts."""
    x = model.stem(Tensor(images))
    found = {"stem": x}
    for k, block in enumerate(model.blocks):
        x = block(x, EVALUATION)
        found[f"blocks.{k}"] = x
    found["head"] = model.head(x)
    found["features"] = ops.mean(found["head"], axis=(1, 2))
    found["logits"] = model.linear(found["features"])
    return {name: output.numpy() for name, output in found.items()}


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_outputs_are_those_of_a_pass_by_hand(config):
    """The mean over pixels is summed in another order: 13·11 roundings. All else has the same bits."""
    model = small_model(config)
    images = np.random.default_rng(0).standard_normal((2, 26, 22, 3))
    expected = pass_by_hand(model, images)
    outputs = model.outputs(images, model.output_names())
    assert list(outputs) == model.output_names() == list(expected)
    for name, value in expected.items():
        limit = 200 * np.finfo(np.float64).eps * np.abs(value).max() if name in ("features", "logits") else 0.0
        assert np.abs(outputs[name].numpy() - value).max() <= limit, name
    assert np.array_equal(model.features(images).numpy(), outputs["features"].numpy())
    assert np.array_equal(model(images).numpy(), outputs["logits"].numpy())


def test_outputs_have_gradients_and_come_in_the_order_asked_for():
    model = nf.models.create("nfnet_8px", dtype="float64")
    images = Tensor(np.random.default_rng(1).standard_normal((1, 8, 8, 3)), requires_grad=True)
    outputs = model.outputs(images, ["blocks.1", "stem"])
    assert list(outputs) == ["blocks.1", "stem"]
    outputs["blocks.1"].sum().backward()
    assert images.grad.any() and model.linear.weight.grad is None


def test_nothing_is_computed_beyond_the_last_output():
    model = nf.models.create("nfnet_8px", dtype="float32")
    model.blocks[1] = None
    assert model.outputs(np.zeros((1, 8, 8, 3), np.float32), ["blocks.0"])["blocks.0"].shape == (1, 8, 8, 32)


def test_a_pass_in_training_draws_as_a_call_does():
    """Features come before dropout; stochastic depth draws the numbers of one step."""
    model = nf.models.create("nfnet_8px", dtype="float64", drop_rate=0.5, stochdepth_rate=0.5)
    images = np.random.default_rng(2).standard_normal((8, 8, 8, 3))
    for name, parameter in model.parameters().items():
        if name.endswith("skip_gain"):
            parameter.data = np.ones(())
    first = model.features(images, training=True).numpy()
    assert model.randomness.step == 1
    model.randomness.step = 0
    outputs = model.outputs(images, ["features", "logits"], training=True)
    assert np.array_equal(first, outputs["features"].numpy())
    assert not np.array_equal(first, model.features(images).numpy())


@pytest.mark.parametrize("names", [["blocks.7"], ["Stem"], "stem", ["logits", ""]], ids=str)
def test_unknown_names_are_refused_with_those_that_exist(names):
    model = nf.models.create("nfnet_8px", dtype="float32")
    with pytest.raises(InputError, match=r"expected a list of some of stem, blocks\.0, .*, features, logits"):
        model.outputs(np.zeros((1, 8, 8, 3), np.float32), names)


@pytest.mark.parametrize("name", [next(file.variants())[0] for _, file in nf.models.FAMILIES.values()])
def test_repr_has_a_line_for_each_layer_and_block_whose_parameters_add_up(name):
    model = nf.models.create(name, shapes_only=True)
    title, *lines = repr(model).splitlines()
    counts = [int(line.rpartition("  ")[2].split()[0].replace(",", "")) for line in lines]
    assert sum(counts) == nf.analysis.count_params(model) == int(title.split()[1].replace(",", ""))
    assert sum("blocks." in line for line in lines) == len(model.blocks)
    assert len(max(lines, key=len)) <= 100
