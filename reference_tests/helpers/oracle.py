"""The table of all differentiable operations: the problems each is given, its oracle in torch, and the rounding
errors that are allowed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from nfnumpy import Tensor, ops
from nfnumpy.backend import to_host
from reference_tests.helpers import oracle_torch
from reference_tests.helpers.strategies import (
    Problem,
    above,
    activated_batches,
    any_nonlinearity,
    apart,
    axes,
    batches,
    binary,
    both,
    choice,
    convolutions,
    dense,
    either,
    excitations,
    extremum,
    frames,
    group_counts,
    grouped,
    images,
    indices,
    losses,
    masked,
    new_shapes,
    normal,
    normalizations,
    off,
    off_zero_either_sign,
    orders,
    plain_weights,
    pools,
    products,
    residuals,
    several,
    summands,
    switchable,
    unary,
    weights,
    wider,
)

OPERATIONS = {name: value for name, value in vars(ops).items() if callable(value) and hasattr(value, "formula") and
              value.operation.vjps}


@dataclass(frozen=True)
class Case:
    """problems: a strategy. oracle: (*torch tensors, **options) -> tensor. The others: see `rounding_bound`."""

    problems: st.SearchStrategy
    oracle: Callable
    roundings: Callable = lambda problem, out: 1
    multilinear: bool = False


# ---- what nfnumpy returns


def in_dtype(value, dtype):
    """Floating arrays in `dtype`; labels, masks of bool, numbers and None as they are."""
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def tensors_of(problem, dtype, put=lambda array: array):
    """The inputs as nfnumpy wants them, where `put` puts arrays: Tensors that ask for a gradient if there is one."""
    inputs = [in_dtype(value, dtype) for value in problem.inputs]
    inputs = [put(value) if isinstance(value, np.ndarray) else value for value in inputs]
    return [Tensor(value, requires_grad=True) if k in problem.wrt else value for k, value in enumerate(inputs)]


def cotangent_for(problem, name):
    """A random cotangent of the output's shape, in values that float32 holds; the same for the same problem."""
    shape = OPERATIONS[name](*problem.inputs, **problem.options).shape
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32).astype(np.float64)


def answer(name, problem, cotangent, dtype, put=lambda array: array):
    """(value, gradients of the inputs in problem.wrt) as host arrays, computed where `put` puts host arrays."""
    inputs = tensors_of(problem, dtype, put)
    out = OPERATIONS[name](*inputs, **problem.options)
    out.backward(put(cotangent.astype(dtype)))
    return to_host(out.data), [to_host(inputs[k].grad) for k in problem.wrt]


# ---- how far rounding may take a value


def norm(x):
    """The L2 norm of an array of any shape, numbers included."""
    return float(np.sqrt(np.sum(np.square(np.abs(np.asarray(x, dtype=np.float64))))))


def rounding_bound(case, problem, out_shape, dtype):
    """The error that rounding can cause, relative to what is added up: u = epsilon/2 for each rounding on the way.

    n additions err by at most n·u of the sum of magnitudes (Higham, 2002, section 4.2); a product, quotient or root by
    u; an exp, log or tanh by up to 4u. One more u is for the product of a derivative with its cotangent.
    """
    return (case.roundings(problem, out_shape) + 1) * float(np.finfo(dtype).eps) / 2


def magnitudes(case, problem, cotangent, value, gradients):
    """(of the value, of each gradient): the norm of the magnitudes that were added up to make it.

    Where the operation is `multilinear` (sums of products of its inputs) these are the operation and its derivative on
    absolute values. The other formulas add up nothing greater than inputs and result, or cotangent and gradient,
    except where the sums in a gradient multiply the cotangent with the inputs too.
    """
    if case.multilinear:
        absolute = Problem(tuple(np.abs(x) if hasattr(x, "dtype") or isinstance(x, float) else x
                                 for x in problem.inputs), problem.wrt, problem.options)
        value, gradients = oracle_torch.answer(case.oracle, absolute, np.abs(cotangent))
        return norm(value), [norm(g) for g in gradients]
    inputs = sum(norm(x) for x in problem.inputs if x is not None)
    return norm(value) + inputs, [norm(g) + norm(cotangent) * max(1.0, inputs) for g in gradients]


# ---- how many roundings lie on the way to one value (see `rounding_bound`)


def few(problem, out):
    """The longest pointwise formulas, gelu_vjp and erfc: under 16 roundings, an exp or tanh counted as 4."""
    return 16


def most(problem, out):
    """No sum has more terms than the largest array has entries; 16 for what is pointwise beside it."""
    return 16 + max(math.prod(out), *(np.size(x) for x in problem.inputs if x is not None))


def taps(problem, out):
    """A value adds kh·kw·in/groups products and a bias, dx at most kh·kw·out, dweight and dbias N·out_h·out_w."""
    kh, kw, fan, outs = problem.inputs[1].shape
    return 1 + max(kh * kw * fan, kh * kw * outs, math.prod(out[:3]))


def window(problem, out):
    """As many terms as a window has pixels, the division, and one share from every window over a pixel."""
    return 1 + math.prod(both(problem.options["window"]))


def rearranged(oracle, **options):
    """Values that only move, and add up again where they were repeated."""
    return Case(unary(**options), oracle, most, multilinear=True)


def pointwise(values, oracle, **options):
    return Case(unary(values, **options), oracle, few)


TABLE = {
    "add": Case(binary(), oracle_torch.add, most, multilinear=True),
    "subtract": Case(binary(), oracle_torch.subtract, most),
    "multiply": Case(binary(), oracle_torch.multiply, most, multilinear=True),
    "divide": Case(binary(normal, off_zero_either_sign), oracle_torch.divide, most),
    "negative": pointwise(normal, oracle_torch.negative),
    "power": pointwise(above(0.5, 2), oracle_torch.power,
                       exponent=lambda _: st.sampled_from([-2, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 2.0])),
    "exp": pointwise(normal, oracle_torch.exp),
    "log": pointwise(above(0.5, 4), oracle_torch.log),
    "sqrt": pointwise(above(0.5, 4), oracle_torch.sqrt),
    "absolute": pointwise(off(0), oracle_torch.absolute),
    "maximum": Case(extremum(), oracle_torch.maximum, most),
    "minimum": Case(extremum(), oracle_torch.minimum, most),
    "clip": pointwise(off(-1, 2), oracle_torch.clip, low=lambda _: st.sampled_from([-1.0, None]),
                      high=lambda _: st.sampled_from([2, None])),
    "where": Case(choice(), oracle_torch.where, most),
    "erf": pointwise(normal, oracle_torch.erf),
    "sum": Case(unary(axis=axes, keepdims=either), oracle_torch.sum, most, multilinear=True),
    "mean": Case(unary(min_side=1, axis=axes, keepdims=either), oracle_torch.mean, most, multilinear=True),
    "variance": Case(unary(min_side=1, axis=axes, keepdims=either), oracle_torch.variance, most),
    "max": Case(unary(apart, min_side=1, axis=axes, keepdims=either), oracle_torch.max, few),
    "min": Case(unary(apart, min_side=1, axis=axes, keepdims=either), oracle_torch.min, few),
    "reshape": rearranged(oracle_torch.reshape, shape=new_shapes),
    "transpose": rearranged(oracle_torch.transpose, axes=orders),
    "broadcast_to": rearranged(oracle_torch.broadcast_to, shape=wider),
    "flip": rearranged(oracle_torch.flip, axis=axes),
    "take_slice": rearranged(oracle_torch.take_slice, min_side=1, index=indices),
    "pad": Case(unary(widths=frames, value=lambda _: st.sampled_from([0.0, -2, 0.5])), oracle_torch.pad, most),
    "concatenate": Case(several("concatenate"), oracle_torch.concatenate, multilinear=True),
    "stack": Case(several("stack"), oracle_torch.stack, multilinear=True),
    **{name: pointwise(off(0, 6), oracle) for name, oracle in oracle_torch.NONLINEARITY.items() if name not in
       ("glu", "log_softmax")},
    "glu": Case(any_nonlinearity().map(lambda p: Problem(p.inputs, p.wrt, {})), oracle_torch.NONLINEARITY["glu"], few),
    "softmax": Case(unary(min_dims=1), oracle_torch.softmax, most),
    "log_softmax": Case(unary(min_dims=1), oracle_torch.NONLINEARITY["log_softmax"], most),
    "scaled_nonlinearity": Case(any_nonlinearity(), oracle_torch.scaled_nonlinearity, few),
    "scaled_nonlinearity_known_by_output": Case(any_nonlinearity(("relu",)), oracle_torch.scaled_nonlinearity, few),
    "rectified_sum": Case(summands(), oracle_torch.rectified_sum, few),
    "matmul": Case(products(), oracle_torch.matmul, most, multilinear=True),
    "linear": Case(dense(), oracle_torch.linear, most, multilinear=True),
    "conv2d": Case(convolutions(), oracle_torch.conv2d, taps, multilinear=True),
    "avg_pool": Case(pools(normal), oracle_torch.avg_pool, window, multilinear=True),
    "max_pool": Case(pools(apart), oracle_torch.max_pool, window),
    "global_mean": Case(images(), oracle_torch.global_mean, most, multilinear=True),
    "standardize_weight": Case(weights(), oracle_torch.standardize_weight, most),
    "normalize": Case(normalizations(), oracle_torch.normalize, most),
    "batch_norm": Case(batches(), oracle_torch.batch_norm, most),
    "activated_batch_norm": Case(activated_batches(), oracle_torch.activated_batch_norm, most),
    "group_norm": Case(grouped(group_counts), oracle_torch.group_norm, most),
    "instance_norm": Case(grouped(lambda _: st.just({})), oracle_torch.instance_norm, most),
    "layer_norm": Case(grouped(lambda _: st.sampled_from([{"over": "image"}, {"over": "channels"}])),
                       oracle_torch.layer_norm, most),
    "switchable_norm": Case(switchable(), oracle_torch.switchable_norm, most),
    "plain_standardize_weight": Case(plain_weights(), oracle_torch.plain_standardize_weight, most),
    "squeeze_excite": Case(excitations(), oracle_torch.squeeze_excite, most),
    "skip_init": Case(residuals(), oracle_torch.skip_init, most, multilinear=True),
    "dropout": Case(masked(per_example=False), oracle_torch.dropout, few, multilinear=True),
    "stochastic_depth": Case(masked(per_example=True), oracle_torch.stochastic_depth, few, multilinear=True),
    "softmax_cross_entropy": Case(losses(), oracle_torch.softmax_cross_entropy, most),
    "sigmoid_cross_entropy": Case(losses(), oracle_torch.sigmoid_cross_entropy, most),
}
