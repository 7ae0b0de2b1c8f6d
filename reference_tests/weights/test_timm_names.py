"""The networks that timm also has go to its names, with the shapes that it has, and come back to the last bit."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy.weights.naming import depths_of

# Written by reference_tests/tools/freeze_timm_names.py: of each network, timm's names and shapes.
FROZEN = json.loads((Path(__file__).parent / "timm_names.json").read_text(encoding="utf-8"))
SMALL = {  # of each family: changes of a variant that make it small
    "resnet18": {"widths": (4, 4, 8), "depths": (2, 1, 2), "strides": (1, 2, 2)},
    "resnet50": {"widths": (8, 16), "depths": (2, 3), "strides": (1, 2)},
    "resnetv2_18": {"widths": (4, 4, 8), "depths": (2, 1, 2), "strides": (1, 2, 2)},
    "resnetv2_50": {"widths": (8, 16), "depths": (2, 3), "strides": (1, 2)},
    "resnet50d": {"widths": (8, 16), "depths": (2, 1), "strides": (1, 2)},
    "seresnext50_32x4d": {"widths": (64, 128), "depths": (1, 2), "strides": (1, 2)},
    "seresnext26d_32x4d": {"widths": (64, 128), "depths": (1, 2), "strides": (1, 2)},
    "efficientnet_b0": {"widths": (8, 16), "depths": (2, 2), "strides": (1, 2), "kernels": (3, 5), "expansions": (1, 6),
                        "stem_width": 8, "head_width": 16},
    "mobilenetv1": {"widths": (8, 16), "depths": (1, 2), "strides": (1, 2), "stem_width": 4},
    "mobilenetv2": {"widths": (8, 16), "depths": (2, 2), "strides": (1, 2), "expansions": (1, 6), "stem_width": 4,
                    "head_width": 16},
    "densenet121": {"depths": (2, 3), "growth": 4},
    "inception_v3": {"width_factor": 0.05},
}
EXAMPLES = {  # our name: timm's, as timm 1.0.31 prints it
    "resnet50": {"initial_conv.norm.running_variance": "bn1.running_var", "linear.weight": "fc.weight",
                 "blocks.3.conv_shortcut.norm.gamma": "layer2.0.downsample.1.weight",
                 "blocks.15.conv2.conv.weight": "layer4.2.conv3.weight"},
    "resnetv2_50": {"initial_conv.weight": "stem.conv.weight", "blocks.3.norm0.beta": "stages.1.blocks.0.norm1.bias",
                    "blocks.4.conv2.weight": "stages.1.blocks.1.conv3.weight", "final_norm.gamma": "norm.weight",
                    "linear.weight": "head.fc.weight"},
    "seresnext26d_32x4d": {"stem_convs.1.norm.running_mean": "conv1.4.running_mean",
                           "stem_convs.2.norm.gamma": "bn1.weight",
                           "blocks.2.conv_shortcut.conv.weight": "layer2.0.downsample.1.weight",
                           "blocks.2.squeeze_excite.fc1.bias": "layer2.0.se.fc2.bias"},
    "efficientnet_b0": {"blocks.0.conv1.conv.weight": "blocks.0.0.conv_dw.weight",
                        "blocks.0.conv2.norm.gamma": "blocks.0.0.bn2.weight",
                        "blocks.2.conv2.conv.weight": "blocks.1.1.conv_pwl.weight",
                        "blocks.2.squeeze_excite.fc0.weight": "blocks.1.1.se.conv_reduce.weight",
                        "final_conv.norm.beta": "bn2.bias", "linear.weight": "classifier.weight"},
    "densenet121": {"blocks.2.layers.11.norm1.gamma": "features.denseblock2.denselayer12.norm2.weight",
                    "blocks.3.conv0.weight": "features.transition2.conv.weight",
                    "final_norm.running_mean": "features.norm5.running_mean"},
    "inception_v3": {"blocks.7.branch7x7_7x7.4.conv.weight": "Mixed_6e.branch7x7dbl_5.conv.weight",
                     "blocks.10.branch3x3_3x3_1x3.0.norm.gamma": "Mixed_7c.branch3x3dbl_3a.bn.weight"},
}


def digest(shapes):
    """Of {name: shape}, as the tool computes it."""
    lines = "\n".join(f"{name} {','.join(map(str, shapes[name]))}" for name in sorted(shapes))
    return hashlib.sha256(lines.encode()).hexdigest()


def random_state(model):
    """Numbers that are all different, for every array of the model."""
    draws = np.random.default_rng(3)
    return {name: draws.standard_normal(array.shape) for name, array in model.state_dict().items()}


@pytest.mark.parametrize("name", FROZEN)
def test_every_array_gets_timms_name_and_shape(name):
    state = nf.models.create(name, shapes_only=True).state_dict()
    timm = nf.weights.to_timm(state)
    assert len(timm) == FROZEN[name]["arrays"]
    assert digest({key: tuple(array.shape) for key, array in timm.items()}) == FROZEN[name]["sha256"]
    back = nf.weights.from_timm(timm)
    assert {key: array.shape for key, array in back.items()} == {key: array.shape for key, array in state.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_names_are_those_that_timm_prints(name):
    state = nf.models.create(name, shapes_only=True, num_classes=7).state_dict()
    draws = np.random.default_rng(3)
    state |= {ours: draws.standard_normal(state[ours].shape) for ours in EXAMPLES[name]}
    timm = nf.weights.to_timm(state)
    for ours, theirs in EXAMPLES[name].items():
        array = state[ours]
        expected = np.moveaxis(array, (3, 2), (0, 1)) if array.ndim == 4 else array.T
        assert np.array_equal(timm[theirs].reshape(expected.shape), expected)


@pytest.mark.parametrize("name, changes", SMALL.items())
def test_arrays_come_back_bit_for_bit_buffers_included(name, changes):
    state = random_state(nf.models.create(name, dtype="float64", num_classes=5, **changes))
    timm = nf.weights.to_timm(state)
    assert all(key.removesuffix("num_batches_tracked") + "running_var" in timm
               for key in timm if key.endswith("num_batches_tracked"))
    back = nf.weights.from_timm(timm)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)


def test_the_auxiliary_classifier_of_inception_is_left_out():
    timm = nf.weights.to_timm(nf.models.create("inception_v3", shapes_only=True).state_dict())
    expected = nf.weights.from_timm(timm).keys()
    assert nf.weights.from_timm(timm | {"AuxLogits.fc.weight": np.zeros((1000, 768))}).keys() == expected


@pytest.mark.parametrize("name", nf.models.names())
def test_stages_are_found_in_the_shapes_of_weights(name):
    config = nf.models.config_of(name)
    if hasattr(config, "depths"):  # an Inception v3 has none
        assert depths_of(nf.models.create(name, shapes_only=True).state_dict()) == list(config.depths)
