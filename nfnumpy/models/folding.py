"""A network for evaluation alone, whose convolutions have taken in what is constant there; its logits are the same.

Batch normalization in evaluation is gamma·(x - mean)/√(variance + eps) + beta with fixed numbers. After a convolution,
both together are one convolution with a bias (Jacob et al., 2017, arXiv 1712.05877, section 3.2):
    s = gamma/√(variance + eps),    weight' = s·weight,    bias' = beta + s·(bias - mean).
A weight that is standardized in every pass is standardized once. Used by: training/classifier.py.
Test: reference_tests/models/test_folding.py.
"""

import copy
from typing import Any

from ..autograd import Tensor, no_grad
from ..backend import namespace
from ..nn import BatchNorm, Conv2D, Module, NoNorm, WSConv2D
from .base import ImageClassifier


def folded(model: ImageClassifier) -> ImageClassifier:
    """A network that computes in evaluation what `model` computes, with fewer operations; `model` stays as it is.

    It has the same interface, but other parameters: a convolution with a batch normalization after it becomes one with
    a bias, a convolution whose weight is standardized becomes one with the standardized weight. Everything else, such
    as a normalization before a nonlinearity, or one by moments of the images, is shared with `model`. Logits agree up
    to the rounding of weights, and are equal bit for bit where there is no batch normalization. Passes in training mode
    are an InputError.
    """
    with no_grad():
        result: ImageClassifier = _copied(model, {})
        for module in list(result.modules()):
            for conv, norm in module.FOLDABLE:
                _fold(module, conv, norm)
    result.is_folded = True
    return result


def _copied(value: Any, seen: dict[int, Any]) -> Any:
    """A copy of the tree of modules, lists, tuples and dicts; arrays are shared, weights standardized."""
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, WSConv2D):
        result: Any = _standardized(value)
    elif isinstance(value, Module):
        result = copy.copy(value)
        seen[id(value)] = result
        vars(result).update({name: _copied(part, seen) for name, part in vars(value).items()})
    elif type(value) in (list, tuple):
        result = type(value)(_copied(part, seen) for part in value)
    elif type(value) is dict:
        result = {name: _copied(part, seen) for name, part in value.items()}
    else:
        return value
    seen[id(value)] = result
    return result


def _standardized(conv: WSConv2D) -> Conv2D:
    """The convolution with the weight that `conv` convolves with."""
    result = Conv2D.__new__(Conv2D)
    vars(result).update({name: part for name, part in vars(conv).items() if name not in ("gain", "eps")})
    result.weight = Tensor(conv.kernel().data)
    return result


def _fold(module: Module, conv_name: str, norm_name: str) -> None:
    """Make the two attributes of `module` one convolution and nothing, where the second is a batch normalization."""
    conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
    if not isinstance(conv, Conv2D) or not isinstance(norm, BatchNorm):
        return
    xp = namespace(conv.weight.data)
    mean, variance, gamma, beta = (xp.astype(array, xp.float64) for array in (
        norm.running_mean, norm.running_variance, norm.gamma.data, norm.beta.data))
    scale = gamma / xp.sqrt(variance + norm.convention.eps)
    bias = 0.0 if conv.bias is None else xp.astype(conv.bias.data, xp.float64)
    dtype = conv.weight.data.dtype
    conv.weight = Tensor(xp.astype(xp.astype(conv.weight.data, xp.float64) * scale, dtype))
    conv.bias = Tensor(xp.astype(beta + scale * (bias - mean), dtype))
    setattr(module, norm_name, NoNorm())
