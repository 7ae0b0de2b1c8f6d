"""Logits and every parameter's gradient beside those of the PyTorch port, in float64.

The bound is 1e-11 of a tensor's norm. A sum of n products errs by at most n half-epsilons of 1.1e-16; some 60
operations forward and backward, on sums of up to 600 terms, come to 4e-12 if nothing cancels and no two errors do.
These seeds stay below 5e-14.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.ports.torch import from_config, load_reference_state, normalize, to_torch_layout

BOUND = 1e-11

NFNET = nf.models.NFNetConfig(widths=(8, 16, 16, 24), depths=(1, 2, 1, 2), strides=(1, 2, 1, 2), group_size=4,
                              stem_widths=(4, 4, 8, 6), num_classes=7, in_channels=3)
NF_RESNET = nf.models.NFResNetConfig(widths=(16, 16, 32), depths=(2, 1, 2), strides=(1, 1, 2), num_classes=7)
NF_REGNET = nf.models.NFRegNetConfig(widths=(16, 24, 40), depths=(1, 3, 2), strides=(2, 2, 2), num_classes=7)
FAMILIES = {
    "nfnet": NFNET,
    "nfnet in stages of two strides": dataclasses.replace(NFNET, strides=(2, 2, 2, 2), stem_strides=(1, 1, 1, 1)),
    "nfnet with another alpha and relu": dataclasses.replace(NFNET, alpha=0.5, activation="relu", se_ratio=0.25),
    "nf_resnet": NF_RESNET,
    "nf_resnet with squeeze-and-excite": dataclasses.replace(NF_RESNET, use_se=True),
    "nf_resnet for small images": dataclasses.replace(NF_RESNET, stem_kernel=3, stem_stride=1, stem_pool=False),
    "nf_regnet": NF_REGNET,
    "nf_regnet with a stage unlike a stage": dataclasses.replace(NF_REGNET, widths=(16, 16, 40), strides=(2, 1, 2)),
}
SIZES = ((33, 29), (32, 32), (18, 47))


def random_state(model, seed):
    """Values that make every parameter matter: no gain is 1, no bias or skip gain 0, and a unit of every weight has a
    variance below the floor of the standardization.
    """
    rng, state = np.random.default_rng(seed), {}
    for name, parameter in model.parameters().items():
        kind, noise = name.rpartition(".")[2], rng.standard_normal(parameter.shape)
        if kind == "weight":
            noise /= np.sqrt(max(1, np.prod(parameter.shape[:-1])))
            if noise.ndim == 4:
                noise[..., 0] *= 2e-3
        state[name] = {"weight": noise, "gain": 1 + 0.3 * noise, "bias": 0.2 * noise, "skip_gain": 1 + noise / 2}[kind]
    return state


def pair_of(config, seed):
    """A model with random values and the port with the same, both float64; the port's weights lie channels last."""
    model = nf.models.from_config(config, dtype="float64", seed=seed)
    model.load_state_dict(random_state(model, seed))
    port = from_config(config).double()
    load_reference_state(port, model.state_dict())
    return model, port.to(memory_format=torch.channels_last)


def batch(size, classes, seed, count=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *size, 3)), rng.integers(0, classes, count)


class Masked(nn.Module):
    """Multiplies by a mask in training."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask if self.training else x


def set_masks(model, port, count, step):
    """Give the port the masks that `model` draws at `step`: kept is what a uniform number puts at or above the rate."""
    draws = nf.backend.CounterRNG(model.randomness.seed, step=step)
    for k, (block, ours) in enumerate(zip(port.blocks, model.blocks, strict=True)):
        kept = torch.from_numpy(draws.uniform(f"blocks.{k}.stochastic_depth", (count,)) >= ours.stochastic_depth.rate)
        block.stochastic_depth = Masked(kept[:, None, None, None])
    rate = model.dropout.rate
    kept = torch.from_numpy(draws.uniform("dropout", (count, port.linear.in_features)) >= rate)
    port.dropout = Masked(kept.double() / (1 - rate))


def difference(ours, theirs):
    """‖ours - theirs‖ / ‖theirs‖ of an array and a torch tensor, brought to torch's layout."""
    return float(torch.linalg.vector_norm(to_torch_layout(ours) - theirs) / torch.linalg.vector_norm(theirs))


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


@pytest.mark.parametrize("name", ["nfnet_8px", "nfnet_16px", "nfnet_32px", "nf_resnet_32px", "nf_regnet_32px"])
def test_small_named_models_agree_with_the_port(name):
    config = nf.models.config_of(name)
    model, port = pair_of(config, seed=5)
    assert_agree(model, port, *batch((config.train_size,) * 2, config.num_classes, seed=6))


@pytest.mark.parametrize("name", nf.models.names())
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
