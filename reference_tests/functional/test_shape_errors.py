"""Shapes that do not belong together are one line that names them, where NumPy would repeat or sum without a word."""

import numpy as np
import pytest

from nfnumpy import InputError, ops


def zeros(*shape):
    return np.zeros(shape)


WRONG = {
    "linear with a bias of one": (ops.linear, [zeros(2, 3), zeros(3, 4), zeros(1)], {}, r"bias of shape \(4,\)"),
    "linear with another fan-in": (ops.linear, [zeros(2, 3), zeros(4, 4), None], {}, r"\(2, 3\) and \(4, 4\)"),
    "conv2d with a bias of one": (ops.conv2d, [zeros(1, 2, 2, 3), zeros(1, 1, 3, 4), zeros(1)], {}, r"\(4,\)"),
    "matmul of another vector": (ops.matmul, [zeros(2), zeros(3, 2)], {}, r"\(2,\) and \(3, 2\)"),
    "matmul with another inner size": (ops.matmul, [zeros(2, 3), zeros(2, 3)], {}, r"\(2, 3\) and \(2, 3\)"),
    "average pool of padding alone": (ops.avg_pool, [zeros(1, 4, 4, 1)], {"window": 2, "padding": 2}, "no pixel"),
    "conv2d of a number": (ops.conv2d, [zeros(), zeros(1, 1, 3, 4), None], {}, r"\(N, H, W, in\)"),
    "nonlinearity unheard of": (ops.scaled_nonlinearity, [zeros(2)], {"name": "foo", "scale": 1.0}, "'foo'.*relu"),
    "average pool of three axes": (ops.avg_pool, [zeros(4, 4, 1)], {"window": 2}, r"\(N, H, W, C\)"),
    "global mean of two axes": (ops.global_mean, [zeros(4, 4)], {}, r"\(N, H, W, C\)"),
    "one gain for all units": (ops.standardize_weight, [zeros(3, 4), zeros(1)], {}, r"gain \(out,\)"),
    "a gain per input": (ops.standardize_weight, [zeros(3, 4), zeros(3)], {}, r"\(3, 4\) and \(3,\)"),
    "a gamma of one": (ops.batch_norm, [zeros(2, 3), zeros(1), zeros(3)], {"eps": 1e-5}, r"gamma \(1,\)"),
    "a running mean of another layer": (ops.normalize, [zeros(2, 3), zeros(3), zeros(3), zeros(4), zeros(3)],
                                        {"eps": 1e-5}, r"mean \(4,\)"),
    "a mean without a variance": (ops.batch_norm, [zeros(2, 3), zeros(3), zeros(3), zeros(3)], {"eps": 1e-5},
                                  "neither"),
    "groups that do not divide": (ops.group_norm, [zeros(2, 4), zeros(4), zeros(4)], {"groups": 3}, "groups=3"),
    "an image of no pixels": (ops.instance_norm, [zeros(2, 0, 4), zeros(4), zeros(4)], {}, "at least one value"),
    "layers over the batch": (ops.layer_norm, [zeros(2, 4), zeros(4), zeros(4)], {"over": "batch"}, "image or chan"),
    "two kinds to mix": (ops.switchable_norm, [zeros(2, 4), zeros(4), zeros(4), zeros(2), zeros(3)], {}, r"\(3,\)"),
    "a vector of weights": (ops.plain_standardize_weight, [zeros(4)], {}, r"\(…, out\)"),
    "squeeze_excite of a vector": (ops.squeeze_excite, [zeros(2, 3), zeros(3, 2), zeros(2), zeros(2, 3), zeros(3)],
                                   {}, r"\(N, H, W, C\)"),
    "squeeze_excite with a gate of one channel": (
        ops.squeeze_excite, [zeros(1, 2, 2, 3), zeros(3, 2), zeros(2), zeros(2, 1), zeros(1)], {}, r"\(hidden, C\)"),
    "a residual of another batch": (ops.skip_init, [zeros(1, 2), zeros(3, 2), zeros()], {"alpha": 0.2}, "one shape"),
    "a skip gain per channel": (ops.skip_init, [zeros(3, 2), zeros(3, 2), zeros(2)], {"alpha": 0.2}, r"skip_gain \(\)"),
    "a dropout mask per example": (ops.dropout, [zeros(3, 2), zeros(3, 1)], {"rate": 0.5}, r"mask of shape \(3, 2\)"),
    "a stochastic depth mask per value": (ops.stochastic_depth, [zeros(3, 2), zeros(3, 2)], {"rate": 0.5},
                                          r"mask of shape \(3, 1\)"),
    "a drop rate of one": (ops.dropout, [zeros(3), zeros(3)], {"rate": 1.0}, "drop rate"),
    "glu of an odd axis": (ops.glu, [zeros(2, 3)], {}, r"even size, got shape \(2, 3\)"),
    "labels beyond the classes": (ops.softmax_cross_entropy, [zeros(2, 3), np.array([0, 3])], {}, "0 to 2, got 0 … 3"),
    "labels of another batch": (ops.softmax_cross_entropy, [zeros(2, 3), np.array([0])], {}, "2 whole numbers"),
    "label smoothing beyond one": (ops.sigmoid_cross_entropy, [zeros(2, 3), np.array([0, 1])],
                                   {"label_smoothing": 1.5}, "label_smoothing"),
    "logits of an empty batch": (ops.softmax_cross_entropy, [zeros(0, 3), np.zeros(0, dtype=int)], {}, "at least one"),
}


@pytest.mark.parametrize("what", WRONG)
def test_is_an_input_error_that_names_what_was_given(what):
    operation, inputs, options, message = WRONG[what]
    with pytest.raises(InputError, match=message) as raised:
        operation(*inputs, **options)
    assert "\n" not in str(raised.value)
