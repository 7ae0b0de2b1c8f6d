"""The table of differentiable operations: one line joins a formula and its derivative to the tape.

Every operation takes Tensors, arrays or numbers and returns a Tensor; shapes, options and errors are its formula's.
Comparisons return Tensors of booleans and are not recorded. Test: reference_tests/functional/, autograd/.
"""

from collections.abc import Callable
from typing import Any

from . import functional as F  # one prefix for all, as some operations have the names of modules
from .autograd import DifferentiableFunction, Tensor, differentiable
from .errors import InputError

add = differentiable(F.arithmetic.add, x=F.arithmetic.add_x_vjp, y=F.arithmetic.add_y_vjp)
subtract = differentiable(F.arithmetic.subtract, x=F.arithmetic.add_x_vjp, y=F.arithmetic.subtract_y_vjp)
multiply = differentiable(F.arithmetic.multiply, x=F.arithmetic.multiply_x_vjp, y=F.arithmetic.multiply_y_vjp)
divide = differentiable(F.arithmetic.divide, x=F.arithmetic.divide_x_vjp, y=F.arithmetic.divide_y_vjp)
negative = differentiable(F.arithmetic.negative, x=F.arithmetic.negative_vjp)
cast = differentiable(F.arithmetic.cast, x=F.arithmetic.cast_vjp)
power = differentiable(F.arithmetic.power, x=F.arithmetic.power_vjp)
exp = differentiable(F.arithmetic.exp, x=F.arithmetic.exp_vjp)
log = differentiable(F.arithmetic.log, x=F.arithmetic.log_vjp)
sqrt = differentiable(F.arithmetic.sqrt, x=F.arithmetic.sqrt_vjp)
absolute = differentiable(F.arithmetic.absolute, x=F.arithmetic.absolute_vjp)
maximum = differentiable(F.arithmetic.maximum, x=F.arithmetic.extremum_x_vjp, y=F.arithmetic.extremum_y_vjp)
minimum = differentiable(F.arithmetic.minimum, x=F.arithmetic.extremum_x_vjp, y=F.arithmetic.extremum_y_vjp)
clip = differentiable(F.arithmetic.clip, x=F.arithmetic.clip_vjp)
where = differentiable(F.arithmetic.where, x=F.arithmetic.where_x_vjp, y=F.arithmetic.where_y_vjp)
erf = differentiable(F.erf.erf, x=F.erf.erf_vjp)

# from here on these three names are not Python's
sum = differentiable(F.reductions.sum, x=F.reductions.sum_vjp)
mean = differentiable(F.reductions.mean, x=F.reductions.mean_vjp)
variance = differentiable(F.reductions.variance, x=F.reductions.variance_vjp)
max = differentiable(F.reductions.max, x=F.reductions.extreme_vjp)
min = differentiable(F.reductions.min, x=F.reductions.extreme_vjp)

reshape = differentiable(F.shapes.reshape, x=F.shapes.reshape_vjp)
transpose = differentiable(F.shapes.transpose, x=F.shapes.transpose_vjp)
broadcast_to = differentiable(F.shapes.broadcast_to, x=F.shapes.broadcast_to_vjp)
flip = differentiable(F.shapes.flip, x=F.shapes.flip_vjp)
take_slice = differentiable(F.shapes.take_slice, x=F.shapes.take_slice_vjp)
pad = differentiable(F.shapes.pad, x=F.shapes.pad_vjp)
concatenate = differentiable(F.shapes.concatenate, F.shapes.concatenate_vjp)
stack = differentiable(F.shapes.stack, F.shapes.stack_vjp)

identity = differentiable(F.activations.identity, x=F.activations.identity_vjp)
relu = differentiable(F.activations.relu, x=F.activations.relu_vjp)
relu6 = differentiable(F.activations.relu6, x=F.activations.relu6_vjp)
leaky_relu = differentiable(F.activations.leaky_relu, x=F.activations.leaky_relu_vjp)
gelu = differentiable(F.activations.gelu, x=F.activations.gelu_vjp)
gelu_erf = differentiable(F.activations.gelu_erf, x=F.activations.gelu_erf_vjp)
silu = differentiable(F.activations.silu, x=F.activations.silu_vjp)
elu = differentiable(F.activations.elu, x=F.activations.elu_vjp)
celu = differentiable(F.activations.celu, x=F.activations.elu_vjp)
selu = differentiable(F.activations.selu, x=F.activations.selu_vjp)
sigmoid = differentiable(F.activations.sigmoid, x=F.activations.sigmoid_vjp)
log_sigmoid = differentiable(F.activations.log_sigmoid, x=F.activations.log_sigmoid_vjp)
softplus = differentiable(F.activations.softplus, x=F.activations.softplus_vjp)
softsign = differentiable(F.activations.softsign, x=F.activations.softsign_vjp)
tanh = differentiable(F.activations.tanh, x=F.activations.tanh_vjp)
glu = differentiable(F.activations.glu, x=F.activations.glu_vjp)
softmax = differentiable(F.activations.softmax, x=F.activations.softmax_vjp)
log_softmax = differentiable(F.activations.log_softmax, x=F.activations.log_softmax_vjp)
scaled_nonlinearity = differentiable(F.activations.scaled_nonlinearity, x=F.activations.scaled_nonlinearity_vjp)
# The tape keeps the result, which the next operation needs anyway, in the place of x.
scaled_nonlinearity_known_by_output = differentiable(F.activations.scaled_nonlinearity_known_by_output,
                                                     x=F.activations.scaled_nonlinearity_known_by_output_vjp)
rectified_sum = differentiable(F.activations.rectified_sum, F.activations.rectified_sum_vjp)

matmul = differentiable(F.linear.matmul, x=F.linear.matmul_x_vjp, y=F.linear.matmul_y_vjp)
linear = differentiable(F.linear.linear, x=F.linear.linear_x_vjp, weight=F.linear.linear_weight_vjp,
                        bias=F.linear.bias_vjp)
conv2d = differentiable(F.convolution.conv2d, x=F.convolution.conv2d_x_vjp, weight=F.convolution.conv2d_weight_vjp,
                        bias=F.linear.bias_vjp)
avg_pool = differentiable(F.pooling.avg_pool, x=F.pooling.avg_pool_vjp)
max_pool = differentiable(F.pooling.max_pool, x=F.pooling.max_pool_vjp)
global_mean = differentiable(F.pooling.global_mean, x=F.pooling.global_mean_vjp)

standardize_weight = differentiable(F.weight_standardization.standardize_weight,
                                    F.weight_standardization.standardize_weight_vjp)
normalize = differentiable(F.normalization.normalize, F.normalization.normalize_vjp)
batch_norm = differentiable(F.normalization.batch_norm, F.normalization.batch_norm_vjp)
activated_batch_norm = differentiable(F.normalization.activated_batch_norm, F.normalization.activated_batch_norm_vjp)
group_norm = differentiable(F.group_normalization.group_norm, F.group_normalization.group_norm_vjp)
instance_norm = differentiable(F.group_normalization.instance_norm, F.group_normalization.instance_norm_vjp)
layer_norm = differentiable(F.group_normalization.layer_norm, F.group_normalization.layer_norm_vjp)
switchable_norm = differentiable(F.switchable_normalization.switchable_norm,
                                 F.switchable_normalization.switchable_norm_vjp)
plain_standardize_weight = differentiable(F.plain_weight_standardization.plain_standardize_weight,
                                          weight=F.plain_weight_standardization.plain_standardize_weight_vjp)
squeeze_excite = differentiable(F.squeeze_excite.squeeze_excite, F.squeeze_excite.squeeze_excite_vjp)
skip_init = differentiable(F.residual.skip_init, shortcut=F.residual.skip_init_shortcut_vjp,
                           residual=F.residual.skip_init_residual_vjp, skip_gain=F.residual.skip_init_skip_gain_vjp)
dropout = differentiable(F.dropout.dropout, x=F.dropout.dropout_x_vjp)
stochastic_depth = differentiable(F.dropout.stochastic_depth, x=F.dropout.stochastic_depth_x_vjp)

softmax_cross_entropy = differentiable(F.losses.softmax_cross_entropy, logits=F.losses.softmax_cross_entropy_vjp)
sigmoid_cross_entropy = differentiable(F.losses.sigmoid_cross_entropy, logits=F.losses.sigmoid_cross_entropy_vjp)

equal = differentiable(F.arithmetic.equal)
not_equal = differentiable(F.arithmetic.not_equal)
less = differentiable(F.arithmetic.less)
less_equal = differentiable(F.arithmetic.less_equal)
greater = differentiable(F.arithmetic.greater)
greater_equal = differentiable(F.arithmetic.greater_equal)


def _method(operation: DifferentiableFunction, *positional: str) -> Callable[..., Tensor]:
    """The operation as a method of Tensor, whose first options may be given by position."""

    def method(tensor: Tensor, *given: Any, **options: Any) -> Tensor:
        named = dict(zip(positional, given, strict=False))
        if len(given) > len(positional) or named.keys() & options.keys():
            raise InputError(f"{operation.__name__}: expected options {', '.join(positional)}, each once, got "
                             f"{', '.join(map(repr, given))} and {', '.join(options) or 'none by name'}")
        return operation(tensor, **named, **options)

    method.__name__, method.__doc__ = operation.__name__, operation.__doc__
    return method


def _equality(operation: DifferentiableFunction) -> Callable[[Tensor, Any], Any]:
    """`==` or `!=`: a tensor and something without numbers, such as None or text, are compared as objects."""
    def compare(tensor: Tensor, other: Any) -> Any:
        has_numbers = isinstance(other, (Tensor, int, float, list, tuple)) or hasattr(other, "dtype")
        return operation(tensor, other) if has_numbers else NotImplemented
    return compare


def _unpacked(*numbers: Any) -> Any:
    """The sizes or axes of t.reshape(2, 3) and t.reshape((2, 3)) alike."""
    return numbers[0] if len(numbers) == 1 and isinstance(numbers[0], (tuple, list)) else numbers


METHODS = {
    "__add__": add,
    "__radd__": add,
    "__sub__": subtract,
    "__rsub__": lambda x, y: subtract(y, x),
    "__mul__": multiply,
    "__rmul__": multiply,
    "__truediv__": divide,
    "__rtruediv__": lambda x, y: divide(y, x),
    "__neg__": negative,
    "__abs__": absolute,
    "__pow__": lambda x, exponent: power(x, exponent=exponent),
    "__matmul__": matmul,
    "__rmatmul__": lambda x, y: matmul(y, x),
    "__eq__": _equality(equal),
    "__ne__": _equality(not_equal),
    "__lt__": less,
    "__le__": less_equal,
    "__gt__": greater,
    "__ge__": greater_equal,
    "__getitem__": lambda x, index: take_slice(x, index=index),
    "reshape": lambda x, *shape: reshape(x, shape=_unpacked(*shape)),
    "transpose": lambda x, *axes: transpose(x, axes=_unpacked(*axes) if axes else None),
    "sum": _method(sum, "axis", "keepdims"),
    "mean": _method(mean, "axis", "keepdims"),
    "max": _method(max, "axis", "keepdims"),
    "min": _method(min, "axis", "keepdims"),
}
for _name, _function in METHODS.items():
    setattr(Tensor, _name, _function)
