"""Compare our EfficientNets and DenseNets with Keras's, in float64 with the same random weights.

    KERAS_BACKEND=torch python reference_tests/tools/against_keras.py [NAME ...]

Each line: the largest differences of logits and of gradients, in evaluation and in training mode, as shares as
against_timm_baselines.py has them. Keras's DenseNets are given our epsilon; the last column is the difference of logits
in evaluation with theirs.
"""

import sys

import keras
import numpy as np
import torch
from against_timm_baselines import difference, our_model
from keras.src.backend.common import dtypes

import nfnumpy as nf

THEIRS = {**{f"densenet{k}": f"DenseNet{k}" for k in (121, 169, 201)},
          **{f"efficientnet_b{k}": f"EfficientNetB{k}" for k in range(8)}}
SIDES = (64, 96)  # of the images; Keras's padding is made for these


def random_keras(name):
    """Keras's network without dropout, with random weights and running statistics that keep signals of order one.

    Its images are those that our network gets. Why the weights are as they are: against_timm_baselines.random_timm.
    """
    model = getattr(keras.applications, THEIRS[name])(weights=None, input_shape=(*SIDES, 3), classes=1000,
                                                      classifier_activation=None, include_top=True)
    draws = np.random.default_rng(1)
    ends = {f"{layer.name.removesuffix('_add')}_project_bn/gamma" for layer in model.layers}
    for variable in model.weights:
        numbers = np.asarray(draws.standard_normal(variable.shape))
        if variable.path.startswith("normalization"):
            continue  # mean 0, variance 1
        if variable.path.endswith("moving_variance"):
            numbers = 1 / (0.5 + numbers**2 / 2)
        elif variable.path.endswith("gamma"):
            numbers = (1.0 + 0.2 * numbers) * (0.2 if variable.path in ends else 1.0)
        elif numbers.ndim == 1:
            numbers *= 0.25
        else:
            fan_in = np.prod(numbers.shape[:2]) if "dwconv" in variable.path else np.prod(numbers.shape[:-1])
            numbers *= np.sqrt(2 / fan_in)
        variable.assign(numbers)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def arrays_of(model):
    """path -> array, of all variables."""
    return {variable.path: keras.ops.convert_to_numpy(variable).copy() for variable in model.weights}


def use_our_epsilon(model):
    """Let the normalizations of a DenseNet add what ours add to variances."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-5


def logits_of(model, images, training):
    """Keras's logits of images as our network gets them, a Tensor of torch with its history."""
    has_rescaling = any(type(layer).__name__ == "Rescaling" for layer in model.layers)
    return model(images * 255.0 if has_rescaling else images, training=training)


def compare(name):
    """One line about the network that we call `name`."""
    theirs = random_keras(name)
    state = nf.weights.from_keras(arrays_of(theirs))
    back = nf.weights.to_keras(state)
    assert all(np.array_equal(back[path], array) for path, array in arrays_of(theirs).items()
               if not path.startswith("normalization"))
    ours, draws = our_model(name, state), np.random.default_rng(2)
    images, weights = draws.standard_normal((3, *SIDES, 3)), draws.standard_normal((3, 1000))
    figures, with_their_epsilon = [], []
    if name.startswith("densenet"):
        with nf.no_grad(), torch.no_grad():
            expected = keras.ops.convert_to_numpy(logits_of(theirs, images, False))
            with_their_epsilon = [difference(ours(images).numpy(), expected)]
        use_our_epsilon(theirs)
    for training in (False, True):
        figures += differences(ours, theirs, images, weights, training)
    return f"{name:18} " + "  ".join(f"{figure:.1e}" for figure in figures + with_their_epsilon)


def differences(ours, theirs, images, weights, training):
    """(of logits, the largest of a gradient) in one pass of both."""
    expected = logits_of(theirs, images, training)
    for variable in theirs.trainable_variables:
        variable.value.grad = None
    expected.backward(torch.from_numpy(weights))
    gradients = {variable.path: variable.value.grad.numpy() for variable in theirs.trainable_variables}
    for parameter in ours.parameters().values():
        parameter.grad = None
    logits = ours(images, training=training)
    logits.backward(weights)
    own = nf.weights.to_keras({key: parameter.grad for key, parameter in ours.parameters().items()})
    typical = np.median([np.abs(gradient).max() for gradient in gradients.values()])
    return (difference(logits.numpy(), expected.detach().numpy()),
            max(difference(own[path], gradient, typical) for path, gradient in gradients.items()))


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"  # without TensorFlow, normalizations would compute in float32
    for given in sys.argv[1:] or THEIRS:
        print(compare(given), flush=True)
