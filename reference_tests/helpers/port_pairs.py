"""Pairs of a model and its PyTorch port with the same random values in float64, and how they are compared.

BOUND is relative to a tensor's norm. A sum of n products errs by at most n half-epsilons of 1.1e-16; some 60 operations
forward and backward, on sums of up to 600 terms, come to 4e-12 if nothing cancels and no two errors do. The seeds of
the tests stay below 5e-14.
"""

import dataclasses

import numpy as np
import torch
from torch import nn

import nfnumpy as nf
from nfnumpy.ports.torch import from_config, load_reference_state, to_torch_layout

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

# Three blocks each: one that changes channels, one with a stride, one with an identity shortcut.
_THREE_BLOCKS = {"widths": (16, 24), "depths": (1, 2), "strides": (1, 2)}
SMALL = {family: dataclasses.replace(FAMILIES[family], **_THREE_BLOCKS)
         for family in ("nfnet", "nf_resnet", "nf_resnet with squeeze-and-excite", "nf_regnet")}


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
