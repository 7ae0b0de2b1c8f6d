"""Adaptive gradient clipping and the papers' optimizer in JAX's idiom: pure functions of trees, for `ports.jax`.

    velocity = jax.tree.map(jnp.zeros_like, params)
    loss, gradients = jax.value_and_grad(loss_of)(params)
    params, velocity = sgd_step(params, gradients, velocity, lr=0.1)

Used by: reference_tests (oracle), bench (opponent). Test: reference_tests/ports/test_jax.py.
"""

import functools
from typing import Any

import jax
from jax import numpy as jnp

from .jax import Params, named_leaves


def unitwise_norm(x: jax.Array) -> jax.Array:
    """The norm of each output unit, the last axis: (1, …, out); vectors and scalars are one unit, ()."""
    if sum(size != 1 for size in x.shape) <= 1:
        return jnp.sqrt(jnp.sum(x * x))
    return jnp.sqrt(jnp.sum(x * x, axis=tuple(range(x.ndim - 1)), keepdims=True))


def is_clipped(name: str) -> bool:
    """Whether AGC applies: to all parameters but the weight of the final linear layer. Source: 2102.06171, 4.1."""
    return name != "linear.weight"


def is_decayed(name: str) -> bool:
    """Whether weight decay applies: to weights, not to biases, gains and skip gains."""
    return name.rpartition(".")[2] == "weight"


def tree_of(predicate: Any, params: Params) -> Params:
    """A tree of booleans like `params`: predicate(name) of every parameter; what optax calls a mask."""
    return jax.tree.unflatten(jax.tree.structure(params), [predicate(name) for name, _ in named_leaves(params)])


def clip_unit_norms(gradient: jax.Array, param: jax.Array, clipping: float = 0.01, eps: float = 1e-3) -> jax.Array:
    """The gradient of one parameter with each unit shortened to clipping·max(‖W‖, eps). Source: 2102.06171, eq. 3.

    eps is a floor of ‖W‖, so that units that start at 0 can move; 1e-6 only keeps the division finite.
    """
    largest = clipping * jnp.maximum(unitwise_norm(param), eps)
    norm = unitwise_norm(gradient)
    return gradient * jnp.where(norm > largest, largest / jnp.maximum(norm, 1e-6), 1.0)


def adaptive_gradient_clip(gradients: Params, params: Params, clipping: float = 0.01, eps: float = 1e-3) -> Params:
    """The tree of gradients, clipped where `is_clipped`."""
    clip = functools.partial(clip_unit_norms, clipping=clipping, eps=eps)
    return jax.tree.map(lambda gradient, param, clipped: clip(gradient, param) if clipped else gradient,
                        gradients, params, tree_of(is_clipped, params))


def sgd_step(params: Params, gradients: Params, velocity: Params, *, lr: float, clipping: float = 0.01,
             eps: float = 1e-3, weight_decay: float = 2e-5, momentum: float = 0.9) -> tuple[Params, Params]:
    """(new params, new velocity): AGC, then weight decay, then Nesterov momentum, so that decay is not clipped.

    Source: 2102.06171, section 4.
    """
    gradients = adaptive_gradient_clip(gradients, params, clipping, eps)
    gradients = jax.tree.map(lambda gradient, param, decayed: gradient + weight_decay * param if decayed else gradient,
                             gradients, params, tree_of(is_decayed, params))
    velocity = jax.tree.map(lambda v, gradient: momentum * v + gradient, velocity, gradients)
    steps = jax.tree.map(lambda gradient, v: gradient + momentum * v, gradients, velocity)
    return jax.tree.map(lambda param, step: param - lr * step, params, steps), velocity
