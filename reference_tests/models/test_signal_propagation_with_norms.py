"""Batch-normalized networks scale down their residual branches at initialization, as much as the theory says.

predicted_with_batch_norm leaves out
- that a variance over 8 images of correlated pixels is an estimate, and that the weights of 64 to 256 channels are a
  sample: from seed to seed the variances differ by a standard deviation of 1 %, of a branch by 2 %, and the squared
  means, whose terms are few and large, by 10 %;
- zeros of the padding, where a branch ends in a 3×3: in the second stage of 12² pixels a window loses 5 % of its taps
  on average. Squared means lose most, as all taps have the same sign: up to 20 %.
The means over four seeds deviate by at most 2 %, 2 % and, of bottlenecks, 4 %. The bounds are three standard deviations
of such a mean on top of that.
"""

import dataclasses

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy.analysis import predicted_with_batch_norm
from reference_tests.models.test_history_against_torch import CONFIGS, images_for

BOTTLENECKS = nf.models.ResNetV2Config(widths=(128, 256), depths=(6, 6), strides=(1, 2), stem_width=64, stem_kernel=3,
                                       stem_stride=1, stem_pool=False)
BASIC = dataclasses.replace(BOTTLENECKS, block="basic", widths=(64, 128), stem_width=32)
SEEDS = range(4)


def measure(config, seed, training=True):
    model = nf.models.from_config(config, seed=seed)
    images = np.random.default_rng(seed).standard_normal((8, 24, 24, 3)).astype(np.float32)
    return nf.analysis.signal_propagation(model, images, training=training)


def as_array(signals):
    return np.asarray([dataclasses.astuple(signal) for signal in signals])


@pytest.fixture(scope="module", params=[BOTTLENECKS, BASIC], ids=["bottleneck", "basic"])
def measured(request):
    """(configuration, means over seeds of the signals as rows of squared mean, variance, variance of the branch)."""
    return request.param, np.mean([as_array(measure(request.param, seed)) for seed in SEEDS], axis=0)


def test_variances_and_squared_means_follow_the_prediction(measured):
    config, signals = measured
    deviation = np.abs(signals / as_array(predicted_with_batch_norm(config)) - 1).max(axis=0)
    assert (deviation < [0.2 if config.block == "bottleneck" else 0.35, 0.035, 0.05]).all(), deviation


def test_the_variance_of_the_shortcut_grows_linearly_and_the_branch_has_one_share_in_position(measured):
    """After block p of a stage that starts with a variance of s branches, a branch is 1/(p + s) of the whole.

    That is what De and Smith (2020) credit batch normalization with: branches are about 1/depth of the signal's
    variance, so that a deep network starts close to the identity.
    """
    config, signals = measured
    inner = config.bottleneck_ratio if config.block == "bottleneck" else 1.0
    shares = signals[:, 2] / signals[:, 1]
    for stage, inputs in enumerate((config.stem_width, config.widths[0])):
        start = inputs / (inner * config.widths[stage])
        positions = np.arange(1, config.depths[stage] + 1)
        np.testing.assert_allclose(shares[6 * stage:6 * stage + 6], 1 / (positions + start), rtol=0.085)


def test_running_statistics_of_no_batch_would_not_do_that():
    """In evaluation a fresh network's norms do nothing: the variance multiplies from block to block."""
    evaluated = as_array(measure(BASIC, 0, training=False))[:6, 1]
    trained = as_array(predicted_with_batch_norm(BASIC))[:6, 1]
    assert (evaluated[1:] / evaluated[:-1] > 1.4).all() and trained[5] / trained[4] < 1.2


def test_the_model_stays_as_it_is():
    model = nf.models.from_config(CONFIGS["densenet"], dtype="float64", seed=1)
    before = {name: array.copy() for name, array in model.buffers().items()}
    images, _ = images_for("densenet", seed=2)
    first = nf.analysis.signal_propagation(model, images, training=True)
    assert first == nf.analysis.signal_propagation(model, images, training=True)
    assert model.randomness.step == 0
    assert all(np.array_equal(array, before[name]) for name, array in model.buffers().items())


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", ["densenet", "inception_v3"])
def test_networks_without_branches_have_the_moments_of_their_outputs(name, training):
    model = nf.models.from_config(CONFIGS[name], dtype="float64", seed=3)
    images, _ = images_for(name, seed=4)
    signals = nf.analysis.signal_propagation(model, images, training=training)
    outputs = model.outputs(images, [f"blocks.{k}" for k in range(len(model.blocks))], training)
    for signal, output in zip(signals, outputs.values(), strict=True):
        channels = output.numpy().reshape(-1, output.shape[3])
        assert signal.res_avg_var is None
        np.testing.assert_allclose(signal.avg_sq_mean, (channels.mean(0) ** 2).mean(), rtol=1e-12)
        np.testing.assert_allclose(signal.avg_var, channels.var(0).mean(), rtol=1e-12)


def test_post_activation_blocks_end_their_branch_with_the_last_norm():
    """A fresh norm gives every channel variance 1, up to eps; the output of a block is that of its relu."""
    config = nf.models.ResNetConfig(widths=(16, 24), depths=(1, 2), strides=(1, 2), stem_width=8, num_classes=7)
    model = nf.models.from_config(config, dtype="float64", seed=5)
    images, _ = images_for("densenet", seed=6)
    signals = nf.analysis.signal_propagation(model, images, training=True)
    outputs = model.outputs(images, ["blocks.0", "blocks.1", "blocks.2"], training=True)
    assert all(0.99 < signal.res_avg_var <= 1.0 for signal in signals)
    assert all((output.numpy() >= 0).all() for output in outputs.values())


@pytest.mark.parametrize("config, words", [
    (nf.models.DenseNetConfig(), "no prediction for a DenseNetConfig"),
    (nf.models.ResNetConfig(), "no prediction for a ResNetConfig"),
    (dataclasses.replace(BASIC, activation="silu"), "activation='silu'"),
    (dataclasses.replace(BASIC, stem_width=64), "first shortcut is the stem's output")], ids=str)
def test_where_there_is_no_prediction_the_error_says_so(config, words):
    with pytest.raises(nf.InputError, match=words):
        nf.analysis.predicted_variances(config)


def test_predictions_of_resnet_v2_50_are_those_of_the_theory():
    """Branches of a quarter of the channels give 0.17 each; projections give 2·in/out·0.34."""
    predicted = nf.analysis.predicted_variances(nf.models.config_of("resnetv2_50"))
    variance = 0.5 - 0.5 / np.pi
    expected = [variance * (2 * ratio + 0.5 * p) for ratio, depth in ((1 / 4, 3), (1 / 2, 4), (1 / 2, 6), (1 / 2, 3))
                for p in range(1, depth + 1)]
    np.testing.assert_allclose(predicted, expected, rtol=1e-15 * 16)
