"""The fast paths of `functional.activations.scaled_nonlinearity` and its derivative, in blocks that stay in the cache.

A nonlinearity is a dozen passes; over a whole image each fetches it from memory again, over a block it does not. The
three that the networks use write every pass into the same few arrays; the others are the formula, block by block.

Formulas: functional/activations.py. Test: fast_numpy/test_activations.py.
"""

from collections.abc import Callable

import numpy

from ...backend import blocking, scratch, tuning
from .. import activations as formulas
from ..activations import ALONG_THE_LAST_AXIS, GELU_IS_STRAIGHT_FROM, TANH_GELU_CUBIC, TANH_GELU_SLOPE
from .dtypes import share_float_dtype


@formulas.scaled_nonlinearity.fast_path("numpy")
def scaled_nonlinearity(x: numpy.ndarray, *, name: str, scale: float) -> numpy.ndarray:
    """Each block of x is written once."""
    return _blockwise(IN_PLACE.get(name) or _formula(formulas.scaled_nonlinearity, name), [x], name, scale)


@formulas.scaled_nonlinearity_vjp.fast_path("numpy")
def scaled_nonlinearity_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, *, name: str, scale: float) -> numpy.ndarray:
    """Each block of the result is written once."""
    function = VJP_IN_PLACE.get(name) or _formula(formulas.scaled_nonlinearity_vjp, name)
    return _blockwise(function, [cotangent, x], name, scale)


@formulas.rectified_sum.fast_path("numpy")
def rectified_sum(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """The sum of a block is rectified while it is in the cache."""
    if x.shape != y.shape or x.size <= tuning.LARGE_VALUES or not share_float_dtype(x, y):
        return NotImplemented

    def compute(out, x, y):
        numpy.add(x, y, out=out)
        numpy.clip(out, 0, None, out=out)

    return blocking.elementwise(compute, x, y)


def _covers(arrays, name, scale):
    return (name in formulas.NONLINEARITIES and name not in ALONG_THE_LAST_AXIS and type(scale) in (int, float)
            and arrays[0].dtype.kind == "f" and all(array.dtype == arrays[0].dtype for array in arrays)
            and all(array.shape == arrays[0].shape for array in arrays))


def _blockwise(function: Callable[..., object], arrays: list[numpy.ndarray], name: str, scale: float) -> numpy.ndarray:
    """function(*blocks, block of the result, scale) for all blocks of the flattened arrays; or NotImplemented."""
    if not _covers(arrays, name, scale):
        return NotImplemented
    size, scale = arrays[0].size, arrays[0].dtype.type(scale)
    parallel = size >= tuning.PARALLEL_NONLINEARITY_VALUES
    return blocking.elementwise(lambda out, *blocks: function(*blocks, out, scale),
                                *(numpy.asarray(array, order="C") for array in arrays),
                                block_values=tuning.NONLINEARITY_BLOCK_VALUES,
                                shares=blocking.split_by_thread(size) if parallel else [slice(0, size)])


def _formula(function, name):
    def write(*blocks_and_scale):
        *blocks, out, scale = blocks_and_scale
        out[...] = function.plain(*blocks, name=name, scale=scale)
    return write


def _scratch(name: str, like: numpy.ndarray) -> numpy.ndarray:
    return scratch.empty(name, like.shape, like.dtype)


def _tanh_of_gelu(x, squared, out):
    """out ← tanh(√(2/π)·(x + 0.044715·x³)), and squared ← x²."""
    number = x.dtype.type
    numpy.multiply(x, x, out=squared)
    numpy.multiply(squared, number(TANH_GELU_SLOPE * TANH_GELU_CUBIC), out=out)
    out += number(TANH_GELU_SLOPE)
    out *= x
    numpy.tanh(out, out=out)


def _gelu(x, out, scale):
    with numpy.errstate(over="ignore"):  # the square of a huge x is infinite, and tanh ±1, as it should be
        _tanh_of_gelu(x, out, out)
    out += 1
    out *= x
    out *= x.dtype.type(0.5) * scale


def _gelu_vjp(cotangent, x, out, scale):
    """The bracket of the formula, (1 + t)/2 + x/2·(1 - t²)·u', as (1 + t) · (1/2 + x·u'/2·(1 - t))."""
    near = numpy.clip(x, -GELU_IS_STRAIGHT_FROM, GELU_IS_STRAIGHT_FROM, out=_scratch("near", x))
    slope, half = _scratch("squared", x), x.dtype.type(0.5) * scale
    _tanh_of_gelu(near, slope, out)
    slope *= half * x.dtype.type(3.0 * TANH_GELU_SLOPE * TANH_GELU_CUBIC)
    slope += half * x.dtype.type(TANH_GELU_SLOPE)
    slope *= near
    slope *= numpy.subtract(1, out, out=near)
    slope += half
    out += 1
    out *= slope
    out *= cotangent


def _multiply(out, scale):
    if scale != 1:
        out *= scale


def _relu(x, out, scale):
    numpy.clip(x, 0, None, out=out)
    _multiply(out, scale)


def _relu_vjp(cotangent, x, out, scale):
    """A choice between two numbers, written as bits: `where` is ten times slower when signs follow no pattern."""
    bits = numpy.dtype(f"i{x.itemsize}")
    chosen = scratch.empty("chosen", x.shape, bits)
    numpy.copyto(chosen, numpy.greater(x, 0, out=scratch.empty("positive", x.shape, bool)))
    numpy.negative(chosen, out=chosen)  # all bits of an integer set, or none
    given = cotangent if scale == 1 else numpy.multiply(cotangent, scale, out=out)
    numpy.bitwise_and(given.view(bits), chosen, out=out.view(bits))


def _silu(x, out, scale):
    """x/2·(1 + tanh(x/2)), which is x·sigmoid(x): NumPy's tanh takes less time than its exp."""
    half = numpy.multiply(x, x.dtype.type(0.5), out=_scratch("half", x))
    numpy.tanh(half, out=out)
    out += 1
    out *= half
    _multiply(out, scale)


def _silu_vjp(cotangent, x, out, scale):
    """The formula's s + x·s·(1 - s) as (1 + t)/2 · (1 + x/2·(1 - t)) with t = tanh(x/2)."""
    slope = numpy.multiply(x, x.dtype.type(0.5), out=_scratch("slope", x))
    numpy.tanh(slope, out=out)
    slope *= numpy.subtract(1, out, out=_scratch("rest", x))
    slope += 1
    out += 1
    out *= slope
    out *= cotangent
    out *= x.dtype.type(0.5) * scale


IN_PLACE = {"gelu": _gelu, "relu": _relu, "silu": _silu}
VJP_IN_PLACE = {"gelu": _gelu_vjp, "relu": _relu_vjp, "silu": _silu_vjp}
