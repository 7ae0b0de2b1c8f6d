"""Normalizations as layers: running statistics in every convention, and what each answers to the smallest batches.

Values and gradients of their operations: reference_tests/functional/. Batch normalization is PyTorch's in all.
"""

import types

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy.models.base import ImageClassifier
from nfnumpy.nn import (
    EVALUATION,
    NORMS,
    BatchNorm,
    ConvNorm,
    Dropout,
    Initializer,
    LayerNorm,
    Linear,
    Mode,
    Nonlinearity,
    SwitchableNorm,
    WeightStandardizedConv2D,
    activated,
    create_norm,
)

TRAINING = Mode(training=True)


def layer_and_pytorchs(seed, channels):
    rng = np.random.default_rng(seed)
    layer = BatchNorm(Initializer(dtype="float64"), channels)
    theirs = torch.nn.BatchNorm2d(channels, dtype=torch.float64)
    for own, other in ((layer.gamma, theirs.weight), (layer.beta, theirs.bias)):
        own.data = rng.normal(size=channels)
        with torch.no_grad():
            other.copy_(torch.from_numpy(own.data))
    return rng, layer, theirs


@given(st.integers(0, 99), st.integers(2, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
def test_twenty_steps_equal_pytorchs(seed, batch, height, width, channels):
    rng, layer, theirs = layer_and_pytorchs(seed, channels)
    for _ in range(20):
        x = nf.Tensor(rng.normal(size=(batch, height, width, channels)), requires_grad=True)
        y = torch.from_numpy(x.data).permute(0, 3, 1, 2).requires_grad_()
        cotangent = rng.normal(size=x.shape)
        out = layer(x, TRAINING)
        out.backward(cotangent)
        expected = theirs(y)
        expected.backward(torch.from_numpy(cotangent).permute(0, 3, 1, 2))
        np.testing.assert_allclose(out.data, expected.detach().permute(0, 2, 3, 1), rtol=1e-9, atol=1e-9)
        # A batch of two values a channel can have a variance far below eps, whose derivative is then up to 1/sqrt(eps).
        np.testing.assert_allclose(x.grad, y.grad.permute(0, 2, 3, 1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(layer.running_mean, theirs.running_mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_variance, theirs.running_var, rtol=1e-12, atol=1e-12)
    theirs.eval()
    x = rng.normal(size=(1, height, width, channels))
    expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().permute(0, 2, 3, 1)
    np.testing.assert_allclose(layer(nf.Tensor(x)).data, expected, rtol=1e-12, atol=1e-12)


def test_a_convolution_with_a_norm_has_no_bias_and_the_norms_buffers():
    pair = ConvNorm(Initializer(), 3, 4, 3, stride=2)
    assert list(pair.parameters()) == ["conv.weight", "norm.gamma", "norm.beta"]
    assert list(pair.buffers()) == ["norm.running_mean", "norm.running_variance"]
    assert pair(nf.Tensor(np.zeros((1, 5, 5, 3), np.float32))).shape == (1, 3, 3, 4)


class CountsCalls:
    """A function that adds its input's batch to the running statistics of `layer`."""

    def __init__(self, layer, mode=TRAINING):
        self.layer, self.mode, self.calls = layer, mode, 0

    def __call__(self, x):
        self.calls += 1
        return self.layer(x, self.mode)


@pytest.mark.parametrize("mode", [EVALUATION, TRAINING], ids=["evaluation", "training"])
@pytest.mark.parametrize("name, scaled, is_one", [("silu", False, True), ("relu6", False, True), ("relu", False, False),
                                                  ("silu", True, False), ("glu", False, False)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_norm_and_a_nonlinearity_together_are_the_one_after_the_other(norm, name, scaled, is_one, mode):
    """With the same gradients and statistics; in training one operation, whose result alone is not kept."""
    activation, found = Nonlinearity(name, scaled), []
    for together in (False, True):
        layer = create_norm(Initializer(dtype="float64"), 4, norm)
        x = nf.Tensor(np.random.default_rng(0).normal(size=(3, 5, 5, 4)), requires_grad=True)
        out = activated(layer, x, mode, activation) if together else activation(layer(x, mode))
        out.backward(np.random.default_rng(1).normal(size=out.shape))
        buffers = [layer.running_mean, layer.running_variance] if norm == "batch" else []
        found.append([out.data, x.grad, layer.gamma.grad, layer.beta.grad, *buffers])
        is_fused = out.node.name == "activated_batch_norm"
        assert is_fused == (together and is_one and norm == "batch" and mode is TRAINING)
    for own, expected in zip(*found, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-12, atol=1e-12)


def test_a_changed_layer_is_asked_for_its_own_result():
    """As the auditor changes layers of one object."""
    class Doubled(BatchNorm):
        def __call__(self, x, mode=EVALUATION):
            return super().__call__(x, mode) * 2.0

    x = nf.Tensor(np.random.default_rng(0).normal(size=(3, 5, 5, 4)))
    layer, activation = Doubled(Initializer(dtype="float64"), 4), Nonlinearity("silu", False)
    for norm, function in ((layer, activation), (layer, lambda x: x + 1.0)):
        np.testing.assert_array_equal(activated(norm, x, TRAINING, function).data, function(norm(x, TRAINING)).data)


def test_a_block_that_is_computed_again_takes_a_batch_in_once():
    x = np.random.default_rng(0).normal(size=(4, 2, 2, 3))
    expected = BatchNorm(Initializer(dtype="float64"), 3)
    expected(nf.Tensor(x), TRAINING)
    again = CountsCalls(BatchNorm(Initializer(dtype="float64"), 3))
    nf.checkpoint(lambda x: nf.checkpoint(again, x), nf.Tensor(x, requires_grad=True)).sum().backward()
    assert again.calls == 3  # forward, the outer backward pass, and within it the inner one
    for name, buffer in again.layer.buffers().items():
        np.testing.assert_array_equal(buffer, expected.buffers()[name])


def test_a_pass_that_sees_a_batch_again_can_leave_the_statistics_alone():
    layer = BatchNorm(Initializer(dtype="float64"), 3)
    x = nf.Tensor(np.random.default_rng(0).normal(size=(4, 2, 2, 3)))
    out = layer(x, Mode(training=True, update_statistics=False))
    assert not layer.running_mean.any() and (layer.running_variance == 1.0).all()
    np.testing.assert_array_equal(out.data, layer(x, TRAINING).data)
    assert layer.running_mean.all()


def test_a_batch_that_is_refused_leaves_the_statistics_alone():
    layer = BatchNorm(Initializer(), 3)
    for wrong in (np.ones((2, 2, 2, 4), np.float32), np.ones((2, 2, 2, 3)), np.ones((0, 2, 2, 3), np.float32)):
        with pytest.raises(nf.InputError):
            layer(nf.Tensor(wrong), TRAINING)
    assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_variance.tolist() == [1.0] * 3


def batches_of(seed, count=20, channels=3):
    random = np.random.default_rng(seed)
    return [random.normal(random.normal(), 1.0, (2, 2, 3, channels)) for _ in range(count)]


def moments_of(batch, ddof=0):
    return batch.mean(axis=(0, 1, 2)), batch.var(axis=(0, 1, 2), ddof=ddof)


def expect_statistics(layer, mean, variance):
    """Twenty averages of numbers of size 1: 1e-12 is far above their rounding."""
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_variance, variance, rtol=1e-12, atol=1e-12)


@given(st.integers(0, 99))
def test_kerass_running_statistics_start_at_0_and_1_and_take_the_biased_variance(seed):
    layer, mean, variance = BatchNorm(Initializer(dtype="float64"), 3, "keras"), np.zeros(3), np.ones(3)
    for batch in batches_of(seed):
        layer(nf.Tensor(batch), TRAINING)
        own = moments_of(batch)
        mean, variance = mean * 0.99 + own[0] * 0.01, variance * 0.99 + own[1] * 0.01
    expect_statistics(layer, mean, variance)


@given(st.integers(0, 99))
def test_haikus_running_statistics_are_sums_from_0_divided_by_the_weights_in_them(seed):
    layer, hidden = BatchNorm(Initializer(dtype="float64"), 3, "haiku"), np.zeros((2, 3))
    for step, batch in enumerate(batches_of(seed), start=1):
        layer(nf.Tensor(batch), TRAINING)
        hidden = 0.9 * hidden + (1.0 - 0.9) * np.stack(moments_of(batch))
        expect_statistics(layer, *(hidden / (1.0 - 0.9**step)))
        assert layer.counter == step


def test_a_state_with_the_counter_goes_on_where_it_was():
    batches = batches_of(0)
    layer, other = (BatchNorm(Initializer(dtype="float64"), 3, "haiku") for _ in range(2))
    for batch in batches[:10]:
        layer(nf.Tensor(batch), TRAINING)
    other.load_state_dict({name: array.copy() for name, array in layer.state_dict().items()})
    for batch in batches[10:]:
        for each in (layer, other):
            each(nf.Tensor(batch), TRAINING)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


@pytest.mark.parametrize("unbiased", [True, False])
def test_averaged_statistics_are_the_mean_of_all_batches_since_they_were_forgotten(unbiased):
    layer = SwitchableNorm(Initializer(dtype="float64"), 3, statistics="averaged", unbiased=unbiased)
    layer(nf.Tensor(batches_of(1)[0]), TRAINING)
    layer.forget_statistics()
    own = []
    for batch in batches_of(0):
        layer(nf.Tensor(batch), TRAINING)
        images = batch.reshape(2, 6, 3)
        square = images.var(axis=1, ddof=int(unbiased)) + images.mean(axis=1) ** 2
        mean = images.mean(axis=(0, 1))
        own.append((mean, square.mean(axis=0) - mean**2))
    expect_statistics(layer, *np.mean(own, axis=0))


def test_a_moving_average_of_switchable_statistics_is_what_evaluation_uses():
    layer, batch = SwitchableNorm(Initializer(dtype="float64"), 3), batches_of(0)[0]
    layer(nf.Tensor(batch), TRAINING)
    mean, variance = moments_of(batch)
    expect_statistics(layer, 0.1 * mean, 0.9 + 0.1 * variance)
    layer.running_mean, layer.running_variance = mean, variance
    np.testing.assert_allclose(layer(nf.Tensor(batch)).data, layer(nf.Tensor(batch), TRAINING).data, atol=1e-13)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(1, 2, 2, 4), (3, 1, 1, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("constant", [False, True])
def test_every_norm_answers_small_and_constant_batches_with_finite_numbers(name, shape, constant):
    x = np.full(shape, 0.1) if constant else np.random.default_rng(0).normal(size=shape)
    x = nf.Tensor(x, requires_grad=True)
    layer = create_norm(Initializer(dtype="float64"), 4, name)
    for mode in (TRAINING, Mode()):
        out = layer(x, mode)
        (out * np.arange(4.0)).sum().backward()
        found = [out.data, x.grad, *(tensor.grad for tensor in layer.parameters().values()), *layer.buffers().values()]
        assert all(np.isfinite(array).all() for array in found)


@pytest.mark.parametrize("name", NORMS)
def test_an_empty_batch_is_refused_where_a_norm_needs_its_moments_and_stays_empty_elsewhere(name):
    x, layer = nf.Tensor(np.zeros((0, 2, 2, 4))), create_norm(Initializer(dtype="float64"), 4, name)
    assert layer(x).shape == x.shape
    if name.startswith(("batch", "switchable")):
        before = {key: array.copy() for key, array in layer.buffers().items()}
        with pytest.raises(nf.InputError, match="at least one value"):
            layer(x, TRAINING)
        assert all(np.array_equal(array, before[key]) for key, array in layer.buffers().items())
    else:
        assert layer(x, TRAINING).shape == x.shape


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_every_norm_takes_half_precision_and_keeps_statistics_and_gradients_in_float32(name, half):
    x = nf.Tensor(np.random.default_rng(0).normal(300.0, 100.0, (2, 3, 3, 4)).astype(half), requires_grad=True)
    layer = create_norm(Initializer(), 4, name)
    for mode in (TRAINING, Mode()):
        out = layer(x, mode)
        out.backward(np.ones(out.shape, half))
        assert out.dtype == x.grad.dtype == half and np.isfinite(out.data.astype(np.float32)).all()
    assert all(tensor.grad.dtype == np.float32 for tensor in layer.parameters().values())
    assert all(array.dtype in (np.float32, np.int64) for array in layer.buffers().values())


@pytest.mark.parametrize("name", [name for name in NORMS if not name.startswith("batch") and name != "switchable"])
def test_norms_of_single_images_do_not_look_at_the_batch(name):
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 4))
    layer = create_norm(Initializer(dtype="float64"), 4, name)
    together = layer(nf.Tensor(x), TRAINING).data
    for number in range(3):
        np.testing.assert_array_equal(layer(nf.Tensor(x[number:number + 1])).data, together[number:number + 1])


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
def test_gamma_starts_at_what_is_asked_for(name):
    layer = create_norm(Initializer(), 4, name, initial_gamma=0.0)
    assert not layer.gamma.data.any() and not layer(nf.Tensor(np.ones((1, 2, 2, 4), np.float32))).data.any()


def test_a_group_norm_by_name_has_32_groups_where_they_divide_the_channels():
    assert [create_norm(Initializer(), channels, "group").groups for channels in (64, 48, 24, 7)] == [32, 16, 8, 1]


@pytest.mark.parametrize("make", [
    lambda init: create_norm(init, 4, "batchnorm"), lambda init: create_norm(init, 4, None),
    lambda init: BatchNorm(init, 0), lambda init: BatchNorm(init, 4, "tensorflow"),
    lambda init: nf.nn.GroupNorm(init, 48), lambda init: nf.nn.GroupNorm(init, 4, 0),
    lambda init: LayerNorm(init, 4, "batch"), lambda init: SwitchableNorm(init, 4, statistics="none")])
def test_a_layer_that_cannot_be_made_is_refused_by_its_path(make):
    with pytest.raises(nf.InputError, match=r"blocks\.3\.norm") as error:
        make(Initializer(path="blocks.3.norm"))
    assert "\n" not in str(error.value)


def test_a_convolution_with_a_plainly_standardized_weight():
    random = np.random.default_rng(0)
    layer = WeightStandardizedConv2D(Initializer(dtype="float64"), 4, 6, 3, groups=2, eps_beside="variance", bias=False)
    x, w = nf.Tensor(random.normal(size=(1, 5, 5, 4))), layer.weight.data
    standard = (w - w.mean(axis=(0, 1, 2))) / np.sqrt(w.var(axis=(0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(layer(x).data, nf.ops.conv2d(x, standard, groups=2).data, atol=1e-12)


class TwoBlocks(ImageClassifier):
    """A network of two blocks, each a convolution with its batch normalization."""

    def build(self, init):
        self.blocks = [ConvNorm(init.scope(f"blocks.{k}"), 3, 3, 3) for k in range(2)]
        self.dropout = Dropout(init.scope("dropout"), 0.0)
        self.linear = Linear(init.scope("linear"), 3, 2)

    def stem(self, x, mode=EVALUATION):
        return x

    def head(self, x, mode=EVALUATION):
        return x


def test_a_network_with_recomputed_blocks_ends_with_the_same_gradients_and_statistics():
    def state(recompute):
        model = TwoBlocks(types.SimpleNamespace(in_channels=3), dtype="float64")
        model.recompute_blocks = recompute
        x = np.random.default_rng(0).normal(size=(2, 5, 5, 3))
        nf.ops.softmax_cross_entropy(model(x, training=True), np.array([0, 1])).backward()
        return {**{name: tensor.grad for name, tensor in model.parameters().items()}, **model.buffers()}

    again, once = state(True), state(False)
    assert len(once) == 12
    for name, array in once.items():
        np.testing.assert_array_equal(again[name], array)


def test_a_model_leaves_statistics_alone_when_told_and_shares_them_over_devices():
    """Two devices with the same batch: their joint sums are twice their own, and their moments the same."""
    model = TwoBlocks(types.SimpleNamespace(in_channels=3), dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 3))
    before = model.buffers()
    own = model(x, training=True, update_statistics=False).data
    for name, array in model.buffers().items():
        assert array is before[name]
    calls = []
    model.joint_sum = lambda array: calls.append(array.shape) or array * 2.0
    np.testing.assert_allclose(model(x, training=True).data, own, atol=1e-13)
    assert calls == [(2, 3), (3,)] * 2
