"""Adaptive gradient clipping, the papers' optimizer, SAM, the schedule and the averaged weights in Keras's idiom.

    network = tensorflow.from_config(config)
    model = SAM(network)                                  # or the network itself
    model.compile(optimizer=SGD(WarmupCosine(0.1, 500, 10_000)), loss=…)
    model.fit(images, labels, callbacks=[ExponentialMovingAverage()])

Used by: reference_tests (oracle), verify (positive control). Test: reference_tests/ports/test_tensorflow.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def unitwise_norm(x: tf.Tensor) -> tf.Tensor:
    """The norm of each output unit, the last axis: (1, …, out); vectors and scalars are one unit."""
    if sum(size != 1 for size in x.shape) <= 1:  # not the rank: a weight (1, C) or a gain (1, 1, 1, C) is a vector
        return tf.sqrt(tf.reduce_sum(tf.square(x)))
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=list(range(len(x.shape) - 1)), keepdims=True))


def clip_unit_norms(gradient: tf.Tensor, param: tf.Tensor, clipping: float = 0.01, eps: float = 1e-3) -> tf.Tensor:
    """The gradient of one parameter with each unit shortened to clipping·max(‖W‖, eps). Source: 2102.06171, eq. 3.

    eps is a floor of ‖W‖, so that units that start at 0 can move; 1e-6 only keeps the division finite.
    """
    largest = clipping * tf.maximum(unitwise_norm(param), eps)
    norm = unitwise_norm(gradient)
    return tf.where(norm > largest, gradient * (largest / tf.maximum(norm, 1e-6)), gradient)


def adaptive_gradient_clip(gradients: Sequence[tf.Tensor | None], parameters: Sequence[Any], clipping: float = 0.01,
                           eps: float = 1e-3) -> list[tf.Tensor | None]:
    """The gradients, each clipped by its parameter; None, of a parameter without a gradient, stays."""
    return [None if gradient is None else clip_unit_norms(gradient, tf.convert_to_tensor(param), clipping, eps)
            for gradient, param in zip(gradients, parameters, strict=True)]


class SGD(keras.optimizers.SGD):
    """AGC, then weight decay, then Nesterov momentum, in this order: decay is not clipped. Source: 2102.06171, 4.

    last: the weight of the final linear layer, which is not clipped; is_decayed(variable): whether weight decay
    applies; the papers decay weights, not biases, gains and skip gains: `lambda variable: variable.name == "weight"`.
    Keras's own `weight_decay` would take the decay past the momentum.
    """

    def __init__(self, learning_rate: Any = 0.1, *, clipping: float = 0.01, eps: float = 1e-3,
                 weight_decay: float = 2e-5, momentum: float = 0.9, nesterov: bool = True, last: Any = None,
                 is_decayed: Callable[[Any], bool] = lambda variable: True) -> None:
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov)
        self.clipping, self.eps, self.rate_of_decay = clipping, eps, weight_decay
        self.last, self.is_decayed = last, is_decayed

    def apply(self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Change every variable by its gradient; `apply_gradients` ends here too."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        clipped = adaptive_gradient_clip(grads, variables, self.clipping, self.eps)
        changed = [grad if variable is self.last else shortened
                   for grad, shortened, variable in zip(grads, clipped, variables, strict=True)]
        decayed = [grad if grad is None or not self.is_decayed(variable)
                   else grad + self.rate_of_decay * tf.convert_to_tensor(variable)
                   for grad, variable in zip(changed, variables, strict=True)]
        return super().apply(decayed, trainable_variables)


class SAM(keras.Model):
    """A network whose training step takes the gradient at w + rho·g/‖g‖, with one norm over all parameters.

    The weights return to w bit for bit before the optimizer changes them. Source: Foret et al., 2010.01412.
    """

    def __init__(self, network: keras.Model, rho: float = 0.05, **options: Any) -> None:
        super().__init__(**options)
        self.network, self.rho = network, rho

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """One step on a batch (x, labels)."""
        x, labels = data
        variables = self.trainable_variables

        def passed() -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                predicted = self(x, training=True)
                loss = self.compute_loss(x=x, y=labels, y_pred=predicted)
            return loss, predicted, tape.gradient(loss, [variable.value for variable in variables])

        loss, predicted, gradients = passed()
        norm = tf.linalg.global_norm(gradients)
        scale = tf.math.divide_no_nan(tf.constant(self.rho, norm.dtype), norm)
        before = [tf.convert_to_tensor(variable) for variable in variables]
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_add(gradient * scale)
        gradients = passed()[2]
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        self.optimizer.apply(gradients, variables)
        for metric in self.metrics:
            metric.update_state(*((loss,) if metric.name == "loss" else (labels, predicted)))
        return {metric.name: metric.result() for metric in self.metrics}


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 to `peak` in `warmup_steps`, then along half a cosine to 0 at `total_steps`. Source: 2102.06171, 4."""

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: Any) -> tf.Tensor:
        step = tf.cast(step, keras.config.floatx())
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        decayed = 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(progress, 1.0)))
        return self.peak * tf.where(step < self.warmup_steps, step / max(1, self.warmup_steps), decayed)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


class ExponentialMovingAverage(keras.callbacks.Callback):
    """The average of the weights, changed after every step: d·average + (1 - d)·w, d = min(decay, (1 + t)/(10 + t))."""

    def __init__(self, decay: float = 0.99999) -> None:
        super().__init__()
        self.decay, self.updates = decay, 0
        self.averages: list[tf.Tensor] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """The average starts from the weights."""
        self.averages = [tf.convert_to_tensor(variable) for variable in self.model.trainable_variables]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        self.averages = [decay * average + (1.0 - decay) * tf.convert_to_tensor(variable) for average, variable in zip(
            self.averages, self.model.trainable_variables, strict=True)]
