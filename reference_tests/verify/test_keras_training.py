"""Checking what trains networks of TensorFlow and Keras: clipping, SAM, averages of weights, schedules."""

import functools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import nfnumpy as nf
from nfnumpy.ports import tensorflow_optim
from nfnumpy.verify import CONFORMS, DIVERGES, VARIANT, check

ROOT = Path(__file__).parents[2]


def unitwise_norm(x, axes=None, squeezed=True):
    x = tf.convert_to_tensor(x)
    rank = len(tf.squeeze(x).shape) if squeezed else len(x.shape)
    if rank <= 1:
        return tf.norm(x)
    axes = list(range(len(x.shape) - 1)) if axes is None else axes(len(x.shape))
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=axes, keepdims=True))


def clip(gradient, param, clip_factor=0.01, eps=1e-3, **wrong):
    limit, norm = clip_factor * tf.maximum(unitwise_norm(param, **wrong), eps), unitwise_norm(gradient, **wrong)
    return tf.where(norm > limit, gradient * limit / tf.maximum(norm, 1e-6), gradient)


def adaptive_clip_grad(parameters, gradients, clip_factor=0.01, eps=1e-3):
    return [clip(gradient, param, clip_factor, eps) for param, gradient in zip(parameters, gradients, strict=True)]


def of_pairs(grads_and_vars, clip_factor=0.01, eps=1e-3):
    return [(clip(gradient, variable, clip_factor, eps), variable) for gradient, variable in grads_and_vars]


def of_float32(params, grads, clipping=0.01, eps=1e-3):
    """Its constants take no float64."""
    limits = [tf.maximum(unitwise_norm(param), tf.constant(eps)) * clipping for param in params]
    norms = [unitwise_norm(grad) for grad in grads]
    return [tf.where(norm > limit, grad * (limit / tf.maximum(norm, 1e-6)), grad)
            for grad, norm, limit in zip(grads, norms, limits, strict=True)]


class Transformer:
    """Called as the gradient transformers of Keras's optimizers were."""

    def __init__(self, clip_factor=0.01, eps=1e-3):
        self.clip_factor, self.eps = clip_factor, eps

    def __call__(self, grads_and_vars):
        return of_pairs(grads_and_vars, self.clip_factor, self.eps)


class ClippedSGD(keras.optimizers.SGD):
    def __init__(self, *arguments, clip_factor=0.01, eps=1e-3, **options):
        super().__init__(*arguments, **options)
        self.clip_factor, self.eps = clip_factor, eps

    def apply(self, grads, trainable_variables=None):
        return super().apply(adaptive_clip_grad(trainable_variables, grads, self.clip_factor, self.eps),
                             trainable_variables)


class Wrapper:
    """Around an optimizer."""

    def __init__(self, optimizer, clip_factor=0.01, eps=1e-3):
        self.optimizer, self.clip_factor, self.eps = optimizer, clip_factor, eps

    def apply_gradients(self, grads_and_vars):
        self.optimizer.apply_gradients(of_pairs(grads_and_vars, self.clip_factor, self.eps))


class ClipsOnce(Wrapper):
    """From the second step on, it clips nothing."""

    def apply_gradients(self, grads_and_vars):
        pairs = of_pairs(grads_and_vars, self.clip_factor, self.eps) if self.eps else list(grads_and_vars)
        self.eps = None
        self.optimizer.apply_gradients(pairs)


def gradients_of(network, data):
    images, labels = data
    with tf.GradientTape() as tape:
        loss = network.compute_loss(y=labels, y_pred=network(images, training=True))
    return tape.gradient(loss, network.trainable_variables)


class ClippingModel(keras.Model):
    """A network whose training step clips all but the last layer's weight; it is built from layers."""

    def __init__(self, *arguments, clip_factor=0.01, eps=1e-3, **options):
        super().__init__(*arguments, **options)
        self.clip_factor, self.eps = clip_factor, eps

    def is_spared(self, variable):
        return variable.path.endswith("fc/kernel")

    def train_step(self, data):
        variables, gradients = self.trainable_variables, gradients_of(self, data)
        clipped = adaptive_clip_grad(variables, gradients, self.clip_factor, self.eps)
        self.optimizer.apply_gradients([(whole if self.is_spared(variable) else short, variable) for whole, short,
                                        variable in zip(gradients, clipped, variables, strict=True)])
        return {}


class ClipsTheLastLayer(ClippingModel):
    """Around a network."""

    def __init__(self, inner_model, clip_factor=0.01, eps=1e-3):
        super().__init__(clip_factor=clip_factor, eps=eps)
        self.inner_model = inner_model

    def is_spared(self, variable):
        return False

    def call(self, x, training=False):
        return self.inner_model(x, training=training)


class SAMModel(keras.Model):
    """Around a network; the norm is added to."""

    def __init__(self, resnet_model, rho=0.05):
        super().__init__()
        self.resnet_model, self.rho = resnet_model, rho

    def call(self, x, training=False):
        return self.resnet_model(x, training=training)

    def perturbations(self, gradients):
        return [self.rho * gradient / (tf.linalg.global_norm(gradients) + 1e-12) for gradient in gradients]

    def train_step(self, data):
        variables = self.trainable_variables
        perturbations = self.perturbations(gradients_of(self, data))
        for variable, perturbation in zip(variables, perturbations, strict=True):
            variable.assign_add(perturbation)
        gradients = gradients_of(self, data)
        self.remove(variables, perturbations)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {}

    def remove(self, variables, perturbations):
        for variable, perturbation in zip(variables, perturbations, strict=True):
            variable.assign_sub(perturbation)


class NotRemoved(SAMModel):
    def remove(self, variables, perturbations):
        pass


class PerTensor(SAMModel):
    def perturbations(self, gradients):
        return [self.rho * gradient / (tf.norm(gradient) + 1e-12) for gradient in gradients]


class InTwoSteps:
    """Around an optimizer; the training loop computes the gradients."""

    sign = 1.0

    def __init__(self, base_optimizer, rho=0.05):
        self.base_optimizer, self.rho = base_optimizer, rho

    def first_step(self, gradients, trainable_variables):
        norm = tf.linalg.global_norm(gradients)
        self.before = [tf.convert_to_tensor(variable) for variable in trainable_variables]
        for variable, gradient in zip(trainable_variables, gradients, strict=True):
            variable.assign_add(self.sign * gradient * tf.math.divide_no_nan(tf.constant(self.rho, norm.dtype), norm))

    def second_step(self, gradients, trainable_variables):
        for variable, value in zip(trainable_variables, self.before, strict=True):
            variable.assign(value)
        self.base_optimizer.apply_gradients(zip(gradients, trainable_variables, strict=True))


class Downhill(InTwoSteps):
    sign = -1.0


def sam_train_step(self, data, rho=0.05):
    """In the place of a network's training step."""
    sam = InTwoSteps(self.optimizer, rho)
    sam.first_step(gradients_of(self, data), self.trainable_variables)
    sam.second_step(gradients_of(self, data), self.trainable_variables)
    return {}


class Averages(keras.callbacks.Callback):
    """The averages are in a dict."""

    def __init__(self, decay=0.9999):
        super().__init__()
        self.decay, self.updates = decay, 0

    def decay_now(self):
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    def set_model(self, model):
        super().set_model(model)
        self.shadow = {variable.path: tf.identity(variable.value) for variable in model.trainable_variables}

    def on_train_batch_end(self, batch, logs=None):
        decay = self.decay_now()
        self.updates += 1
        for variable in self.model.trainable_variables:
            self.shadow[variable.path] = decay * self.shadow[variable.path] + (1 - decay) * variable.value


class WithoutWarmup(Averages):
    def decay_now(self):
        return self.decay


class Exchanged(Averages):
    def decay_now(self):
        return 1.0 - super().decay_now()


class AroundAModel:
    def __init__(self, model, decay=0.999):
        self.model, self.decay, self.steps = model, decay, 0
        self.ema = [tf.Variable(variable) for variable in model.trainable_variables]

    def update(self):
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for average, variable in zip(self.ema, self.model.trainable_variables, strict=True):
            average.assign(decay * average + (1 - decay) * variable.value)


class Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """In float32."""

    counts_from_0 = False

    def __init__(self, base_lr, warmup_steps, total_steps):
        self.base_lr, self.warmup_steps, self.total_steps = base_lr, warmup_steps, total_steps

    def __call__(self, step):
        step, start = tf.cast(step, tf.float32), 0 if self.counts_from_0 else self.warmup_steps
        cosine = 0.5 * self.base_lr * (1.0 + tf.cos(math.pi * (step - start) / max(1, self.total_steps - start)))
        return tf.where(step < self.warmup_steps, self.base_lr * step / max(1, self.warmup_steps), cosine)


class OverAllSteps(Cosine):
    counts_from_0 = True


def schedule(step, peak, warmup_steps, total_steps):
    return tf.cond(step < warmup_steps, lambda: peak * step / max(1, warmup_steps), lambda: 0.5 * peak * (
        1.0 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))))


PORT = (("agc", tensorflow_optim.SGD), ("agc", tensorflow_optim.adaptive_gradient_clip),
        ("agc", tensorflow_optim.clip_unit_norms), ("sam", tensorflow_optim.SAM),
        ("ema", tensorflow_optim.ExponentialMovingAverage), ("schedule", tensorflow_optim.WarmupCosine))


@pytest.mark.parametrize("kind, target", [
    *PORT, ("agc", clip), ("agc", adaptive_clip_grad), ("agc", of_pairs), ("agc", of_float32), ("agc", Transformer),
    ("agc", ClippedSGD), ("agc", Wrapper), ("agc", ClippingModel), ("sam", InTwoSteps), ("sam", sam_train_step),
    ("ema", Averages), ("ema", AroundAModel), ("schedule", Cosine), ("schedule", schedule)],
    ids=lambda value: getattr(value, "__name__", None))
def test_right_ones_conform(kind, target):
    verdict = check(kind, target, examples=0)
    assert verdict.outcome == CONFORMS, str(verdict)
    assert verdict.precision == ("float32" if target in (of_float32, Cosine) else "float64")


def wrong(**mistake):
    def function(parameters, gradients, clip_factor=0.01, eps=1e-3):
        return [clip(gradient, param, clip_factor, eps, **mistake)
                for param, gradient in zip(parameters, gradients, strict=True)]
    return function


def clips_nothing_small(grads_and_vars, clip_factor=0.01, eps=1e-3):
    return [(clip(gradient, variable, clip_factor, eps) if len(variable.shape) > 1 else gradient, variable)
            for gradient, variable in grads_and_vars]


@pytest.mark.parametrize("kind, target, names", [
    ("agc", wrong(axes=lambda rank: list(range(1, rank))),
     {"convolutions by kernel row", "norms over the input axis of linear layers"}),
    ("agc", wrong(squeezed=False), {"units by the stored rank"}),
    ("agc", wrong(axes=lambda rank: list(range(rank))), {"one norm for a whole tensor"}),
    ("agc", ClipsTheLastLayer, {"last layer clipped"}), ("agc", ClipsOnce, {"only the first step clips"}),
    ("agc", functools.partial(clip, axes=lambda rank: [rank - 1]), {"norms along the output axis"}),
    ("sam", NotRemoved, {"perturbation not removed", "1e-12 added to the norm"}),
    ("sam", PerTensor, {"norm per tensor", "1e-12 added to the norm"}), ("sam", Downhill, {"downhill"}),
    ("ema", WithoutWarmup, {"no warm-up"}), ("ema", Exchanged, {"decay and 1 - decay exchanged"}),
    ("ema", tf.train.ExponentialMovingAverage, {"no warm-up"}), ("schedule", OverAllSteps, {"cosine over all steps"})],
    ids=lambda value: getattr(value, "__name__", None))
def test_mistakes_are_named(kind, target, names):
    verdict = check(kind, target, examples=0)
    assert verdict.outcome == DIVERGES and set(verdict.diagnosis) == names, str(verdict)


def test_a_function_that_takes_no_missing_gradient_is_told_beside_the_verdict():
    verdict = check("agc", adaptive_clip_grad, examples=0)
    assert any(note.startswith("not checked beside a parameter without a gradient: ") for note in verdict.notes)
    assert not any("not checked" in note for note in check("agc", tensorflow_optim.SGD, examples=0).notes)


def test_a_norm_that_is_added_to_is_a_variant():
    verdict = check("sam", SAMModel, examples=0)
    assert verdict.outcome == VARIANT and verdict.diagnosis == ("1e-12 added to the norm",)


def test_a_network_knows_its_last_layer_and_an_optimizer_does_not():
    for target, note in ((ClippingModel, True), (ClippedSGD, False)):
        verdict = check("agc", target, examples=0)
        assert any("the last layer is called 'fc'" in line for line in verdict.notes) == note


@pytest.mark.parametrize("kind, target, text", [
    ("agc", keras.layers.Dense, "agc: "), ("sam", keras.layers.Dense, "sam: "), ("ema", keras.layers.Dense, "ema: "),
    ("agc", lambda parameters, gradients: None, "agc: ")])
def test_what_cannot_be_run_is_one_line(kind, target, text):
    with pytest.raises(nf.InputError) as error:
        check(kind, target, framework="keras", examples=0)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_the_weights_of_a_network_are_given_and_its_gradients_are_what_is_asked():
    from nfnumpy.verify.frameworks import framework_of
    framework = framework_of(keras.Model)
    arrays = {"conv.kernel": np.ones((1, 1, 2, 3)), "conv.gain": np.full(3, 2.0), "fc.kernel": np.ones((3, 2))}
    network, weights = framework.network_of(arrays, framework.product_with(list(arrays.values())))
    assert [variable.path.split("/")[-2:] for variable in network.trainable_variables] == [
        name.split(".") for name in arrays]
    framework.train_step(network, framework.sgd([], lr=0.5))
    assert all(np.array_equal(framework.host(variable), 0.5 * arrays[name])
               for name, variable in weights.variables.items())


def test_a_training_step_on_jax_takes_and_returns_all_variables():
    """In a process of its own, because one has one backend."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    child = subprocess.run([sys.executable, "-m", "reference_tests.helpers.keras_jax_training"], env=environment,
                           cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1]) == [CONFORMS, []]
