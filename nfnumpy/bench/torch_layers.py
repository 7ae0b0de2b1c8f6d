"""What the PyTorch networks share: layers, the residual block, and the way of weights and images into them.

Names of parameters are ours, so that weights carry over: HWIO to OIHW, (in, out) to (out, in). A gain stays (C,), which
timm's adaptive gradient clipping takes for one unit, as ours does.
"""

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import InputError
from ..functional.activations import GAMMA
from ..datasets.preprocessing import MEAN, STANDARD_DEVIATION

FUNCTIONS = {"gelu": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu}


class ScaledConv2d(nn.Conv2d):
    """TensorFlow's SAME convolution with a standardized weight: gain·(W - mu)/sqrt(max(N·sigma², eps))."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1, eps=1e-4):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out_channels))
        self.eps = eps

    def forward(self, x):
        return convolve(x, standardize(self.weight, self.gain, self.eps), self.bias, self.stride[0], self.groups)


def standardize(weight, gain, eps=1e-4):
    """gain·(W - mu)/sqrt(max(N·sigma², eps)) for a weight (out, in, kh, kw)."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    scale = torch.rsqrt(torch.clamp(weight[0].numel() * variance, min=eps)) * gain.view(-1, 1, 1, 1)
    return (weight - mean) * scale


def convolve(x, weight, bias, stride=1, groups=1):
    """TensorFlow's SAME convolution with a square kernel."""
    sides = [side for size in (x.shape[3], x.shape[2]) for side in _padding_of(size, weight.shape[2], stride)]
    even = sides[0] == sides[1] and sides[2] == sides[3]  # the convolution pads for nothing, `F.pad` copies
    return F.conv2d(x if even else F.pad(x, sides), weight, bias, stride,
                    padding=(sides[2], sides[0]) if even else 0, groups=groups)


def _padding_of(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def halved(x):
    """The mean of every 2×2 pixels, of what is there at odd edges."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


class SqueezeExcite(nn.Module):
    """The two linear layers of `squeeze_excite`."""

    def __init__(self, channels, ratio):
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        return squeeze_excite(x, self.fc0.weight, self.fc0.bias, self.fc1.weight, self.fc1.bias)


def squeeze_excite(x, weight0, bias0, weight1, bias1):
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image)))), weights (out, in)."""
    gate = F.linear(F.relu(F.linear(x.mean(dim=(2, 3)), weight0, bias0)), weight1, bias1)
    return x * (2.0 * torch.sigmoid(gate))[:, :, None, None]


class ResidualBlock(nn.Module):
    """shortcut + alpha·skip_gain·residual; a subclass says in `branches` what the two are. Nothing is dropped."""

    def __init__(self, config, beta):
        super().__init__()
        self.activation, self.alpha, self.beta = activation(config.activation), config.alpha, beta
        self.skip_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        shortcut, residual = self.branches(x)
        return shortcut + residual * (self.alpha * self.skip_gain)


def activation(name):
    """A function (x, scale=1) -> scale·gamma·g(x)."""
    if name not in FUNCTIONS:
        raise InputError(f"the PyTorch twin knows the nonlinearities {', '.join(FUNCTIONS)}, not {name}")
    return lambda x, scale=1.0: FUNCTIONS[name](x) * (GAMMA[name] * scale)


def in_torch_layout(array):
    """A host array of ours as a tensor in PyTorch's order of axes."""
    tensor = torch.from_numpy(numpy.asarray(array))
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor


@torch.no_grad()
def load(network, state):
    """Give `network` the parameters `state`: our names, host arrays in our layout."""
    network.load_state_dict({name: in_torch_layout(array) for name, array in state.items()})


def to_input(images, dtype):
    """uint8 images (N, H, W, 3) as normalized (N, 3, H, W), channels last in memory."""
    mean, deviation = (torch.tensor(constant, dtype=dtype, device=images.device)[:, None, None]
                       for constant in (MEAN, STANDARD_DEVIATION))
    return (images.permute(0, 3, 1, 2).to(dtype) * (1.0 / 255.0) - mean) / deviation
