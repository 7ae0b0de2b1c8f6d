"""What layers do in training and in evaluation, and which of them cannot be made."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError, Tensor
from nfnumpy.nn import EVALUATION, Dropout, Initializer, Mode, StochasticDepth

DROPPING = (Dropout, StochasticDepth)


def training(seed=1, step=0):
    return Mode(training=True, randomness=nf.backend.CounterRNG(seed, step=step))


@pytest.mark.parametrize("name, scale, is_kept", [("relu", 1.0, False), ("relu", 0.1, True), ("gelu", 1.0, True)])
def test_a_relu_keeps_its_result_alone(name, scale, is_kept):
    """Not with a scale below 1, which would make a 0 of the least number, where the derivative is not 0."""
    least = np.finfo(np.float64).smallest_subnormal
    leaf = Tensor(np.array([-1.0, least, 2.0]), requires_grad=True)
    x = leaf * 1.0
    array = weakref.ref(x.data)
    out = nf.nn.Nonlinearity(name, scaled=False)(x, scale)
    del x
    gc.collect()
    assert (array() is not None) == is_kept
    out.sum().backward()
    if name == "relu":
        np.testing.assert_array_equal(leaf.grad, [0.0, scale, scale])


@pytest.mark.parametrize("name, scale", [("gelu", 1.0), ("relu", 0.5), ("relu", -1.0)])
def test_what_its_output_does_not_tell_is_refused(name, scale):
    with pytest.raises(InputError, match="expected relu with a scale of 1 or more, got"):
        nf.ops.scaled_nonlinearity_known_by_output(np.ones(3), name=name, scale=scale)


@pytest.mark.parametrize("name, scaled, is_fused", [
    ("relu", False, True), ("relu", True, False), ("silu", False, False)])
def test_the_nonlinearity_of_a_sum_is_one_operation_for_relu(name, scaled, is_fused):
    """Its result alone is kept: the sum is not."""
    x, y = (Tensor(np.random.default_rng(k).standard_normal((3, 4)), requires_grad=True) for k in range(2))
    layer = nf.nn.Nonlinearity(name, scaled=scaled)
    out = layer.of_sum(x, y)
    expected = layer(x + y)
    np.testing.assert_array_equal(out.data, expected.data)
    assert (out.node.name == "rectified_sum") == is_fused
    cotangent = np.random.default_rng(2).standard_normal((3, 4))
    expected.backward(cotangent)
    gradients = [tensor.grad for tensor in (x, y)]
    x.grad = y.grad = None
    out.backward(cotangent)
    for tensor, gradient in zip((x, y), gradients, strict=True):
        np.testing.assert_array_equal(tensor.grad, gradient)


@pytest.mark.parametrize("layer", DROPPING)
def test_in_evaluation_dropping_layers_are_the_identity(layer):
    """With random numbers at hand or without them."""
    x = Tensor(np.ones((3, 2, 2, 4)))
    made = layer(Initializer(path="drop"), 0.5)
    for mode in (EVALUATION, Mode(training=False, randomness=nf.backend.CounterRNG(1))):
        assert made(x, mode) is x
    assert made(x) is x


@pytest.mark.parametrize("layer", DROPPING)
def test_training_without_random_numbers_is_refused_by_path(layer):
    with pytest.raises(InputError, match=r"blocks\.3\.drop.*randomness") as error:
        layer(Initializer(path="blocks.3.drop"), 0.5)(Tensor(np.ones((3, 4))), Mode(training=True))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layer", DROPPING)
def test_a_rate_of_zero_needs_no_random_numbers(layer):
    x = Tensor(np.ones((3, 4)))
    assert layer(Initializer(path="drop"), 0.0)(x, Mode(training=True)) is x


@given(st.integers(0, 2**32), st.integers(0, 2**20), st.floats(0.05, 0.95))
def test_masks_are_uniform_draws_of_the_path_and_step(seed, step, rate):
    """The draws are those of CounterRNG for the layer's path; a mask is 1 where the draw is at least the rate."""
    rng = nf.backend.CounterRNG(seed, step=step)
    x = Tensor(np.ones((20, 10)))
    kept = rng.uniform("drop", (20, 10)) >= rate
    got = Dropout(Initializer(path="drop"), rate)(x, training(seed, step)).numpy()
    np.testing.assert_array_equal(got, np.where(kept, 1.0 / (1.0 - rate), 0.0))
    examples = rng.uniform("drop", (20, 1)) >= rate
    depth = StochasticDepth(Initializer(path="drop"), rate)(x, training(seed, step)).numpy()
    np.testing.assert_array_equal(depth, np.broadcast_to(examples.astype(float), (20, 10)))


def test_buffers_start_filled_and_without_memory_for_shapes():
    array = Initializer(dtype="float64").filled((3,), 1.0)
    assert array.dtype == np.float64 and array.tolist() == [1.0, 1.0, 1.0]
    shapes = Initializer(shapes_only=True).filled((3, 10**9), 1.0)
    assert shapes.shape == (3, 10**9) and not any(shapes.strides)


@pytest.mark.parametrize("ratio, hidden", [(0.5, 4), (0.0, 1), (-1.0, 1), (float("-inf"), 1)])
def test_squeeze_and_excite_has_at_least_one_hidden_channel(ratio, hidden):
    assert nf.nn.SqueezeExcite(nf.nn.Initializer(), 8, ratio).fc0.weight.shape == (8, hidden)


def test_squeeze_and_excite_takes_the_number_of_hidden_units_its_nonlinearity_and_its_scale():
    layer = nf.nn.SqueezeExcite(Initializer(dtype="float64"), 8, hidden=3, activation="silu", scale=1.0)
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 8))
    hidden = x.mean(axis=(1, 2)) @ layer.fc0.weight.data
    gate = 1 / (1 + np.exp(-(hidden / (1 + np.exp(-hidden)) @ layer.fc1.weight.data)))
    # Some 40 roundings of values of at most 10 lie on the way to a value.
    np.testing.assert_allclose(layer(x).numpy(), x * gate[:, None, None], rtol=0, atol=400 * np.finfo(float).eps)


def test_fan_out_weights_of_squeeze_and_excite_are_scaled_by_their_outputs():
    """The same draws as those of fan-in, times sqrt(2·in/out)."""
    one, other = (nf.nn.SqueezeExcite(Initializer(dtype="float64"), 8, hidden=2, initial=initial)
                  for initial in ("fan_in", "fan_out"))
    for layer, ratio in (("fc0", 8 / 2), ("fc1", 2 / 8)):
        weight, expected = getattr(other, layer).weight.data, getattr(one, layer).weight.data * np.sqrt(2 * ratio)
        np.testing.assert_allclose(weight, expected, rtol=4 * np.finfo(float).eps)


@pytest.mark.parametrize("make, complaint", [
    (lambda init: nf.nn.Conv2D(init, 0, 4, 3), "stem: 0 -> 4 channels: expected at least one of each"),
    (lambda init: nf.nn.Conv2D(init, 4, 0, 3), "stem: 4 -> 0 channels: expected at least one of each"),
    (lambda init: nf.nn.WSConv2D(init, 6, 4, 3, groups=4), "stem: 6 -> 4 channels do not divide by groups=4"),
    (lambda init: nf.nn.Conv2D(init, 4, 4, 3, groups=0), "stem: 4 -> 4 channels do not divide by groups=0"),
    (lambda init: nf.nn.Conv2D(init, 4, 4, 3, groups=-2), "stem: 4 -> 4 channels do not divide by groups=-2"),
    (lambda init: nf.nn.Conv2D(init, 4, 4, 3, groups=True), "stem: groups: expected a whole number, got True"),
    (lambda init: nf.nn.Conv2D(init, "4", 4, 3), "stem: in_channels: expected a whole number, got '4'"),
    (lambda init: nf.nn.Conv2D(init, 4, 10**400, 3), "stem: out_channels: expected a whole number"),
    (lambda init: nf.nn.Linear(init, 2.5, 4), "stem: in_features: expected a whole number ≥ 1, got 2.5"),
    (lambda init: nf.nn.Linear(init, 2, -1), "stem: out_features: expected a whole number ≥ 1, got -1"),
    (lambda init: nf.nn.Linear(init, 2, 2, standard_deviation="1"), "stem: standard_deviation: expected a real"),
    (lambda init: nf.nn.SqueezeExcite(init, 2.5, 0.5), "stem: channels: expected a whole number"),
    (lambda init: nf.nn.SqueezeExcite(init, 4, float("nan")), "stem: ratio: expected a real number, got nan"),
    (lambda init: nf.nn.SqueezeExcite(init, 4), "stem: ratio: expected a real number, got None"),
    (lambda init: nf.nn.SqueezeExcite(init, 4, hidden=0), "stem: hidden: expected a whole number ≥ 1, got 0"),
    (lambda init: nf.nn.SqueezeExcite(init, 4, 0.5, activation="glu"), "stem: activation 'glu': expected one of"),
    (lambda init: nf.nn.SqueezeExcite(init, 4, 0.5, scale="2"), "stem: scale: expected a real number"),
    (lambda init: nf.nn.SqueezeExcite(init, 4, 0.5, initial="he"), "stem: initial 'he': expected fan_in or fan_out"),
    (lambda init: nf.nn.Nonlinearity(["relu"]), "expected one of"),
    (lambda init: nf.nn.Initializer(None), "unknown backend 'None'"),
    (lambda init: nf.nn.Linear(init, 2, 2).load_state_dict("a.safetensors"), "expected a dict .* got a str"),
    (lambda init: nf.models.create(["nfnet_8px"]), "unknown model"),
    (lambda init: nf.models.variant_of(None), "expected a dict of name -> array"),
    (lambda init: nf.models.create("nfnet_8px", num_classes=10**400), "num_classes"),
    (lambda init: nf.models.create("nfnet_8px", shapes_only=True).load_state_dict(None), "got a NoneType"),
    (lambda init: nf.nn.Nonlinearity("gulp"), "'gulp': expected one of .*gelu")])
def test_layers_with_impossible_arguments_are_refused(make, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        make(Initializer(path="stem"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [None, "text", 3, object(), [[1.0], [1.0, 2.0]], np.ones((1, 4, 4, 2), complex)])
@pytest.mark.parametrize("make", [
    lambda init: nf.nn.Linear(init, 2, 2), lambda init: nf.nn.Conv2D(init, 2, 2, 3),
    lambda init: nf.nn.WSConv2D(init, 2, 2, 3), lambda init: nf.nn.SqueezeExcite(init, 2, 0.5)])
def test_layers_refuse_what_is_no_array_of_real_numbers(make, given):
    with pytest.raises(InputError):
        make(Initializer())(given)


@pytest.mark.parametrize("config", [None, {"widths": (1,)}, nf.models.NFNetConfig])
def test_a_model_of_no_configuration_is_refused(config):
    with pytest.raises(InputError, match=r"expected a configuration \(NFNetConfig"):
        nf.models.from_config(config)


@pytest.mark.parametrize("state, complaint", [({"a": 3}, "expected a dict of name -> array"),
                                              ({7: np.ones(2)}, "no variant has names and shapes such as '7'")])
def test_a_state_without_named_arrays_belongs_to_no_variant(state, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        nf.models.variant_of(state)
    assert "\n" not in str(error.value)
