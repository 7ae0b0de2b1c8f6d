"""Whole networks: mistakes planted in correct ones are named, correct ones of any style conform."""

import dataclasses
import json
import types

import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy.autograd import Tensor
from nfnumpy.ports.torch import from_config
from nfnumpy.verify.adapters.model import network_target
from nfnumpy.verify.adapters.module_models import ModuleModel
from nfnumpy.verify.checks.model import check_model
from nfnumpy.verify.network.architecture import architecture_of
from nfnumpy.verify.network.forward import forward
from nfnumpy.verify.network.shapes import parameter_shapes
from nfnumpy.verify.variants import apply
from nfnumpy.verify.variants.network import NetworkRules
from nfnumpy.verify.variants.network_catalogue import OF_NETWORKS, OF_SHAPES
from reference_tests.helpers.correct_ports import STYLES
from reference_tests.helpers.port_pairs import FAMILIES, random_state
from reference_tests.helpers.wrong_ports import CONFIGS, MISTAKES, forward_of, mistaken

HARMLESS = {entry.name for entry in OF_NETWORKS if entry.benign} | {"rescaled by 1/(1 - rate)"}
SIZE = 24


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_rules_are_our_models_bit_for_bit(family, dtype):
    config = FAMILIES[family]
    model = nf.models.from_config(config, dtype=dtype)
    model.load_state_dict(random_state(model, 1), cast=True)
    images = np.random.default_rng(0).standard_normal((2, 33, 29, 3)).astype(dtype)
    leaves = {name: Tensor(value.data, requires_grad=True) for name, value in model.parameters().items()}
    assert parameter_shapes(config, NetworkRules()) == {name: tuple(leaf.shape) for name, leaf in leaves.items()}
    logits = forward(leaves, images, architecture_of(config, NetworkRules()), NetworkRules())["logits"]
    expected = model(images)
    assert np.array_equal(logits.numpy(), expected.numpy())
    for each in (logits, expected):
        nf.ops.softmax_cross_entropy(each, np.array([1, 2])).backward()
    assert all(np.array_equal(leaves[name].grad, value.grad) for name, value in model.parameters().items())


def test_every_variant_has_its_own_name_and_changes_the_rules():
    assert len({entry.name for entry in OF_NETWORKS}) == len(OF_NETWORKS) > 100
    assert all(apply(NetworkRules(), [entry]) != NetworkRules() for entry in OF_NETWORKS)
    assert {entry.name for entry in OF_SHAPES} <= {entry.name for entry in OF_NETWORKS}


def test_a_factory_that_may_load_weights_is_one():
    """As torchvision's: `weights` is no argument that must be given."""
    def make(*, weights=None, progress=True):
        assert weights is None
        return from_config(FAMILIES["nfnet"])

    assert isinstance(network_target(make, "torch", None, {})[0], ModuleModel)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_and_named(name):
    torch.manual_seed(0)
    network, config, entry = mistaken(name)
    verdict = check_model(network, config=config, size=SIZE)
    assert verdict.diagnosis == (entry,), str(verdict)
    assert verdict.outcome == ("conforms as a named variant" if entry in HARMLESS else "diverges")


@pytest.mark.parametrize("style", STYLES)
def test_a_correct_network_of_any_style_conforms(style):
    torch.manual_seed(0)
    family, make = STYLES[style]
    verdict = check_model(make(CONFIGS[family]), config=CONFIGS[family], size=SIZE)
    assert verdict.outcome == "conforms", str(verdict)
    assert verdict.precision == ("float32" if "float32" in style else "float64")


def test_five_mistakes_together_are_all_named():
    network, config, _ = mistaken("nfnet: silu in place of relu")
    others = {"GELU by erf", "average pool counts padding", "final nonlinearity missing", "expected_std never reset"}
    for name in others:
        MISTAKES[f"nfnet: {name}"][1](network)
    verdict = check_model(network, config=config, size=SIZE)
    assert set(verdict.diagnosis) == {"silu in place of relu", *others}


def test_an_unknown_mistake_is_located_in_its_block():
    network = from_config(CONFIGS["nfnet"])
    forward_of(lambda self, shortcut, residual: shortcut + 0.7 * self.alpha * self.skip_gain * residual)(
        torch.nn.ModuleList([network.blocks[3]]))
    verdict = check_model(network, config=CONFIGS["nfnet"], size=SIZE)
    assert verdict.outcome == "diverges" and not verdict.diagnosis
    assert verdict.first_difference.tensor == "blocks.3 (stage 2)"
    assert "it first differs in the target's blocks.3" in verdict.notes
    assert verdict.counterexample["image"][0] == 1
    json.dumps(verdict.as_json())


def test_network_and_classes_are_recognized_by_shapes():
    config = nf.models.config_of("nfnet_8px", num_classes=5)
    verdict = check_model(from_config(config))
    assert verdict.outcome == "conforms"
    assert verdict.notes[0].startswith("recognized as nfnet_8px; parameters matched by our names")


def test_a_misfit_names_the_variant_whatever_the_number_of_classes():
    config = nf.models.config_of("nfnet_8px", num_classes=5)
    with pytest.raises(nf.InputError, match="not those of nfnet_8px: "):
        check_model(torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Linear(16, 5)), config=config)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_errors_are_in_epsilons_of_the_targets_precision(precision):
    network = from_config(CONFIGS["nf_resnet"])
    verdict = check_model(network, config=CONFIGS["nf_resnet"], size=16, precision=precision)
    assert verdict.passed and verdict.precision == precision and verdict.differences
    for difference in verdict.differences:
        assert difference.error_eps == pytest.approx(difference.relative_difference / np.finfo(precision).eps)


def test_classes_and_factories_are_made_with_their_options():
    def factory(width, classes):
        return from_config(nf.models.NFNetConfig(widths=(width, 16), depths=(1, 1), strides=(1, 2), group_size=4,
                                             stem_widths=(4, 4, 8, 6), num_classes=classes))
    config = nf.models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4,
                                   stem_widths=(4, 4, 8, 6), num_classes=3)
    assert check_model(factory, framework="torch", config=config, size=16, width=8, classes=3).outcome == "conforms"


def test_what_is_given_stays_as_it_was():
    network = from_config(CONFIGS["nf_resnet"])
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    check_model(network, config=CONFIGS["nf_resnet"], size=16)
    assert all(torch.equal(value, before[name]) and value.grad is None for name, value in network.named_parameters())


@pytest.mark.parametrize("as_file", [False, True])
def test_a_map_decides_where_names_and_order_do_not(as_file, tmp_path):
    config = CONFIGS["nf_resnet"]
    network = from_config(config)
    block = network.blocks[2]
    parts = {name: getattr(block, name) for name in ("conv2", "conv_shortcut")}
    for name in parts:
        delattr(block, name)
    block.one, block.other = parts["conv2"], parts["conv_shortcut"]
    block.forward = types.MethodType(lambda self, x: self.other(self.beta * self.act(x)) + self.alpha * self.skip_gain
                                     * self.squeeze_excite(self.one(self.act(self.conv1(self.act(self.conv0(
                                         self.beta * self.act(x))))))), block)
    given = {f"blocks.2.{theirs}.{leaf}": f"blocks.2.{ours}.{leaf}" for theirs, ours in (
        ("one", "conv2"), ("other", "conv_shortcut")) for leaf in ("weight", "gain", "bias")}
    if as_file:
        path = tmp_path / "map.json"
        path.write_text(json.dumps(given))
        given = str(path)
    assert check_model(network, config=config, size=16, map=given).outcome == "conforms"


def numpy_model(parameters, images):
    """Our own model as a function of parameters."""
    model = nf.models.from_config(CONFIGS["nf_regnet"], dtype=str(images.dtype))
    model.load_state_dict(parameters)
    return model(images).numpy()


def test_a_function_of_parameters_is_compared_by_its_logits():
    verdict = check_model(numpy_model, framework="numpy", config=CONFIGS["nf_regnet"], size=16)
    assert verdict.outcome == "conforms"
    assert "the target has no derivatives that could be compared" in verdict.notes


@pytest.mark.parametrize("scheme", ["timm", "haiku"])
def test_a_function_may_take_its_parameters_as_others_name_them(scheme):
    def function(params, images):
        state = nf.weights.from_timm(params) if scheme == "timm" else nf.weights.from_haiku(params)
        return numpy_model_of_nfnet(state, images.transpose(0, 2, 3, 1) if scheme == "timm" else images)

    verdict = check_model(function, framework="numpy", config=CONFIGS["nfnet"], size=16, scheme=scheme)
    assert verdict.outcome == "conforms"


def numpy_model_of_nfnet(parameters, images):
    model = nf.models.from_config(CONFIGS["nfnet"], dtype=str(images.dtype))
    model.load_state_dict(parameters)
    return model(np.ascontiguousarray(images)).numpy()


def test_the_mistake_of_a_bare_function_is_named():
    def function(parameters, images):
        config = dataclasses.replace(CONFIGS["nf_regnet"], activation="relu")
        model = nf.models.from_config(config, dtype=str(images.dtype))
        model.load_state_dict(parameters)
        return model(images).numpy()

    verdict = check_model(function, framework="numpy", config=CONFIGS["nf_regnet"], size=16)
    assert verdict.diagnosis == ("nonlinearity relu",)


class Broken(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = from_config(CONFIGS["nfnet"])

    def forward(self, x):
        raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize("target, options", [
    (Broken, {"config": CONFIGS["nfnet"]}), (lambda: 1 / 0, {}), (lambda: 3, {}), (torch.nn.Linear(3, 4), {}),
    (torch.nn.ReLU(), {}), ("timm:", {}), ("resnet", {}), (5, {}), (numpy_model, {"framework": "numpy"}),
    (from_config(CONFIGS["nfnet"]), {}), (from_config(CONFIGS["nfnet"]), {"variant": "nfnet_f0"}),
    (from_config(CONFIGS["nfnet"]), {"variant": "nfnet"}),
    (from_config(CONFIGS["nfnet"]), {"config": CONFIGS["nfnet"], "size": 0}),
    (from_config(CONFIGS["nfnet"]), {"config": CONFIGS["nfnet"], "map": "no/such/file"}),
    (from_config(CONFIGS["nfnet"]), {"config": CONFIGS["nfnet"], "map": {"a": "b"}})])
def test_what_cannot_be_run_is_one_line(target, options):
    with pytest.raises(nf.InputError) as error:
        check_model(target, **{"framework": "torch", **options})
    assert "\n" not in str(error.value) and len(str(error.value)) > 20
