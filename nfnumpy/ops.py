"""The table of differentiable operations: one line joins a formula and its derivative to the tape.

Every operation takes Tensors, arrays or numbers and returns a Tensor; shapes, options and errors are its formula's.
"""

from .autograd import Tensor, differentiable
from .functional import (
    activations,
    convolution,
    arithmetic,
    erf as error_function,
    linear as products,
    losses,
    pooling,
    shapes,
    reductions,
    dropout as dropping,
    residual,
    squeeze_excite as excitation,
    weight_standardization,
)

add = differentiable(arithmetic.add, x=arithmetic.add_x_vjp, y=arithmetic.add_y_vjp)
subtract = differentiable(arithmetic.subtract, x=arithmetic.add_x_vjp, y=arithmetic.subtract_y_vjp)
multiply = differentiable(arithmetic.multiply, x=arithmetic.multiply_x_vjp, y=arithmetic.multiply_y_vjp)
divide = differentiable(arithmetic.divide, x=arithmetic.divide_x_vjp, y=arithmetic.divide_y_vjp)
negative = differentiable(arithmetic.negative, x=arithmetic.negative_vjp)
cast = differentiable(arithmetic.cast, x=arithmetic.cast_vjp)
power = differentiable(arithmetic.power, x=arithmetic.power_vjp)
exp = differentiable(arithmetic.exp, x=arithmetic.exp_vjp)
log = differentiable(arithmetic.log, x=arithmetic.log_vjp)
sqrt = differentiable(arithmetic.sqrt, x=arithmetic.sqrt_vjp)
absolute = differentiable(arithmetic.absolute, x=arithmetic.absolute_vjp)
maximum = differentiable(arithmetic.maximum, x=arithmetic.extremum_x_vjp, y=arithmetic.extremum_y_vjp)
minimum = differentiable(arithmetic.minimum, x=arithmetic.extremum_x_vjp, y=arithmetic.extremum_y_vjp)
clip = differentiable(arithmetic.clip, x=arithmetic.clip_vjp)
where = differentiable(arithmetic.where, x=arithmetic.where_x_vjp, y=arithmetic.where_y_vjp)
erf = differentiable(error_function.erf, x=activations.erf_vjp)

sum = differentiable(reductions.sum, x=reductions.sum_vjp)
mean = differentiable(reductions.mean, x=reductions.mean_vjp)
variance = differentiable(reductions.variance, x=reductions.variance_vjp)
max = differentiable(reductions.max, x=reductions.extreme_vjp)
min = differentiable(reductions.min, x=reductions.extreme_vjp)

reshape = differentiable(shapes.reshape, x=shapes.reshape_vjp)
transpose = differentiable(shapes.transpose, x=shapes.transpose_vjp)
broadcast_to = differentiable(shapes.broadcast_to, x=shapes.broadcast_to_vjp)
flip = differentiable(shapes.flip, x=shapes.flip_vjp)
take_slice = differentiable(shapes.take_slice, x=shapes.take_slice_vjp)
pad = differentiable(shapes.pad, x=shapes.pad_vjp)
concatenate = differentiable(shapes.concatenate, shapes.concatenate_vjp)
stack = differentiable(shapes.stack, shapes.stack_vjp)

identity = differentiable(activations.identity, x=activations.identity_vjp)
relu = differentiable(activations.relu, x=activations.relu_vjp)
relu6 = differentiable(activations.relu6, x=activations.relu6_vjp)
leaky_relu = differentiable(activations.leaky_relu, x=activations.leaky_relu_vjp)
gelu = differentiable(activations.gelu, x=activations.gelu_vjp)
gelu_erf = differentiable(activations.gelu_erf, x=activations.gelu_erf_vjp)
silu = differentiable(activations.silu, x=activations.silu_vjp)
elu = differentiable(activations.elu, x=activations.elu_vjp)
celu = differentiable(activations.celu, x=activations.elu_vjp)
selu = differentiable(activations.selu, x=activations.selu_vjp)
sigmoid = differentiable(activations.sigmoid, x=activations.sigmoid_vjp)
log_sigmoid = differentiable(activations.log_sigmoid, x=activations.log_sigmoid_vjp)
softplus = differentiable(activations.softplus, x=activations.softplus_vjp)
softsign = differentiable(activations.softsign, x=activations.softsign_vjp)
tanh = differentiable(activations.tanh, x=activations.tanh_vjp)
glu = differentiable(activations.glu, x=activations.glu_vjp)
softmax = differentiable(activations.softmax, x=activations.softmax_vjp)
log_softmax = differentiable(activations.log_softmax, x=activations.log_softmax_vjp)
scaled_nonlinearity = differentiable(activations.scaled_nonlinearity, x=activations.scaled_nonlinearity_vjp)

matmul = differentiable(products.matmul, x=products.matmul_x_vjp, y=products.matmul_y_vjp)
linear = differentiable(products.linear, x=products.linear_x_vjp, weight=products.linear_weight_vjp,
                        bias=products.bias_vjp)
conv2d = differentiable(convolution.conv2d, x=convolution.conv2d_x_vjp, weight=convolution.conv2d_weight_vjp,
                        bias=products.bias_vjp)
avg_pool = differentiable(pooling.avg_pool, x=pooling.avg_pool_vjp)
max_pool = differentiable(pooling.max_pool, x=pooling.max_pool_vjp)
global_mean = differentiable(pooling.global_mean, x=pooling.global_mean_vjp)

standardize_weight = differentiable(weight_standardization.standardize_weight,
                                    weight_standardization.standardize_weight_vjp)
squeeze_excite = differentiable(excitation.squeeze_excite, excitation.squeeze_excite_vjp)
skip_init = differentiable(residual.skip_init, shortcut=residual.skip_init_shortcut_vjp,
                           residual=residual.skip_init_residual_vjp, skip_gain=residual.skip_init_skip_gain_vjp)
dropout = differentiable(dropping.dropout, x=dropping.dropout_x_vjp)
stochastic_depth = differentiable(dropping.stochastic_depth, x=dropping.stochastic_depth_x_vjp)

softmax_cross_entropy = differentiable(losses.softmax_cross_entropy, logits=losses.softmax_cross_entropy_vjp)
sigmoid_cross_entropy = differentiable(losses.sigmoid_cross_entropy, logits=losses.sigmoid_cross_entropy_vjp)

Tensor.__add__ = Tensor.__radd__ = add
Tensor.__sub__ = subtract
Tensor.__rsub__ = lambda x, y: subtract(y, x)
Tensor.__mul__ = Tensor.__rmul__ = multiply
Tensor.__truediv__ = divide
Tensor.__rtruediv__ = lambda x, y: divide(y, x)
Tensor.__neg__ = negative
Tensor.__pow__ = lambda x, exponent: power(x, exponent=exponent)
Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda x, y: matmul(y, x)
Tensor.__getitem__ = lambda x, index: take_slice(x, index=index)
Tensor.reshape = lambda x, *shape: reshape(x, shape=shape[0] if isinstance(shape[0], (tuple, list)) else shape)
Tensor.transpose = lambda x, *axes: transpose(x, axes=axes[0] if axes and isinstance(axes[0], (tuple, list)) else
                                              axes or None)
Tensor.sum = lambda x, axis=None, keepdims=False: sum(x, axis=axis, keepdims=keepdims)
Tensor.mean = lambda x, axis=None, keepdims=False: mean(x, axis=axis, keepdims=keepdims)
Tensor.max = lambda x, axis=None, keepdims=False: max(x, axis=axis, keepdims=keepdims)
Tensor.min = lambda x, axis=None, keepdims=False: min(x, axis=axis, keepdims=keepdims)
