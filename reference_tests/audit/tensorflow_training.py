"""Clipping, SAM, averages and schedules in TensorFlow and Keras; weights are (kh, kw, in, out) and (in, out)."""

import math

import keras
import tensorflow as tf

from reference_tests.audit.registry import planted, right
from reference_tests.verify.test_keras_training import Averages, ClippedSGD, InTwoSteps, SAMModel, clip, gradients_of

# ---- agc


def unit_norm(x):
    if len(tf.squeeze(x).shape) <= 1:
        return tf.norm(x)
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=list(range(len(x.shape) - 1)), keepdims=True))


def by_stored_rank(x):
    axes = list(range(len(x.shape) - 1)) if len(x.shape) > 1 else None
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=axes, keepdims=len(x.shape) > 1))


def of_first_axis(x):
    """The axes of PyTorch's weights."""
    if len(tf.squeeze(x).shape) <= 1:
        return tf.norm(x)
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=list(range(1, len(x.shape))), keepdims=True))


def clipping_function(norm=unit_norm, limit=lambda w, c, e: c * tf.maximum(w, e), is_left=lambda w: False,
                      divisor=lambda g, e: tf.maximum(g, 1e-6)):
    def clip_gradients(parameters, gradients, clip_factor=0.01, eps=1e-3):
        clipped = []
        for w, g in zip(parameters, gradients, strict=True):
            w = tf.convert_to_tensor(w)
            largest, size = limit(norm(w), clip_factor, eps), norm(g)
            clipped.append(g if is_left(w) else tf.where(size > largest, g * largest / divisor(size, eps), g))
        return clipped
    return clip_gradients


ROW, INPUTS = "convolutions by kernel row", "norms over the input axis of linear layers"
VECTOR = {"is_left": lambda w: len(tf.squeeze(w).shape) <= 1}
for causes, switches in (
        (("eps added to the weight norm",), {"limit": lambda w, c, e: c * (w + e)}),
        (("eps left out",), {"limit": lambda w, c, e: c * w}), (("biases and gains not clipped",), VECTOR),
        (("one norm for a whole tensor",), {"norm": tf.norm}),
        (("clipping and eps exchanged",), {"limit": lambda w, c, e: e * tf.maximum(w, c)}),
        (("eps a floor under both norms",), {"divisor": tf.maximum}),
        (("units by the stored rank", "tensors of one stored axis not clipped"),
         {"norm": by_stored_rank, "is_left": lambda w: len(w.shape) <= 1}),
        (("eps added to the weight norm", "one norm for a whole tensor"),
         {"norm": tf.norm, "limit": lambda w, c, e: c * (w + e)}),
        ((ROW, INPUTS, "eps left out"), {"norm": of_first_axis, "limit": lambda w, c, e: c * w})):
    planted("agc", "tensorflow", *causes)(clipping_function(**switches))


@planted("agc", "tensorflow", ROW, INPUTS)
class ClipsByInputs(ClippedSGD):
    def apply(self, grads, trainable_variables=None):
        grads = [clip(grad, variable, self.clip_factor, self.eps, axes=lambda rank: list(range(1, rank)))
                 for grad, variable in zip(grads, trainable_variables, strict=True)]
        return keras.optimizers.SGD.apply(self, grads, trainable_variables)


@planted("agc", "tensorflow", "nothing is clipped")
class OnlyInApplyGradients(ClippedSGD):
    """It clips in a method of its own that no training loop calls."""

    def clipped(self, grads, variables):
        return super().apply(grads, variables)

    def apply(self, grads, trainable_variables=None):
        return keras.optimizers.SGD.apply(self, grads, trainable_variables)


# ---- sam


@right("sam", "tensorflow", "1e-12 added to the norm")
class TrainStep(SAMModel):
    def perturbations(self, gradients):
        norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients])) + 1e-12
        return [gradient / norm * self.rho for gradient in gradients]


@planted("sam", "tensorflow", "1e-12 added to the norm", "norm per tensor", "perturbation not removed")
class PerTensorAndNotRemoved(TrainStep):
    def perturbations(self, gradients):
        return [self.rho * gradient / (tf.norm(gradient) + 1e-12) for gradient in gradients]

    def remove(self, variables, perturbations):
        pass


@planted("sam", "tensorflow", "1e-12 added to the norm", "downhill")
class DownhillModel(TrainStep):
    def perturbations(self, gradients):
        return [-e for e in super().perturbations(gradients)]


@planted("sam", "tensorflow", "no normalization")
class NotNormalized(TrainStep):
    def perturbations(self, gradients):
        return [self.rho * gradient for gradient in gradients]


@planted("sam", "tensorflow", "gradient at w", "1e-12 added to the norm")
class FirstGradient(TrainStep):
    def train_step(self, data):
        variables, gradients = self.trainable_variables, gradients_of(self, data)
        for variable, e in zip(variables, self.perturbations(gradients), strict=True):
            variable.assign_add(e)
        gradients_of(self, data)
        for variable, e in zip(variables, self.perturbations(gradients), strict=True):
            variable.assign_sub(e)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {}


@planted("sam", "tensorflow", "perturbation not removed")
class StaysThere(InTwoSteps):
    def second_step(self, gradients, trainable_variables):
        self.base_optimizer.apply_gradients(zip(gradients, trainable_variables, strict=True))


@planted("sam", "tensorflow", "perturbation removed twice")
class TakesOffTwice(InTwoSteps):
    def second_step(self, gradients, trainable_variables):
        for variable, before in zip(trainable_variables, self.before, strict=True):
            variable.assign_sub(2 * (variable - before))
        self.base_optimizer.apply_gradients(zip(gradients, trainable_variables, strict=True))


# ---- ema


@right("ema", "tensorflow", "warm-up (2 + t)/(11 + t)")
class CountsFromOne(Averages):
    def on_train_batch_end(self, batch, logs=None):
        if not self.updates:
            self.updates = 1
        super().on_train_batch_end(batch, logs)


@planted("ema", "tensorflow", "max in place of min")
class Larger(Averages):
    def decay_now(self):
        return max(self.decay, (1 + self.updates) / (10 + self.updates))


@planted("ema", "tensorflow", "decay not limited")
class Unlimited(Averages):
    def decay_now(self):
        return (1 + self.updates) / (10 + self.updates)


@planted("ema", "tensorflow", "decay and 1 - decay exchanged", "no warm-up")
class ConstantAndExchanged(Averages):
    def decay_now(self):
        return 1 - self.decay


@planted("ema", "tensorflow", "kernels alone averaged, the others copied", "no warm-up")
class OfKernels(Averages):
    def decay_now(self):
        return self.decay

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        for variable in self.model.trainable_variables:
            if "kernel" not in variable.path:
                self.shadow[variable.path] = tf.identity(variable.value)


# ---- schedule


def schedule_class(warm=lambda step, w: step / w, decay=lambda p: 0.5 * (1 + tf.cos(math.pi * p)), counts_warmup=True,
                   end=0.0):
    class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, peak_lr, warmup_steps, total_steps):
            self.peak_lr, self.warmup_steps, self.total_steps = peak_lr, warmup_steps, total_steps

        def __call__(self, step):
            step = tf.cast(step, tf.float32)
            start = self.warmup_steps if counts_warmup else 0
            progress = tf.minimum(1.0, (step - start) / max(1, self.total_steps - start))
            rate = self.peak_lr * (end + (1 - end) * decay(progress))
            return tf.where(step < self.warmup_steps, self.peak_lr * warm(step, max(1, self.warmup_steps)), rate)
    return WarmUp


right("schedule", "tensorflow")(schedule_class())
for causes, switches in (
        (("straight decay",), {"decay": lambda p: 1 - p}), (("ends at 0.1 of the peak",), {"end": 0.1}),
        (("quadratic warm-up",), {"warm": lambda step, w: (step / w) ** 2}),
        (("peak during the warm-up",), {"warm": lambda step, w: 1.0}),
        (("cosine over all steps", "ends at 0.1 of the peak"), {"counts_warmup": False, "end": 0.1}),
        (("straight decay", "peak during the warm-up"), {"decay": lambda p: 1 - p, "warm": lambda step, w: 1.0}),
        (("quadratic warm-up", "quarter of a cosine", "ends at 0.01 of the peak"),
         {"warm": lambda step, w: (step / w) ** 2, "decay": lambda p: tf.cos(math.pi / 2 * p), "end": 0.01})):
    planted("schedule", "tensorflow", *causes)(schedule_class(**switches))
