"""The NFNet of models/nfnet.py in plain PyTorch, as one writes it there: the opponent of the measurements.

Names of parameters are ours, so that weights carry over: HWIO to OIHW, (in, out) to (out, in). A gain stays (C,), which
timm's adaptive gradient clipping takes for one unit, as ours does.
"""

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import InputError
from ..functional.activations import GAMMA
from ..models.base import block_plan
from ..training.inputs import MEAN, STANDARD_DEVIATION

FUNCTIONS = {"gelu": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu}


class ScaledConv2d(nn.Conv2d):
    """TensorFlow's SAME convolution with a standardized weight: gain·(W - mu)/sqrt(max(N·sigma², eps))."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1, eps=1e-4):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out_channels))
        self.eps = eps

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        scale = torch.rsqrt(torch.clamp(self.weight[0].numel() * variance, min=self.eps)) * self.gain.view(-1, 1, 1, 1)
        sides = [side for size in (x.shape[3], x.shape[2]) for side in self._padding_of(size)]
        even = sides[0] == sides[1] and sides[2] == sides[3]  # the convolution pads for nothing, `F.pad` copies
        return F.conv2d(x if even else F.pad(x, sides), (self.weight - mean) * scale, self.bias, self.stride,
                        padding=(sides[2], sides[0]) if even else 0, groups=self.groups)

    def _padding_of(self, size):
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


class SqueezeExcite(nn.Module):
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image))))."""

    def __init__(self, channels, ratio):
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        gate = self.fc1(F.relu(self.fc0(x.mean(dim=(2, 3)))))
        return x * (2.0 * torch.sigmoid(gate))[:, :, None, None]


class NFBlock(nn.Module):
    """activation → 1×1 → 3×3 grouped (carries the stride) → 3×3 grouped → 1×1 → squeeze-and-excite, and SkipInit."""

    def __init__(self, in_channels, out_channels, config, stride, beta):
        super().__init__()
        groups = int(out_channels * config.expansion) // config.group_size
        width = groups * config.group_size
        self.activation, self.alpha, self.beta, self.stride = activation(config.activation), config.alpha, beta, stride
        self.conv_shortcut = ScaledConv2d(in_channels, out_channels, 1) \
            if stride > 1 or in_channels != out_channels else None
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride, groups=groups)
        self.conv1b = ScaledConv2d(width, width, 3, groups=groups)
        self.conv2 = ScaledConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio)
        self.skip_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        out = self.activation(x, self.beta)
        shortcut = x
        if self.conv_shortcut is not None:
            pooled = F.avg_pool2d(out, 2, ceil_mode=True, count_include_pad=False) if self.stride > 1 else out
            shortcut = self.conv_shortcut(pooled)
        out = self.conv1(self.activation(self.conv0(out)))
        out = self.conv2(self.activation(self.conv1b(self.activation(out))))
        return shortcut + self.squeeze_excite(out) * (self.alpha * self.skip_gain)


def activation(name):
    """A function (x, scale=1) -> scale·gamma·g(x)."""
    if name not in FUNCTIONS:
        raise InputError(f"the PyTorch twin knows the nonlinearities {', '.join(FUNCTIONS)}, not {name}")
    return lambda x, scale=1.0: FUNCTIONS[name](x) * (GAMMA[name] * scale)


class NFNet(nn.Module):
    """From an NFNetConfig; uint8 or floating images (N, C, H, W) in, logits out. Nothing is dropped."""

    def __init__(self, config):
        super().__init__()
        self.activation, channels = activation(config.activation), config.in_channels
        self.stem_convs = nn.ModuleList()
        for width, stride in zip(config.stem_channels(), config.stem_strides):
            self.stem_convs.append(ScaledConv2d(channels, width, 3, stride=stride))
            channels = width
        self.blocks = nn.ModuleList()
        for stage, position, beta, _ in block_plan(config.depths, config.alpha, 0.0):
            self.blocks.append(NFBlock(channels, config.widths[stage], config,
                                       config.strides[stage] if position == 0 else 1, beta))
            channels = config.widths[stage]
        width = int(config.final_conv_multiplier * channels)
        self.final_conv = ScaledConv2d(channels, width, 1)
        self.linear = nn.Linear(width, config.num_classes)

    def forward(self, x):
        for k, conv in enumerate(self.stem_convs):
            x = conv(self.activation(x) if k else x)
        for block in self.blocks:
            x = block(x)
        return self.linear(self.activation(self.final_conv(x)).mean(dim=(2, 3)))


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
