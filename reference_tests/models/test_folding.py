"""A folded network has the logits of the network that it was made of, and fewer layers."""

import numpy as np
import pytest

import nfnumpy as nf

# Small forms of the families with batch normalization: rounding grows with the number of layers, so they have 5 to 20.
SMALL = {
    "resnet18": {"widths": (4, 4, 8), "depths": (2, 1, 2), "strides": (1, 2, 2)},
    "resnet50": {"widths": (8, 16), "depths": (2, 3), "strides": (1, 2)},
    "resnetv2_18": {"widths": (4, 4, 8), "depths": (2, 1, 2), "strides": (1, 2, 2)},
    "resnetv2_50": {"widths": (8, 16), "depths": (2, 3), "strides": (1, 2)},
    "resnet50d": {"widths": (8, 16), "depths": (2, 1), "strides": (1, 2)},
    "seresnext50_32x4d": {"widths": (64, 128), "depths": (1, 2), "strides": (1, 2)},
    "efficientnet_b0": {"widths": (8, 16), "depths": (2, 2), "strides": (1, 2), "kernels": (3, 5), "expansions": (1, 6),
                        "stem_width": 8, "head_width": 16},
    "mobilenetv1": {"widths": (8, 16), "depths": (1, 2), "strides": (1, 2), "stem_width": 4},
    "mobilenetv2": {"widths": (8, 16), "depths": (2, 2), "strides": (1, 2), "expansions": (1, 6), "stem_width": 4,
                    "head_width": 16},
    "densenet121": {"depths": (2, 3), "growth": 4},
}
# A network of L layers with sums of n terms rounds each value L·n times, and folding rounds each weight once more: with
# L ≤ 20 and n ≤ 500, a bound of 2·10⁴ roundings of 1.1e-16 of the largest value in a layer.
TOLERANCE = 2e4 * np.finfo(np.float64).eps / 2


def random_model(name, dtype="float64", **changes):
    """A network whose parameters and running statistics are random and keep the size of what passes through."""
    model = nf.models.create(name, dtype=dtype, **changes)
    draws = np.random.default_rng(4)
    state = {}
    for key, array in model.state_dict().items():
        numbers = draws.standard_normal(array.shape)
        if key.endswith("running_variance"):
            numbers = 0.5 + numbers**2 / 2
        elif key.endswith(("gamma", "gain")):
            numbers = 1.0 + 0.2 * numbers
        elif array.ndim >= 2:
            numbers *= np.sqrt(2 / np.prod(array.shape[:-1]))
        else:
            numbers *= 0.1
        state[key] = numbers.astype(dtype) if array.dtype == dtype else array
    model.load_state_dict(state)
    return model


def images(model, dtype="float64"):
    """Two images that are not square."""
    return np.random.default_rng(5).standard_normal((2, 40, 56, model.config.in_channels)).astype(dtype)


@pytest.mark.parametrize("name, changes", SMALL.items())
def test_logits_are_those_of_the_network_with_normalizations(name, changes):
    model = random_model(name, **changes)
    folded = nf.models.folded(model)
    expected = model(images(model)).numpy()
    assert np.abs(folded(images(model)).numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert folded.features(images(model)).shape == model.features(images(model)).shape


@pytest.mark.parametrize("name", ["nfnet_8px", "nf_resnet_32px", "nf_regnet_32px"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_a_normalizer_free_network_are_equal_bit_for_bit(name, dtype):
    model = random_model(name, dtype)
    folded = nf.models.folded(model)
    assert not any(key.endswith("gain") and "skip" not in key for key in folded.parameters())
    assert np.array_equal(folded(images(model, dtype)).numpy(), model(images(model, dtype)).numpy())


@pytest.mark.parametrize("norm", nf.nn.NORMS)
def test_only_batch_normalization_is_folded(norm):
    """Other moments are those of the images: nothing of them is constant, and the network is left as it is."""
    model = random_model("resnet18", norm=norm, **SMALL["resnet18"])
    folded = nf.models.folded(model)
    found, expected = folded(images(model)).numpy(), model(images(model)).numpy()
    if norm.startswith("batch"):
        assert not folded.buffers()
        assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
    else:
        assert folded.parameters().keys() == model.parameters().keys()
        assert np.array_equal(found, expected)


def test_the_network_itself_stays_as_it_is():
    model = random_model("resnet18", **SMALL["resnet18"])
    before = {key: array.copy() for key, array in model.state_dict().items()}
    nf.models.folded(model)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(np.array_equal(after[key], before[key]) for key in before)
    assert model(images(model), training=True).shape == (2, 1000)


def test_every_normalization_after_a_convolution_disappears():
    folded = nf.models.folded(random_model("resnet18", **SMALL["resnet18"]))
    assert not folded.buffers() and not any("norm" in key for key in folded.parameters())


@pytest.mark.parametrize("name, left", [("resnetv2_18", {"norm0"}), ("resnetv2_50", {"norm0"})])
def test_only_normalizations_that_see_nothing_but_a_convolution_become_part_of_it(name, left):
    folded = nf.models.folded(random_model(name, **SMALL[name]))
    assert {key.split(".")[2] for key in folded.buffers() if key.startswith("blocks.")} == left
    assert any(key.startswith("final_norm") for key in folded.buffers())


def test_it_is_for_evaluation_alone():
    folded = nf.models.folded(nf.models.create("nfnet_8px"))
    with pytest.raises(nf.InputError, match="a folded network is for evaluation"):
        folded(np.zeros((1, 8, 8, 3), np.float32), training=True)
