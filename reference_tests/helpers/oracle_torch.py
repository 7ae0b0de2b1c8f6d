"""Every operation in torch, the oracle of the tests: channels last at the border, channels first inside.

Nothing here is taken from nfnumpy: `SAME` is worked out again from its definition in TensorFlow's terms.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def to_torch(value):
    """float64 arrays become leaves; other arrays tensors; numbers and None stay."""
    return torch.from_numpy(np.array(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def answer(oracle, problem, cotangent):
    """(value, gradients of the inputs in problem.wrt) as float64 arrays."""
    inputs = [to_torch(value) for value in problem.inputs]
    for k in problem.wrt:
        inputs[k].requires_grad_(True)
    out = oracle(*inputs, **problem.options)
    out.backward(torch.from_numpy(np.array(cotangent)))
    return out.detach().numpy(), [inputs[k].grad.numpy() if inputs[k].grad is not None else
                                  np.zeros(problem.inputs[k].shape) for k in problem.wrt]


def _as_tensors(x, y):
    return [v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=torch.float64) for v in (x, y)]


def add(x, y):
    return x + y


def subtract(x, y):
    return x - y


def multiply(x, y):
    return x * y


def divide(x, y):
    return x / y


def negative(x):
    return -x


def power(x, *, exponent):
    return x**exponent


exp, log, sqrt, absolute, erf, where = torch.exp, torch.log, torch.sqrt, torch.abs, torch.erf, torch.where


def maximum(x, y):
    return torch.maximum(*_as_tensors(x, y))


def minimum(x, y):
    return torch.minimum(*_as_tensors(x, y))


def clip(x, *, low, high):
    return x * 1.0 if low is None and high is None else torch.clamp(x, low, high)


# ---- reductions and rearrangements


def _dims(x, axis):
    return tuple(range(x.ndim)) if axis is None else axis


def _reduction(function):
    def reduce(x, *, axis=None, keepdims=False):
        return x if x.ndim == 0 else function(x, dim=_dims(x, axis), keepdim=keepdims)
    return reduce


sum, mean, max, min = map(_reduction, (torch.sum, torch.mean, torch.amax, torch.amin))


def variance(x, *, axis=None, keepdims=False):
    return x * 0.0 if x.ndim == 0 else torch.var(x, dim=_dims(x, axis), correction=0, keepdim=keepdims)


def reshape(x, *, shape):
    return torch.reshape(x, shape)


def transpose(x, *, axes):
    return x.permute(tuple(reversed(range(x.ndim))) if axes is None else axes)


def broadcast_to(x, *, shape):
    return x.expand(shape)


def flip(x, *, axis):
    return torch.flip(x, _dims(x, axis) if axis is None or isinstance(axis, tuple) else (axis,))


def take_slice(x, *, index):
    """NumPy picks the positions, as torch knows no negative steps."""
    positions = np.array(np.arange(x.numel()).reshape(x.shape)[index])
    return x.reshape(-1)[torch.from_numpy(positions)]


def pad(x, *, widths, value=0.0):
    return F.pad(x, [n for before_after in reversed(widths) for n in before_after], value=value) if widths else x * 1.0


def concatenate(*arrays, axis):
    return torch.cat(arrays, axis)


def stack(*arrays, axis):
    return torch.stack(arrays, axis)


# ---- nonlinearities


NONLINEARITY = {  # each is also a case of the table in oracle.py; softplus without PyTorch's threshold of 20
    "identity": lambda x: x * 1.0, "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "tanh": torch.tanh,
    "sigmoid": torch.sigmoid, "gelu": lambda x: F.gelu(x, approximate="tanh"), "gelu_erf": F.gelu, "silu": F.silu,
    "elu": F.elu, "celu": F.celu, "selu": F.selu, "softplus": lambda x: F.softplus(x, threshold=1e9),
    "log_sigmoid": F.logsigmoid, "softsign": F.softsign, "log_softmax": lambda x: F.log_softmax(x, dim=-1),
    "glu": F.glu,
}


def softmax(x):
    return F.softmax(x, dim=-1)


def scaled_nonlinearity(x, *, name, scale):
    return NONLINEARITY[name](x) * scale


def rectified_sum(x, y):
    return torch.relu(x + y)


# ---- layers


matmul = torch.matmul


def linear(x, weight, bias):
    return F.linear(x, weight.T, bias)


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def _framed(x, kernel, stride, dilation, padding, value=0.0):
    """x (N, C, H, W) with its padding made explicit: ceil(in/stride) outputs for SAME, the odd pixel bottom right."""
    if padding == "VALID":
        return x
    if padding == "SAME":
        padding = []
        for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
            missing = (math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size
            missing = missing if missing > 0 else 0
            padding.append((math.floor(missing / 2), math.ceil(missing / 2)))
    elif isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    (top, bottom), (left, right) = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def conv2d(x, weight, bias, *, stride, padding, dilation, groups):
    stride, dilation = _pair(stride), _pair(dilation)
    framed = _framed(x.permute(0, 3, 1, 2), weight.shape[:2], stride, dilation, padding)
    weight = weight.permute(3, 2, 0, 1).contiguous()
    out = F.conv2d(framed, weight, bias, stride=stride, dilation=dilation, groups=groups)
    return out.permute(0, 2, 3, 1)


def avg_pool(x, *, window, stride, padding):
    """The sum under each window over the number of real pixels there: both are window-sized averages of padded maps."""
    window, stride = _pair(window), _pair(window if stride is None else stride)
    images = x.permute(0, 3, 1, 2)
    sums, counts = (F.avg_pool2d(_framed(values, window, stride, (1, 1), padding), window, stride)
                    for values in (images, torch.ones_like(images)))
    return (sums / counts.detach()).permute(0, 2, 3, 1)


def max_pool(x, *, window, stride, padding):
    window, stride = _pair(window), _pair(window if stride is None else stride)
    framed = _framed(x.permute(0, 3, 1, 2), window, stride, (1, 1), padding, value=-math.inf)
    return F.max_pool2d(framed, window, stride).permute(0, 2, 3, 1)


def global_mean(x):
    return x.mean(dim=(1, 2))


def standardize_weight(weight, gain, *, eps):
    """gain·(W - mu)/sqrt(max(N·sigma², eps)), differentiated by torch."""
    units = weight.reshape(-1, weight.shape[-1])
    spread = units.shape[0] * torch.var(units, dim=0, correction=0)
    return weight.sub(units.mean(dim=0)) * gain / torch.sqrt(torch.clamp(spread, min=eps))


def normalize(x, gamma, beta, mean, variance, *, eps):
    return (x - mean) * torch.rsqrt(variance + eps) * gamma + beta


def batch_norm(x, gamma, beta, mean, variance, *, eps):
    """Differentiated by torch, whose own function refuses one value a channel."""
    dims = tuple(range(x.ndim - 1))
    return normalize(x, gamma, beta, x.mean(dim=dims), torch.var(x, dim=dims, correction=0), eps=eps)


def activated_batch_norm(x, gamma, beta, mean, variance, *, name, eps):
    return NONLINEARITY[name](batch_norm(x, gamma, beta, mean, variance, eps=eps))


def group_norm(x, gamma, beta, *, groups, eps):
    """Differentiated by torch, whose own derivative of a group of one value is a rounding error over sqrt(eps)."""
    parts = x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    variance, mean = torch.var_mean(parts, dim=(1, 3), correction=0, keepdim=True)
    return ((parts - mean) / torch.sqrt(variance + eps)).reshape(x.shape) * gamma + beta


def instance_norm(x, gamma, beta, *, eps):
    return group_norm(x, gamma, beta, groups=x.shape[-1], eps=eps)


def layer_norm(x, gamma, beta, *, over, eps):
    images = x.reshape(-1, x.shape[-1]) if over == "channels" else x
    return group_norm(images, gamma, beta, groups=1, eps=eps).reshape(x.shape)


def switchable_norm(x, gamma, beta, mean_weights, variance_weights, batch_mean, batch_variance, *, eps, unbiased):
    """In the arithmetic of the authors' code, eq. 4 included, and differentiated by torch."""
    images = x.reshape(x.shape[0], -1, x.shape[-1])
    instance = images.mean(dim=1)
    correction = 1 if unbiased and images.shape[1] > 1 else 0
    variance = torch.var(images, dim=1, correction=correction)
    square = variance + instance**2
    layer, batch = instance.mean(dim=1, keepdim=True), instance.mean(dim=0, keepdim=True)
    means = [instance, layer, batch if batch_mean is None else batch_mean]
    variances = [variance, square.mean(dim=1, keepdim=True) - layer**2,
                 square.mean(dim=0, keepdim=True) - batch**2 if batch_variance is None else batch_variance]
    means, variances = (torch.stack([part.expand(instance.shape) for part in parts]) for parts in (means, variances))
    mean = torch.einsum("k,knc->nc", torch.softmax(mean_weights, 0), means)[:, None]
    variance = torch.einsum("k,knc->nc", torch.softmax(variance_weights, 0), variances)[:, None]
    return ((images - mean) / torch.sqrt(variance + eps) * gamma + beta).reshape(x.shape)


def plain_standardize_weight(weight, *, eps, eps_beside):
    units = weight.reshape(-1, weight.shape[-1])
    centred = weight - units.mean(dim=0)
    if units.shape[0] == 1:
        return centred  # 0, with a derivative of 0, where torch has NaN for that of the root of 0
    variance = torch.var(units, dim=0, correction=0)
    return centred / (torch.sqrt(variance) + eps if eps_beside == "deviation" else torch.sqrt(variance + eps))


def squeeze_excite(x, weight0, bias0, weight1, bias1, *, activation, scale):
    hidden = NONLINEARITY[activation](F.linear(x.mean(dim=(1, 2)), weight0.T, bias0))
    return x * scale * torch.sigmoid(F.linear(hidden, weight1.T, bias1))[:, None, None, :]


def skip_init(shortcut, residual, skip_gain, *, alpha):
    return shortcut + alpha * skip_gain * residual


def dropout(x, mask, *, rate):
    return x * mask / (1 - rate)


def stochastic_depth(x, mask, *, rate, rescale):
    return x * mask / (1 - rate if rescale else 1)


def softmax_cross_entropy(logits, labels, *, label_smoothing):
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def sigmoid_cross_entropy(logits, labels, *, label_smoothing):
    classes = logits.shape[1]
    shares = F.one_hot(labels, classes).to(logits) if labels.ndim == 1 else labels
    shares = shares * (1 - label_smoothing) + label_smoothing / classes
    return F.binary_cross_entropy_with_logits(logits, shares, reduction="sum") / logits.shape[0]
