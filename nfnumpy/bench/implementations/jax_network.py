"""JAX's side on the processor: the NFNet of models/nfnet.py as one jitted function, and AGC with SGD as another."""

import functools
import os

import jax
import numpy
from jax import lax
from jax import numpy as jnp

from ... import weights
from ...backend import blas_threads
from ...datasets.preprocessing import MEAN, STANDARD_DEVIATION
from ...functional.activations import GAMMA
from ...models.base import block_schedule
from ...optim.sgd import is_clipped, is_decayed
from ..problem import LEARNING_RATE
from . import memory

FUNCTIONS = {"gelu": functools.partial(jax.nn.gelu, approximate=True), "relu": jax.nn.relu, "silu": jax.nn.silu}


class JaxNetwork:
    """A Problem's NFNet with the weights in the file `path`, whose arrays lie as ours do."""

    def __init__(self, problem, path):
        if hasattr(os, "sched_setaffinity"):  # JAX starts a thread for every core that it may use, at its first array
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:blas_threads.thread_count()])
        self.before = memory.resident()
        self.parameters = {name: jnp.asarray(array) for name, array in weights.load(path).items()}
        self.velocity = jax.tree.map(jnp.zeros_like, self.parameters)
        self.images, self.labels = map(jnp.asarray, problem.images_and_labels())
        forward = functools.partial(logits_of, config=problem.config)
        self._infer = jax.jit(forward)
        self._step = jax.jit(functools.partial(step, forward), donate_argnums=(0, 1))

    def resident_before(self):
        """Bytes resident before there was a network: the interpreter and the libraries."""
        return self.before

    def training(self):
        """One step, from uint8 images to new weights; returns its loss."""
        self.parameters, self.velocity, loss = jax.block_until_ready(
            self._step(self.parameters, self.velocity, self.images, self.labels))
        return float(loss)

    def inference(self):
        """Logits of the images, an array."""
        return numpy.asarray(self._infer(self.parameters, self.images))


def convolve(parameters, name, x, stride=1, groups=1):
    """TensorFlow's SAME convolution with a standardized weight."""
    weight = parameters[f"{name}.weight"]
    axes, fan_in = (0, 1, 2), weight[..., 0].size
    scale = lax.rsqrt(jnp.maximum(fan_in * jnp.var(weight, axis=axes), 1e-4)) * parameters[f"{name}.gain"]
    weight = (weight - jnp.mean(weight, axis=axes)) * scale
    return lax.conv_general_dilated(x, weight, (stride, stride), "SAME", feature_group_count=groups,
                                    dimension_numbers=("NHWC", "HWIO", "NHWC")) + parameters[f"{name}.bias"]


def halved(x):
    """The mean of every 2×2 pixels, of what is there at odd edges."""
    total, count = (lax.reduce_window(values, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
                    for values in (x, jnp.ones((1, *x.shape[1:3], 1), x.dtype)))
    return total / count


def squeeze_excite(parameters, name, x):
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image))))."""
    hidden = jax.nn.relu(x.mean((1, 2)) @ parameters[f"{name}.fc0.weight"] + parameters[f"{name}.fc0.bias"])
    gate = hidden @ parameters[f"{name}.fc1.weight"] + parameters[f"{name}.fc1.bias"]
    return x * (2.0 * jax.nn.sigmoid(gate))[:, None, None, :]


def logits_of(parameters, images, *, config):
    """uint8 images (N, H, W, 3) in, logits out. Nothing is dropped."""
    def activation(x, scale=1.0):
        return FUNCTIONS[config.activation](x) * (GAMMA[config.activation] * scale)

    x = (images.astype(jnp.float32) * (1.0 / 255.0) - jnp.array(MEAN)) / jnp.array(STANDARD_DEVIATION)
    for k, stride in enumerate(config.stem_strides):
        x = convolve(parameters, f"stem_convs.{k}", activation(x) if k else x, stride)
    for index, (stage, position, beta, _) in enumerate(block_schedule(config.depths, config.alpha, 0.0)):
        name, stride = f"blocks.{index}", config.strides[stage] if position == 0 else 1
        groups = int(config.widths[stage] * config.expansion) // config.group_size
        out, shortcut = activation(x, beta), x
        if f"{name}.conv_shortcut.weight" in parameters:
            shortcut = convolve(parameters, f"{name}.conv_shortcut", halved(out) if stride > 1 else out)
        out = activation(convolve(parameters, f"{name}.conv0", out))
        out = activation(convolve(parameters, f"{name}.conv1", out, stride, groups))
        out = activation(convolve(parameters, f"{name}.conv1b", out, 1, groups))
        out = squeeze_excite(parameters, f"{name}.squeeze_excite", convolve(parameters, f"{name}.conv2", out))
        x = shortcut + out * (config.alpha * parameters[f"{name}.skip_gain"])
    features = activation(convolve(parameters, "final_conv", x)).mean((1, 2))
    return features @ parameters["linear.weight"] + parameters["linear.bias"]


def step(forward, parameters, velocity, images, labels, clipping=0.01, weight_decay=2e-5, momentum=0.9):
    """(new parameters, new velocity, loss): AGC, decay, Nesterov momentum."""
    def loss_of(parameters):
        return -jnp.take_along_axis(jax.nn.log_softmax(forward(parameters, images)), labels[:, None], axis=1).mean()

    loss, gradients = jax.value_and_grad(loss_of)(parameters)
    new_parameters, new_velocity = {}, {}
    for name, parameter in parameters.items():
        gradient = gradients[name]
        if is_clipped(name):
            largest = clipping * jnp.maximum(unitwise_norm(parameter), 1e-3)
            gradient = gradient * jnp.minimum(1.0, largest / jnp.maximum(unitwise_norm(gradient), 1e-6))
        gradient = gradient + weight_decay * parameter if is_decayed(name) else gradient
        new_velocity[name] = momentum * velocity[name] + gradient
        new_parameters[name] = parameter - LEARNING_RATE * (gradient + momentum * new_velocity[name])
    return new_parameters, new_velocity, loss


def unitwise_norm(x):
    """‖x‖ of every output unit, which is the last axis; vectors and scalars are one unit."""
    return jnp.sqrt(jnp.sum(x * x, axis=None if x.ndim <= 1 else tuple(range(x.ndim - 1)), keepdims=True))
