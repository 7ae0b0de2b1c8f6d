"""A network of Keras on JAX whose training step, a function of the values of all variables, is sharpness-aware.

`python -m reference_tests.helpers.keras_jax_training` checks it and prints [outcome, diagnosis] as JSON.
"""

import json

import jax
import keras
from jax import numpy as jnp

from nfnumpy.verify import check


class SharpnessAware(keras.Model):
    """Around another network."""

    def __init__(self, model, rho=0.05):
        super().__init__()
        self.model, self.rho = model, rho

    def call(self, x, training=False):
        return self.model(x, training=training)

    def train_step(self, state, data):
        trainable, others, of_optimizer, of_metrics = state
        images, labels = data

        def loss(weights):
            output, _ = self.stateless_call(weights, others, images, training=True)
            return self.compute_loss(images, labels, output)

        first = jax.grad(loss)(trainable)
        factor = self.rho / (jnp.sqrt(sum(jnp.sum(gradient * gradient) for gradient in first)) + 1e-12)
        second = jax.grad(loss)([weight + factor * gradient for weight, gradient in zip(trainable, first, strict=True)])
        trainable, of_optimizer = self.optimizer.stateless_apply(of_optimizer, second, trainable)
        return {}, (trainable, others, of_optimizer, of_metrics)


if __name__ == "__main__":
    verdict = check("sam", SharpnessAware, framework="keras", examples=0)
    print(json.dumps([verdict.outcome, verdict.diagnosis]))
