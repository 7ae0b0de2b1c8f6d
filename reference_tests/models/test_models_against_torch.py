"""Logits and every parameter's gradient equal the PyTorch port's, in float64; the bound is in helpers/port_pairs."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.ports.torch import from_config, normalize
from reference_tests.helpers.port_pairs import BOUND, FAMILIES, NFNET, batch, difference, pair_of, set_masks

NAMES = [name for name in nf.models.names() if isinstance(nf.models.config_of(name), nf.models.NORMALIZER_FREE)]
SMALL = [name for name in NAMES if nf.models.config_of(name).train_size <= 32]
SIZES = ((33, 29), (32, 32), (18, 47))


def assert_agree(model, port, images, labels, training=False):
    """Compare logits, loss and all gradients; returns the largest difference of a gradient."""
    port.train(training)
    logits = model(images, training=training)
    loss = nf.ops.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    their_logits = port(torch.from_numpy(images).permute(0, 3, 1, 2))
    their_loss = F.cross_entropy(their_logits, torch.from_numpy(labels), label_smoothing=0.1)
    their_loss.backward()
    assert np.linalg.norm(logits.numpy() - their_logits.detach().numpy()) <= \
        BOUND * np.linalg.norm(their_logits.detach().numpy())
    assert abs(loss.item() - their_loss.item()) <= BOUND * their_loss.item()
    gradients = {name: parameter.grad for name, parameter in model.parameters().items()}
    differences = {name: difference(gradients[name], parameter.grad) for name, parameter in port.named_parameters()}
    assert max(differences.values()) <= BOUND, {n: d for n, d in differences.items() if d > BOUND}
    return max(differences.values())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_agree_with_the_port(family, size):
    model, port = pair_of(FAMILIES[family], seed=1)
    assert_agree(model, port, *batch(size, 7, seed=2))


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_and_stochastic_depth_agree_with_the_port(family):
    """Of 4 examples in 4 to 6 blocks, at rates up to 0.7, some are dropped and some are kept."""
    config = dataclasses.replace(FAMILIES[family], drop_rate=0.4, stochdepth_rate=0.9)
    model, port = pair_of(config, seed=3)
    model.randomness.step = 5
    set_masks(model, port, 4, step=5)
    kept = torch.stack([block.stochastic_depth.mask for block in port.blocks])
    assert 0 < kept.sum() < kept.numel() and kept[0].all()
    assert_agree(model, port, *batch((33, 29), 7, seed=4, count=4), training=True)


@pytest.mark.parametrize("name", SMALL)
def test_small_named_models_agree_with_the_port(name):
    config = nf.models.config_of(name)
    model, port = pair_of(config, seed=5)
    assert_agree(model, port, *batch((config.train_size,) * 2, config.num_classes, seed=6))


@pytest.mark.parametrize("name", NAMES)
def test_named_models_have_the_parameters_of_the_port(name):
    """Names, shapes and drop rates; no memory is taken on either side."""
    model = nf.models.create(name, shapes_only=True)
    with torch.device("meta"):
        port = from_config(model.config)
    ours = {key: tuple(parameter.shape) for key, parameter in model.parameters().items()}
    theirs = {}
    for key, parameter in port.named_parameters():
        shape = tuple(parameter.shape)
        theirs[key] = (*shape[2:], *shape[1::-1])
    assert ours == theirs
    assert [block.stochastic_depth.rate for block in port.blocks] == \
        [block.stochastic_depth.rate for block in model.blocks]
    assert port.dropout.p == model.dropout.rate


def test_images_enter_both_networks_alike():
    """Both divide by 255, subtract and divide by the same constants: a few roundings of 1.1e-16 on values up to 3."""
    images = np.random.default_rng(9).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    ours = nf.datasets.preprocessing.to_input(images, nf.backend.get("numpy"), np.dtype("float64"))
    theirs = normalize(torch.from_numpy(images), torch.float64)
    assert theirs.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(theirs.permute(0, 2, 3, 1).numpy(), ours, rtol=1e-14, atol=1e-14)


def test_rates_change_nothing_in_evaluation():
    """Dropout and stochastic depth act in training alone."""
    images, _ = batch((33, 29), 7, seed=7)
    plain, _ = pair_of(NFNET, seed=8)
    dropping, _ = pair_of(dataclasses.replace(NFNET, drop_rate=0.5, stochdepth_rate=0.5), seed=8)
    assert np.array_equal(plain(images).numpy(), dropping(images).numpy())
    assert not np.array_equal(dropping(images).numpy(), dropping(images, training=True).numpy())
