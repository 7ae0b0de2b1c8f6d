"""Logits and every parameter's gradient against a torch twin, in float64.

The bound is the issue's: 1e-11 of a tensor's norm. A sum of n products errs by at most n half-epsilons of 1.1e-16; some
60 operations there and back, on sums of up to 600 terms, come to 4e-12 if nothing cancels and no two errors do. These
seeds stay below 5e-14.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from reference_tests.helpers.torch_networks import as_torch, copy_to, twin_of

import nfnumpy as nf

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
    """Values that hide nothing: no gain is 1, no bias or skip gain 0, a unit of every weight lies under the floor."""
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
    """A model with random values and its twin with the same."""
    model = nf.models.from_config(config, dtype="float64", seed=seed)
    model.load_state_dict(random_state(model, seed))
    twin = twin_of(config).double()
    copy_to(twin, model.state_dict())
    return model, twin


def batch(size, classes, seed, count=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *size, 3)), rng.integers(0, classes, count)


def set_masks(model, twin, count, step):
    """Give the twin the masks that `model` draws at `step`: a uniform number a place, kept if it reaches the rate."""
    draws = nf.backend.CounterRNG(model.randomness.seed, step=step)
    for k, (block, rate) in enumerate(zip(twin.blocks, twin.drop_rates)):
        block.kept = torch.from_numpy(draws.uniform(f"blocks.{k}.stochastic_depth", (count,)) >= rate)
    shape = (count, twin.linear.in_features)
    twin.kept = torch.from_numpy(draws.uniform("dropout", shape) >= twin.drop_rate)


def difference(ours, theirs):
    """‖ours - theirs‖ / ‖theirs‖ of an array and a torch tensor, brought to torch's layout."""
    return float(torch.linalg.vector_norm(as_torch(ours, theirs) - theirs) / torch.linalg.vector_norm(theirs))


def assert_agree(model, twin, images, labels, training=False):
    """Compare logits, loss and all gradients; returns the largest difference of a gradient."""
    twin.train(training)
    logits = model(images, training=training)
    loss = nf.ops.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    their_logits = twin(torch.from_numpy(images).permute(0, 3, 1, 2))
    their_loss = F.cross_entropy(their_logits, torch.from_numpy(labels), label_smoothing=0.1)
    their_loss.backward()
    assert np.linalg.norm(logits.numpy() - their_logits.detach().numpy()) <= \
        BOUND * np.linalg.norm(their_logits.detach().numpy())
    assert abs(loss.item() - their_loss.item()) <= BOUND * their_loss.item()
    gradients = {name: parameter.grad for name, parameter in model.parameters().items()}
    differences = {name: difference(gradients[name], parameter.grad) for name, parameter in twin.named_parameters()}
    assert max(differences.values()) <= BOUND, {n: d for n, d in differences.items() if d > BOUND}
    return max(differences.values())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_agree_with_the_twin(family, size):
    model, twin = pair_of(FAMILIES[family], seed=1)
    assert_agree(model, twin, *batch(size, 7, seed=2))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_the_same_masks_dropout_and_stochastic_depth_agree_with_the_twin(family):
    """Of 4 examples in 4 to 6 blocks, at rates up to 0.7, some are dropped and some are kept."""
    config = dataclasses.replace(FAMILIES[family], drop_rate=0.4, stochdepth_rate=0.9)
    model, twin = pair_of(config, seed=3)
    model.randomness.step = 5
    set_masks(model, twin, 4, step=5)
    kept = torch.stack([block.kept for block in twin.blocks])
    assert 0 < kept.sum() < kept.numel() and kept[0].all()
    assert_agree(model, twin, *batch((33, 29), 7, seed=4, count=4), training=True)


@pytest.mark.parametrize("name", ["nfnet_8px", "nfnet_16px", "nfnet_32px", "nf_resnet_32px", "nf_regnet_32px"])
def test_small_named_models_agree_with_the_twin(name):
    config = nf.models.config_of(name)
    model, twin = pair_of(config, seed=5)
    assert_agree(model, twin, *batch((config.train_size,) * 2, config.num_classes, seed=6))


@pytest.mark.parametrize("name", nf.models.names())
def test_every_named_model_has_the_parameters_of_its_twin(name):
    """Names and shapes; no memory is taken on either side."""
    model = nf.models.create(name, shapes_only=True)
    with torch.device("meta"):
        twin = twin_of(model.config)
    ours = {key: tuple(parameter.shape) for key, parameter in model.parameters().items()}
    theirs = {}
    for key, parameter in twin.named_parameters():
        shape = tuple(parameter.shape)
        squeezed = shape[:1] if key.endswith("gain") else shape
        theirs[key] = (*squeezed[2:], *squeezed[1::-1])
    assert ours == theirs
    assert twin.drop_rates[-1] == model.blocks[-1].stochastic_depth.rate


def test_a_model_evaluates_the_same_whether_or_not_its_rates_are_set():
    """Dropout and stochastic depth act in training alone."""
    images, _ = batch((33, 29), 7, seed=7)
    plain, _ = pair_of(NFNET, seed=8)
    dropping, _ = pair_of(dataclasses.replace(NFNET, drop_rate=0.5, stochdepth_rate=0.5), seed=8)
    assert np.array_equal(plain(images).numpy(), dropping(images).numpy())
    assert not np.array_equal(dropping(images).numpy(), dropping(images, training=True).numpy())
