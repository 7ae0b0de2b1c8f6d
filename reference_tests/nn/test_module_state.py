"""State in and out, what a model refuses, and recomputed blocks."""

import re

import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy import InputError

CONFIGS = {
    "nfnet": nf.models.NFNetConfig(widths=(8, 16), depths=(1, 2), strides=(1, 2), group_size=4, stem_widths=(4, 8),
                                   stem_strides=(1, 2), num_classes=5, drop_rate=0.3, stochdepth_rate=0.6),
    "nf_resnet": nf.models.NFResNetConfig(widths=(8, 16), depths=(1, 2), strides=(1, 2), use_se=True, num_classes=5,
                                          drop_rate=0.3, stochdepth_rate=0.6),
    "nf_regnet": nf.models.NFRegNetConfig(widths=(16, 32), depths=(1, 2), strides=(1, 2), num_classes=5, drop_rate=0.3,
                                          stochdepth_rate=0.6)}
DTYPES = ("float32", "float64")


def random_model(family, dtype="float64", seed=1):
    """A model with random gains, biases and skip gains, so that every parameter matters."""
    model = nf.models.from_config(CONFIGS[family], dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    model.load_state_dict({name: np.asarray(array + 0.3 * rng.standard_normal(array.shape))
                           for name, array in model.state_dict().items()}, cast=True)
    return model


def images(dtype="float64", count=4):
    return np.random.default_rng(0).standard_normal((count, 11, 9, 3)).astype(dtype)


def gradients(model, x, training=True, step=0):
    """(loss, gradients) with the random numbers of `step`."""
    model.randomness.step = step
    loss = nf.ops.softmax_cross_entropy(model(x, training=training), np.arange(x.shape[0]) % 5)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.parameters().items()}
    for parameter in model.parameters().values():
        parameter.grad = None
    return loss.item(), found


def copies(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def same(one, other):
    return set(one) == set(other) and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one)


# ---- state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", CONFIGS)
def test_state_goes_out_and_in_bit_for_bit(family, dtype):
    model = random_model(family, dtype)
    fresh = nf.models.from_config(CONFIGS[family], dtype=dtype, seed=2)
    assert not same(fresh.state_dict(), model.state_dict())
    fresh.load_state_dict(model.state_dict())
    assert same(fresh.state_dict(), model.state_dict())
    assert fresh(images(dtype)).numpy().tobytes() == model(images(dtype)).numpy().tobytes()


@pytest.mark.parametrize("family", CONFIGS)
def test_what_was_loaded_is_a_copy(family):
    model = random_model(family)
    state = copies(random_model(family, seed=2))
    model.load_state_dict(state)
    before = copies(model)
    for array in state.values():
        array.fill(np.nan)
    assert same(before, model.state_dict())


def test_loading_casts_to_the_models_dtype_on_request():
    double = random_model("nfnet", "float64")
    single = nf.models.NFNet(CONFIGS["nfnet"], dtype="float32")
    before = copies(single)
    with pytest.raises(InputError, match=r"is of float64, expected float32.*cast=True") as refusal:
        single.load_state_dict(double.state_dict())
    assert "these weights fit" not in str(refusal.value) and same(before, single.state_dict())
    single.load_state_dict(double.state_dict(), cast=True)
    assert same(single.state_dict(), {name: array.astype(np.float32) for name, array in double.state_dict().items()})


def without(state, name):
    return {key: array for key, array in state.items() if key != name}


@pytest.mark.parametrize("spoil, mentioned", [
    (lambda state: {**state, "blocks.9.conv0.weight": np.zeros(3)}, "unknown.*blocks.9.conv0.weight"),
    (lambda state: without(state, "blocks.1.skip_gain"), "missing.*blocks.1.skip_gain"),
    (lambda state: {**state, "linear.bias": np.zeros(6)}, r"linear.bias has shape \(6,\), expected \(5,\)"),
    (lambda state: {**state, "blocks.0.skip_gain": np.zeros(1)}, r"skip_gain has shape \(1,\), expected \(\)"),
    (lambda state: {**state, "linear.weight": state["linear.weight"].T}, "linear.weight has shape"),
    (lambda state: {}, "missing")])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_state_that_does_not_fit_changes_nothing(family, spoil, mentioned):
    """All other values differ from the model's, so that a state loaded in part would be noticed."""
    model = random_model(family)
    state = copies(random_model(family, seed=2))
    before = copies(model)
    with pytest.raises(InputError) as error:
        model.load_state_dict(spoil(state))
    assert re.search(mentioned, str(error.value)) and "\n" not in str(error.value)
    assert same(before, model.state_dict())


def test_a_state_may_hold_anything_that_numpy_reads():
    model = random_model("nfnet")
    state = copies(random_model("nfnet", seed=2))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    assert same(state, model.state_dict())


@pytest.mark.parametrize("family", CONFIGS)
def test_state_stays_arrays_of_one_dtype_through_training(family):
    """NumPy makes numbers of arrays () where it can; a state has none of them."""
    model = random_model(family, "float32")
    optimizer = nf.optim.SAM(nf.optim.SGD(model, lr=0.1))
    average = nf.optim.ExponentialMovingAverage(model)

    def closure():
        loss = nf.ops.softmax_cross_entropy(model(images("float32"), training=True), np.arange(4))
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
        average.update()
    for state in (model.state_dict(), average.average, optimizer.optimizer.velocity):
        assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in state.values())
        assert all(np.isfinite(array).all() for array in state.values())


@pytest.mark.parametrize("family", CONFIGS)
def test_names_are_attribute_paths(family):
    model = random_model(family)
    for name, parameter in model.parameters().items():
        found = model
        for part in name.split("."):
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        assert found is parameter


# ---- recomputed blocks


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", CONFIGS)
def test_recomputed_blocks_give_the_same_bits(family, dtype, training):
    """In training too: a block run again draws the masks it drew before."""
    model = random_model(family, dtype)
    loss, kept = gradients(model, images(dtype), training)
    model.recompute_blocks = True
    again, recomputed = gradients(model, images(dtype), training)
    assert loss == again and same(kept, recomputed)


@pytest.mark.parametrize("family", CONFIGS)
def test_masks_depend_on_the_step_and_the_seed_alone(family):
    model = random_model(family)
    loss, first = gradients(model, images())
    assert same(gradients(model, images())[1], first)
    assert gradients(model, images(), step=1)[0] != loss
    assert same(gradients(model, images())[1], first)


# ---- what a model refuses


@pytest.mark.parametrize("wrong, mentioned", [
    (images()[..., :2], "(4, 11, 9, 2)"), (images()[0], "(11, 9, 3)"), (images("float32"), "float32"),
    (np.ones((2, 11, 9, 3), dtype=np.uint8), "uint8"), (images().transpose(0, 3, 1, 2), "(4, 3, 11, 9)")])
@pytest.mark.parametrize("family", CONFIGS)
def test_images_of_the_wrong_shape_or_dtype_are_refused(family, wrong, mentioned):
    with pytest.raises(InputError) as error:
        random_model(family)(wrong)
    message = str(error.value)
    assert mentioned in message and "(N, H, W, 3) of float64" in message and "\n" not in message


@pytest.mark.parametrize("name, options, complaint", [
    ("nfnet_f9", {}, "unknown model 'nfnet_f9'"), ("nfnet_f0", {"colour": "red"}, "unknown option colour"),
    ("nfnet_8px", {"dtype": "float16"}, "float16"), ("nfnet_8px", {"backend": "abacus"}, "abacus"),
    ("nfnet_8px", {"widths": (32, 64)}, "one value a stage, got 2 widths"),
    ("nfnet_8px", {"num_classes": 0}, "num_classes=0"), ("nfnet_8px", {"activation": "gulp"}, "activation='gulp'"),
    ("nfnet_8px", {"group_size": 0}, "group_size=0"), ("nf_regnet_32px", {"group_size": 0}, "group_size=0"),
    ("nfnet_8px", {"drop_rate": 1.0}, r"drop_rate=1\.0"), ("nf_resnet_32px", {"stem_stride": 0}, "stem_stride=0"),
    ("nf_resnet_32px", {"widths": (3, 3, 3)}, "0 channels"), ("nf_regnet_32px", {"widths": (1, 1, 1)}, "0 channels")])
def test_a_model_with_impossible_options_is_refused(name, options, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        nf.models.create(name, **options)
    assert "\n" not in str(error.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'nfnet_f0'"):
        nf.models.create("nfnet-f0")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 3)])
@pytest.mark.parametrize("family", CONFIGS)
def test_images_of_a_few_pixels_have_logits_and_gradients(family, size):
    x = np.random.default_rng(3).standard_normal((2, *size, 3))
    loss, found = gradients(random_model(family), x)
    assert np.isfinite(loss) and all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("family", CONFIGS)
def test_an_empty_batch_has_no_logits(family):
    assert random_model(family)(images(count=0)).shape == (0, 5)
