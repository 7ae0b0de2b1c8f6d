"""Pairs of a network with normalizations and its PyTorch port, with the same random values in float64.

BOUND is relative to a tensor's norm, as in port_pairs.
"""

import numpy as np
import torch
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.ports.torch_networks import from_config
from nfnumpy.ports.torch_parts import load_state, port_name
from reference_tests.helpers.port_pairs import BOUND, Masked, difference

STEPS_BOUND = 1e-9  # as in training/test_training_steps_against_torch.py


def random_state(model, seed):
    """Values that make every parameter and buffer matter: none is 0 or 1."""
    rng, state = np.random.default_rng(seed), {}
    for name, array in model.state_dict().items():
        kind, noise = name.rpartition(".")[2], rng.standard_normal(array.shape)
        fan_in = max(1, np.prod(array.shape[:-1]))
        state[name] = {"weight": noise * np.sqrt(2 / fan_in), "gamma": 1 + 0.3 * noise, "running_variance":
                       np.exp(0.3 * noise)}.get(kind, 0.3 * noise)
    return state


def pair_of(config, seed):
    """A model with random values and the port with the same, both float64; the port's weights lie channels last."""
    model = nf.models.from_config(config, dtype="float64", seed=seed)
    model.load_state_dict(random_state(model, seed))
    port = from_config(config).double()
    load_state(port, model.state_dict())
    return model, port.to(memory_format=torch.channels_last)


def set_masks(model, port, count, step):
    """Give the port the masks that `model` draws at `step`, divided by the keep probability; returns those of blocks.
    """
    draws, masks = nf.backend.CounterRNG(model.randomness.seed, step=step), []
    for k, (theirs, ours) in enumerate(zip(port.blocks, model.blocks, strict=True)):
        layer = getattr(ours, "stochastic_depth", None)
        if layer is not None:
            kept = torch.from_numpy(draws.uniform(f"blocks.{k}.stochastic_depth", (count,)) >= layer.rate)
            masks.append(kept)
            theirs.stochastic_depth = Masked(kept[:, None, None, None].double() / (1 - layer.rate))
    rate = model.dropout.rate
    kept = torch.from_numpy(draws.uniform("dropout", (count, port.linear.in_features)) >= rate)
    port.dropout = Masked(kept.double() / (1 - rate))
    return torch.stack(masks) if masks else torch.ones(0, count)


def loss_pair(model, port, images, labels, training, bound=BOUND):
    """(ours, theirs), both of whose backward passes have run; compares the logits to `bound`."""
    port.train(training)
    logits = model(images, training=training)
    loss = nf.ops.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    their_logits = port(torch.from_numpy(images).permute(0, 3, 1, 2))
    their_loss = F.cross_entropy(their_logits, torch.from_numpy(labels), label_smoothing=0.1)
    their_loss.backward()
    expected = their_logits.detach().numpy()
    assert np.linalg.norm(logits.numpy() - expected) <= bound * np.linalg.norm(expected)
    assert abs(loss.item() - their_loss.item()) <= bound * their_loss.item()
    return loss.item(), their_loss.item()


def shifts_without_effect(model):
    """The betas at the ends of blocks, where no nonlinearity follows: in training the next norm takes them out again.

    Their gradients are 0 but for rounding, unless stochastic depth leaves some examples without the shift.
    """
    rates = [getattr(getattr(block, "stochastic_depth", None), "rate", 0.0) for block in model.blocks]
    return [f"blocks.{k}.conv2.norm.beta" for k, rate in enumerate(rates)
            if rate == 0.0 and hasattr(model.blocks[k], "conv2")]


def assert_gradients_agree(model, port, vanishing=()):
    """Every parameter's gradient to BOUND of the port's norm; both have the same parameters.

    vanishing: names of betas whose gradients are 0 but for rounding. These are at most BOUND of the gradient of the
    gamma beside them, which adds up terms of their size.
    """
    ours = {port_name(name): parameter.grad for name, parameter in model.parameters().items()}
    theirs = {name: parameter.grad for name, parameter in port.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name in map(port_name, vanishing):
        size = np.linalg.norm(theirs[name.replace("bias", "weight")])
        assert max(np.linalg.norm(gradients.pop(name)) for gradients in (ours, theirs)) <= BOUND * size, name
    wrong = {name: found for name in ours if not (found := difference(ours[name], theirs[name])) <= BOUND}
    assert not wrong, wrong


def assert_states_agree(model, port, bound):
    """Every parameter and buffer, to `bound` of the port's norm."""
    theirs = port.state_dict()
    wrong = {name: found for name, array in model.state_dict().items()
             if not (found := difference(array, theirs[port_name(name)])) <= bound}
    assert not wrong, wrong


def assert_steps_agree(model, port, images, labels, learning_rate, steps=20):
    """Steps of SGD with Nesterov momentum on one batch; compares to STEPS_BOUND after every step.

    A step adds rounding to the difference that earlier steps left. On one batch and at a small learning rate the steps
    converge; on other images in every step a small network with statistics of few pixels amplifies a difference
    tenfold in each.
    """
    optimizer = nf.optim.SGD(model, lr=learning_rate, clipping=None, weight_decay=0.0)
    port_optimizer = torch.optim.SGD(port.parameters(), learning_rate, momentum=0.9, nesterov=True)
    for _ in range(steps):
        port_optimizer.zero_grad()
        loss_pair(model, port, images, labels, training=True, bound=STEPS_BOUND)
        optimizer.step()
        port_optimizer.step()
        assert_states_agree(model, port, STEPS_BOUND)
