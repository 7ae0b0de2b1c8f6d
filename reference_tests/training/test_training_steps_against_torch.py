"""Training steps equal the PyTorch port's, in float64: AGC, weight decay, Nesterov momentum, with and without SAM.

The bound is 1e-9 of every parameter's norm after every step. A step adds rounding of 5e-14 (measured for a gradient)
to the difference that earlier steps left. A difference below the bound after 20 steps shows that they do not diverge.
"""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.ports import torch_optim
from reference_tests.helpers.port_pairs import SMALL, batch, difference, pair_of, set_masks

BOUND = 1e-9
STEPS = 20
CLIPPING = 0.08
WEIGHT_DECAY = 1e-2  # large enough to have an effect in 20 steps
RHO = 0.05
SMOOTHING = 0.1
PEAK = 0.2
WARMUP = 5


def learning_rate(step):
    """Up in a line for WARMUP steps and down half a cosine, as the papers train."""
    if step < WARMUP:
        return PEAK * step / WARMUP
    return PEAK * 0.5 * (1 + np.cos(np.pi * (step - WARMUP) / (STEPS - WARMUP)))


def our_loss(model, images, labels, training):
    """The loss, whose backward pass has run."""
    loss = nf.ops.softmax_cross_entropy(model(images, training=training), labels, label_smoothing=SMOOTHING)
    loss.backward()
    return loss.item()


def port_loss(port, images, labels):
    """The port's loss, a tensor."""
    return F.cross_entropy(port(images), labels, label_smoothing=SMOOTHING)


def port_step(port, optimizer, loss_of, rho):
    """One step of the port; returns the loss before it."""
    optimizer.zero_grad()
    if rho:
        loss = torch_optim.sam_backward(port, loss_of, rho)
    else:
        tensor = loss_of()
        tensor.backward()
        loss = tensor.item()
    optimizer.step()
    return loss


@functools.cache
def train_both(family, rho, **rates):
    """Compare after every step; returns the largest difference, the share of units clipped per step and the losses."""
    model, port = pair_of(dataclasses.replace(SMALL[family], **rates), seed=11)
    port.train(bool(rates))
    port_optimizer = torch_optim.SGD(port, 0.0, clipping=CLIPPING, weight_decay=WEIGHT_DECAY)
    optimizer = nf.optim.SGD(model, lr=0.0, clipping=CLIPPING, weight_decay=WEIGHT_DECAY)
    schedule = nf.optim.warmup_cosine(PEAK, WARMUP, STEPS)
    sam = nf.optim.SAM(optimizer, rho=rho) if rho else None
    worst = 0.0
    clipped = []
    losses = []
    for step in range(STEPS):
        images, labels = batch((17, 13), 7, seed=100 + step, count=4)
        torch_images = torch.from_numpy(images).permute(0, 3, 1, 2)
        torch_labels = torch.from_numpy(labels)
        if rates:
            set_masks(model, port, 4, step)

        closure = functools.partial(our_loss, model, images, labels, bool(rates))
        optimizer.lr = schedule(step)
        if sam:
            loss = sam.step(closure)
        else:
            loss = closure()
            optimizer.step()
        port_optimizer.lr = learning_rate(step)
        loss_of = functools.partial(port_loss, port, torch_images, torch_labels)
        their_loss = port_step(port, port_optimizer, loss_of, rho)
        ours = model.state_dict()
        differences = {name: difference(ours[name], value.detach()) for name, value in port.named_parameters()}
        worst = max(worst, abs(loss - their_loss) / their_loss, *differences.values())
        assert worst <= BOUND, (step, {name: d for name, d in differences.items() if d > BOUND})
        clipped.append(optimizer.clipped_fraction())
        losses.append(loss)
    return worst, clipped, losses


@pytest.mark.parametrize("rho", [0.0, RHO], ids=["sgd", "sam"])
@pytest.mark.parametrize("family", SMALL)
def test_twenty_steps_agree_with_the_port(family, rho):
    """AGC must have something to do and something to leave alone."""
    _, clipped, _ = train_both(family, rho)
    assert all(0.0 < share < 1.0 for share in clipped)


@pytest.mark.parametrize("rho", [0.0, RHO], ids=["sgd", "sam"])
@pytest.mark.parametrize("family", SMALL)
def test_twenty_steps_with_masks_agree_with_the_port(family, rho):
    """Masks change from step to step, and SAM's two passes see the same ones."""
    worst, _, _ = train_both(family, rho, drop_rate=0.3, stochdepth_rate=0.5)
    assert worst <= BOUND


def test_sam_and_plain_steps_differ():
    """Otherwise the comparisons above could not distinguish them; SAM changes a loss by about rho · gradient norm."""
    _, _, plain = train_both("nfnet", 0.0)
    _, _, sam = train_both("nfnet", RHO)
    assert abs(plain[-1] - sam[-1]) > 1e-6
