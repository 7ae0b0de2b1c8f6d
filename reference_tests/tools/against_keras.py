"""Compare our EfficientNets and DenseNets with Keras's, in float64 with the same random weights.

    KERAS_BACKEND=torch python reference_tests/tools/against_keras.py [NAME ...]

Each line: the largest difference of logits in evaluation as a share of the largest logit; for DenseNets also with the
running variances changed by 1e-8, which Keras adds to them in addition.
"""

import sys

import keras
import numpy as np
from keras.src.backend.common import dtypes

import nfnumpy as nf

THEIRS = {**{f"densenet{k}": f"DenseNet{k}" for k in (121, 169, 201)},
          **{f"efficientnet_b{k}": f"EfficientNetB{k}" for k in range(8)}}
SIDES = (64, 96)  # of the images; Keras's padding is made for these


def random_keras(name):
    """Keras's network with random weights and running statistics, for the images as our network gets them."""
    model = getattr(keras.applications, THEIRS[name])(weights=None, input_shape=(*SIDES, 3), classes=1000,
                                                      classifier_activation=None, include_top=True)
    draws = np.random.default_rng(1)
    for variable in model.weights:
        numbers = np.asarray(draws.standard_normal(variable.shape))
        if variable.path.startswith("normalization/"):
            continue  # mean 0, variance 1
        if variable.path.endswith("moving_variance"):
            numbers = 0.5 + numbers**2 / 2
        elif variable.path.endswith("gamma"):
            numbers = 1.0 + 0.2 * numbers
        elif numbers.ndim == 1:
            numbers *= 0.5
        else:
            fan_in = np.prod(numbers.shape[:2]) if "dwconv" in variable.path else np.prod(numbers.shape[:-1])
            numbers *= np.sqrt(2 / fan_in)
        variable.assign(numbers)
    return model


def compare(name):
    """One line about the network that we call `name`."""
    theirs = random_keras(name)
    state = nf.weights.from_keras({variable.path: keras.ops.convert_to_numpy(variable) for variable in theirs.weights})
    back = nf.weights.to_keras(state)
    assert all(np.array_equal(back[variable.path], keras.ops.convert_to_numpy(variable)) for variable in theirs.weights
               if not variable.path.startswith("normalization/"))
    images = np.random.default_rng(2).standard_normal((2, *SIDES, 3))
    has_rescaling = any(type(layer).__name__ == "Rescaling" for layer in theirs.layers)
    expected = keras.ops.convert_to_numpy(theirs(images * 255.0 if has_rescaling else images, training=False))
    states = [state]
    if name.startswith("densenet"):
        states.append({key: array + 1e-8 if key.endswith("running_variance") else array
                       for key, array in state.items()})
    figures = []
    for one in states:
        ours = nf.models.create(name, dtype="float64", shapes_only=True)
        ours.load_state_dict(one)
        with nf.no_grad():
            figures.append(np.abs(ours(images).numpy() - expected).max() / np.abs(expected).max())
    return f"{name:18} " + "  ".join(f"{figure:.1e}" for figure in figures)


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"  # without TensorFlow, normalizations would compute in float32
    for given in sys.argv[1:] or THEIRS:
        print(compare(given), flush=True)
