"""The networks that keras.applications also has go to its names and layouts, and come back to the last bit."""

import numpy as np
import pytest

import nfnumpy as nf

EXAMPLES = {  # our name: Keras's path and shape, as Keras 3.15 prints them
    "densenet121": {"initial_conv.conv.weight": ("conv1_conv/kernel", (7, 7, 3, 64)),
                    "blocks.0.layers.1.norm0.gamma": ("conv2_block2_0_bn/gamma", (96,)),
                    "blocks.6.layers.15.conv1.weight": ("conv5_block16_2_conv/kernel", (3, 3, 128, 32)),
                    "blocks.1.norm0.running_variance": ("pool2_bn/moving_variance", (256,)),
                    "final_norm.beta": ("bn/beta", (1024,)), "linear.weight": ("predictions/kernel", (1024, 1000))},
    "efficientnet_b0": {"initial_conv.norm.running_mean": ("stem_bn/moving_mean", (32,)),
                        "blocks.0.conv1.conv.weight": ("block1a_dwconv/kernel", (3, 3, 32, 1)),
                        "blocks.0.squeeze_excite.fc0.weight": ("block1a_se_reduce/kernel", (1, 1, 32, 8)),
                        "blocks.1.conv0.conv.weight": ("block2a_expand_conv/kernel", (1, 1, 16, 96)),
                        "blocks.15.conv2.norm.running_variance": ("block7a_project_bn/moving_variance", (320,)),
                        "final_conv.conv.weight": ("top_conv/kernel", (1, 1, 320, 1280))},
}
COUNTS = {"densenet121": 606, "efficientnet_b0": 314 - 3}  # of Keras's variables, without those for the image
SMALL = {"densenet121": {"depths": (2, 3), "growth": 4},
         "efficientnet_b0": {"widths": (8, 16), "depths": (2, 2), "strides": (1, 2), "kernels": (3, 5),
                             "expansions": (1, 6), "stem_width": 8, "head_width": 16}}


@pytest.mark.parametrize("name", EXAMPLES)
def test_paths_and_shapes_are_those_that_keras_prints(name):
    keras = nf.weights.to_keras(nf.models.create(name, shapes_only=True).state_dict())
    assert len(keras) == COUNTS[name]
    for path, shape in EXAMPLES[name].values():
        assert keras[path].shape == shape


def random_state(name):
    """Numbers that are all different, for every array of the small network."""
    draws = np.random.default_rng(3)
    model = nf.models.create(name, dtype="float64", num_classes=5, **SMALL[name])
    return {key: draws.standard_normal(array.shape) for key, array in model.state_dict().items()}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("ending", ["", ":0"])
def test_arrays_come_back_bit_for_bit_without_the_layers_for_the_image(name, ending):
    state = random_state(name)
    variables = {path + ending: array for path, array in nf.weights.to_keras(state).items()}
    variables |= {"normalization/mean": np.zeros(3), "normalization_12/variance": np.ones(3)}
    back = nf.weights.from_keras(variables)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("variables, complaint", [
    ({}, "'nothing' is no variable"), (3, "expected a mapping"), ({"conv/kernel": np.zeros(3)}, "'conv.kernel' is no"),
    ({"bn/gamma": np.zeros(3), "bn/gamma:0": np.zeros(3)}, "a path that occurs twice"),
    ({"block1a_dwconv/kernel": np.zeros((3, 3, 4, 2))}, "depthwise"),
    ({"block1a_se_reduce/kernel": np.zeros((4, 2))}, "1×1")])
def test_variables_of_other_networks_are_refused_in_one_line(variables, complaint):
    with pytest.raises(nf.InputError, match=complaint) as refusal:
        nf.weights.from_keras(variables)
    assert "\n" not in str(refusal.value)


def test_a_network_that_keras_lacks_is_refused():
    with pytest.raises(nf.InputError, match="no name of a network that keras.applications also has"):
        nf.weights.to_keras(nf.models.create("nfnet_8px", shapes_only=True).state_dict())
