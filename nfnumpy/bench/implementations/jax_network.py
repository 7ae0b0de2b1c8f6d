"""Training steps and inference in JAX on the processor: each is one jitted function of its port."""

import functools
import os

import jax
import numpy
from jax import numpy as jnp

from ... import weights
from ...backend import blas_threads
from ...ports import jax as port, jax_optim
from .. import memory
from ..cases.networks import LEARNING_RATE, NetworkCase


class JaxNetwork:
    """The network of a case with the weights in the file `path`, on as many threads as nfnumpy."""

    def __init__(self, case: NetworkCase, path: str) -> None:
        if hasattr(os, "sched_setaffinity"):  # at its first array, JAX starts a thread for every core it may use
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:blas_threads.thread_count()])
        self.before = memory.resident()
        self.params = port.from_state_dict(weights.load(path))
        self.velocity = jax.tree.map(jnp.zeros_like, self.params)
        self.images, self.labels = map(jnp.asarray, case.images_and_labels())
        logits_of = functools.partial(_logits, config=case.config)
        self._infer = jax.jit(logits_of)
        self._step = jax.jit(functools.partial(_step, logits_of), donate_argnums=(0, 1))

    def resident_before(self) -> int | None:
        """Bytes resident before there was a network: the interpreter and the libraries."""
        return self.before

    def training(self) -> float:
        """One step, from uint8 images to new weights; returns its loss."""
        self.params, self.velocity, loss = jax.block_until_ready(
            self._step(self.params, self.velocity, self.images, self.labels))
        return float(loss)

    def inference(self) -> numpy.ndarray:
        """Logits of the images."""
        return numpy.asarray(self._infer(self.params, self.images))


def _logits(params, images, *, config):
    return port.apply(params, port.normalize(images), config)


def _step(logits_of, params, velocity, images, labels):
    """(new parameters, new velocity, loss)."""
    def loss_of(params):
        log_shares = jax.nn.log_softmax(logits_of(params, images))
        return -jnp.take_along_axis(log_shares, labels[:, None], axis=1).mean()

    loss, gradients = jax.value_and_grad(loss_of)(params)
    return *jax_optim.sgd_step(params, gradients, velocity, lr=LEARNING_RATE), loss
