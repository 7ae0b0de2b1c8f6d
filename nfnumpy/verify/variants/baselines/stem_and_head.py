"""Known variants of what stands before the first block and after the last."""

import dataclasses

from .... import nn, ops
from .changes import overriding, variant


def _stem(operation):
    def change(model):
        original = type(model).stem
        overriding(model, stem=lambda self, x, mode=nn.EVALUATION: operation(self, original, x, mode))
    return change


def _stem_pool(pool):
    def stem(model, original, x, mode):
        config = model.config
        model.config = dataclasses.replace(config, stem_pool=False)
        try:
            return pool(original(model, x, mode))
        finally:
            model.config = config
    return _stem(stem)


def _head(operation):
    def change(model):
        overriding(model, head=lambda self, x, mode=nn.EVALUATION: operation(self, x, mode))
    return change


def _unactivated(model, original, x, mode):
    activation = model.activation
    model.activation = lambda x: x
    try:
        return original(model, x, mode)
    finally:
        model.activation = activation


STEM = (variant("no nonlinearity in the stem", "stem", _stem(_unactivated), "Nothing acts after the stem's "
                "convolutions."),)
STEM_POOL = (
    variant("stem's pool pads SAME", "stem_pool", _stem_pool(
        lambda x: ops.max_pool(x, window=3, stride=2, padding="SAME")), "The stem's max pool pads as TensorFlow does; "
        "here it pads one pixel on every side.", benign=True),
    variant("stem's pool missing", "stem_pool", _stem_pool(lambda x: x), "The stem has no max pool."),
    variant("stem's pool averages", "stem_pool", _stem_pool(lambda x: ops.avg_pool(x, window=3, stride=2, padding=1)),
            "The stem's pool takes the mean; it should be the maximum."))
HEADS = (
    variant("head takes the maximum", "pooled", lambda x: ops.max(ops.max(x, axis=1), axis=1), "The features' maximum "
            "over the image is taken; it should be their mean."),
    variant("head takes the sum", "pooled", lambda x: ops.sum(x, axis=(1, 2)), "The features are added up over the "
            "image and not averaged."),
    variant("bias of the head missing", "head_bias", False, "The last linear layer has no bias."))
FINAL_NORM = (
    variant("final nonlinearity missing", "head", _head(lambda model, x, mode: model.final_norm(x, mode)), "No "
            "nonlinearity follows the last normalization."),
    variant("final normalization missing", "head", _head(lambda model, x, mode: model.activation(x)), "Nothing "
            "normalizes before the last nonlinearity."))
FINAL_CONV = (
    variant("final nonlinearity missing", "head", _head(lambda model, x, mode: model.final_conv(x, mode)), "No "
            "nonlinearity follows the final convolution."),)
FINAL_ACTIVATION = (
    variant("final nonlinearity missing", "head", _head(lambda model, x, mode: x), "Nothing acts on the last block's "
            "output before the mean."),)
