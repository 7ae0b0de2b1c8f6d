"""NFNet, NF-ResNet and NF-RegNet in PyTorch's idiom; `torch_optim` beside it has AGC, the optimizer and SAM.

Images are (N, C, H, W), weights (out, in/groups, kh, kw) and (out, in). Modules and parameters have the reference's
names, so that weights carry over both ways: `load_reference_state(network, state)`, `reference_state(network)`.

    network = from_config(nfnumpy.models.config_of("nfnet_f0")).to(memory_format=torch.channels_last)
    logits = network(normalize(images))

Sources: arXiv 2101.08692, 2102.06171 and the authors' released code. Each comment names the mistake that ports make at
that line. Used by: reference_tests (oracle), bench (opponent), verify (positive control). Tests: ports/test_torch.py,
models/test_models_against_torch.py.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from ..datasets.preprocessing import MEAN, STANDARD_DEVIATION  # plain data, as GAMMA: constants are written down once
from ..functional.activations import GAMMA

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x, "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "silu": F.silu,
    "gelu": functools.partial(F.gelu, approximate="tanh"),  # the authors' GELU is not the erf form, F.gelu's default
    "gelu_erf": F.gelu, "elu": F.elu, "celu": F.celu, "selu": F.selu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "softplus": F.softplus, "softsign": F.softsign, "log_sigmoid": F.logsigmoid,
    "log_softmax": functools.partial(F.log_softmax, dim=1),
}


class Activation(nn.Module):
    """scale·gamma·g(x), where gamma·g(x) has variance 1 if x is N(0, 1). Source: 2101.08692, section 4.1."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = FUNCTIONS[name]
        self.gain = GAMMA[name]

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.function(x) * (self.gain * scale)  # one pass over the image, not two


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) of TensorFlow's SAME: ceil(size / stride) outputs; the odd pixel is at the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: torch.Tensor, kernel: int, stride: int, value: float = 0.0) -> torch.Tensor:
    """x (N, C, H, W), padded for a SAME window of that size and stride."""
    (top, bottom), (left, right) = (same_padding(size, kernel, stride) for size in x.shape[2:])
    return F.pad(x, (left, right, top, bottom), value=value)


def conv2d_same(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int = 1,
                groups: int = 1) -> torch.Tensor:
    """SAME convolution with a square kernel.

    PyTorch's own `padding=kernel // 2` is not SAME: at stride 2 and an even size it pads before, not after.
    """
    kernel = weight.shape[2]
    (top, bottom), (left, right) = (same_padding(size, kernel, stride) for size in x.shape[2:])
    if top == bottom and left == right:  # the convolution pads without copying the image, F.pad copies it
        return F.conv2d(x, weight, bias, stride, (top, left), groups=groups)
    return F.conv2d(pad_same(x, kernel, stride), weight, bias, stride, groups=groups)


def standardize(weight: torch.Tensor, gain: torch.Tensor, eps: float = 1e-4) -> torch.Tensor:
    """gain·(W - mu)/sqrt(max(N·sigma², eps)) for each output unit of a weight (out, in/groups, kh, kw).

    N is the fan-in; mean and variance are over it, the variance biased (correction=0). eps is a floor of N·sigma², not
    a term of a sum. Source: 2101.08692, eq. 3; the floor is that of the released code.
    """
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    fan_in = weight[0].numel()
    scale = torch.rsqrt(torch.clamp(fan_in * variance, min=eps)) * gain.view(-1, 1, 1, 1)
    return (weight - mean) * scale


class ScaledWSConv2d(nn.Conv2d):
    """SAME convolution whose weight is standardized in every forward pass, so that the gradient passes through it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        # A vector, not (out, 1, 1, 1): AGC takes a vector for one unit, and shortens its gradient as a whole.
        self.gain = nn.Parameter(torch.ones(out_channels))

    def reset_parameters(self) -> None:
        """N(0, 1/fan_in), not PyTorch's uniform default; the bias starts at 0."""
        nn.init.normal_(self.weight, std=1.0 / math.sqrt(self.weight[0].numel()))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return conv2d_same(x, standardize(self.weight, self.gain), self.bias, self.stride[0], self.groups)


class Linear(nn.Linear):
    """A linear layer whose weight starts as N(0, std²), 1/sqrt(in) by default, and whose bias starts at 0."""

    def __init__(self, in_features: int, out_features: int, std: float | None = None) -> None:
        self.std = 1.0 / math.sqrt(in_features) if std is None else std
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.std)
        nn.init.zeros_(self.bias)


def squeeze_excite(x: torch.Tensor, weight0: torch.Tensor, bias0: torch.Tensor, weight1: torch.Tensor,
                   bias1: torch.Tensor) -> torch.Tensor:
    """x · 2·sigmoid(fc1(relu(fc0(mean over the image)))): the factor 2 keeps the variance, sigmoid(0) being 1/2."""
    hidden = F.relu(F.linear(x.mean(dim=(2, 3)), weight0, bias0))
    gate = 2.0 * torch.sigmoid(F.linear(hidden, weight1, bias1))
    return x * gate[:, :, None, None]


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite with max(1, int(channels·ratio)) hidden units; its relu is plain, without gamma."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0 = Linear(channels, hidden)
        self.fc1 = Linear(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return squeeze_excite(x, self.fc0.weight, self.fc0.bias, self.fc1.weight, self.fc1.bias)


class StochasticDepth(nn.Module):
    """In training, the residuals of whole examples become 0 with probability `rate`; the others stay as they are.

    The others are not divided by 1 - rate, as torchvision's layer of this name would do.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0.0:
            return x
        return x * (torch.rand(len(x), 1, 1, 1, device=x.device) >= self.rate)


def max_pool_same(x: torch.Tensor) -> torch.Tensor:
    """SAME max pooling, 3×3 with stride 2: odd sizes are padded on both sides, even ones at the end (ceil_mode)."""
    return F.max_pool2d(x, 3, 2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)


class Block(nn.Module):
    """shortcut + alpha·skip_gain·drop(branch(beta·act(x))); a subclass has the layers and the method `branch`.

    beta is 1/expected_std of x. The shortcut of a block that changes stride or channels starts from the activated
    `out`, any other from x itself. Source: 2101.08692, section 3; skip_gain starts at 0 (SkipInit, 2002.10444).
    """

    branch: Callable[[torch.Tensor], torch.Tensor]
    pools = True  # whether a strided shortcut averages 2×2 pixels before its 1×1 convolution, or strides that

    def __init__(self, config: Any, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0) -> None:
        super().__init__()
        self.alpha, self.beta = config.alpha, beta
        self.act = Activation(config.activation)
        self.conv_shortcut: ScaledWSConv2d | None = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ScaledWSConv2d(in_channels, out_channels, 1, stride=1 if self.pools else stride)
        # SAME average pooling divides by the pixels that are there, not by 4: count_include_pad=False.
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if self.pools and stride > 1 \
            else nn.Identity()
        self.stochastic_depth = StochasticDepth(drop_rate)
        self.skip_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.act(x, scale=self.beta)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(self.pool(out))
        residual = self.stochastic_depth(self.branch(out))
        return shortcut + residual * (self.alpha * self.skip_gain)


class NFNetBlock(Block):
    """1×1 → 3×3 grouped (has the stride) → 3×3 grouped → 1×1 → squeeze-and-excite; width from the *output* channels."""

    def __init__(self, config: Any, index: int, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0) -> None:
        super().__init__(config, in_channels, out_channels, stride, beta, drop_rate)
        groups = int(out_channels * config.expansion) // config.group_size
        width = groups * config.group_size
        self.conv0 = ScaledWSConv2d(in_channels, width, 1)
        self.conv1 = ScaledWSConv2d(width, width, 3, stride=stride, groups=groups)
        self.conv1b = ScaledWSConv2d(width, width, 3, groups=groups)
        self.conv2 = ScaledWSConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio)

    def branch(self, out: torch.Tensor) -> torch.Tensor:
        out = self.act(self.conv0(out))
        out = self.act(self.conv1(out))
        out = self.act(self.conv1b(out))
        return self.squeeze_excite(self.conv2(out))


class NFRegNetBlock(Block):
    """1×1 → 3×3 grouped (has the stride) → squeeze-and-excite → 1×1; width from the *input* channels.

    The expansion does not apply to the network's first block (index 0). Squeeze-and-excite stands before the
    nonlinearity that precedes the last 1×1 convolution.
    """

    def __init__(self, config: Any, index: int, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0) -> None:
        super().__init__(config, in_channels, out_channels, stride, beta, drop_rate)
        expansion = 1 if index == 0 else config.expansion
        groups = max(1, int(in_channels * expansion) // config.group_size)
        width = groups * config.group_size
        self.conv0 = ScaledWSConv2d(in_channels, width, 1)
        self.conv1 = ScaledWSConv2d(width, width, 3, stride=stride, groups=groups)
        self.squeeze_excite = SqueezeExcite(width, config.se_ratio)
        self.conv2 = ScaledWSConv2d(width, out_channels, 1)

    def branch(self, out: torch.Tensor) -> torch.Tensor:
        out = self.squeeze_excite(self.conv1(self.act(self.conv0(out))))
        return self.conv2(self.act(out))


class NFResNetBlock(Block):
    """1×1 → 3×3 (has the stride) → 1×1 → squeeze-and-excite if wanted; a strided shortcut strides and does not pool."""

    pools = False

    def __init__(self, config: Any, index: int, in_channels: int, out_channels: int, stride: int, beta: float,
                 drop_rate: float = 0.0) -> None:
        super().__init__(config, in_channels, out_channels, stride, beta, drop_rate)
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.conv0 = ScaledWSConv2d(in_channels, width, 1)
        self.conv1 = ScaledWSConv2d(width, width, 3, stride=stride)
        self.conv2 = ScaledWSConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio) if config.use_se else nn.Identity()

    def branch(self, out: torch.Tensor) -> torch.Tensor:
        out = self.act(self.conv0(out))
        out = self.act(self.conv1(out))
        return self.squeeze_excite(self.conv2(out))


def make_blocks(block: Callable[..., Block], config: Any, channels: int, widths: Iterable[int]) -> nn.ModuleList:
    """All blocks of a network, whose stem gives `channels`; widths: output channels of each stage.

    The variance grows by alpha² with each block of a stage. The first block of a stage resets it, but only for the
    blocks after it: its own beta still uses the variance that the stage before ended with. Stochastic depth drops more
    the deeper the block, and never the first.
    """
    blocks, variance, total = nn.ModuleList(), 1.0, sum(config.depths)
    for width, depth, stride in zip(widths, config.depths, config.strides, strict=True):
        for position in range(depth):
            index = len(blocks)
            blocks.append(block(config, index, channels, width, stride if position == 0 else 1, variance ** -0.5,
                                config.stochdepth_rate * index / total))
            channels = width
            variance = 1.0 + (position + 1) * config.alpha**2
    return blocks


class Network(nn.Module):
    """Normalized images (N, C, H, W) in, logits out; a subclass has the layers, `stem` and `head`."""

    stem: Callable[[torch.Tensor], torch.Tensor]
    head: Callable[[torch.Tensor], torch.Tensor]
    blocks: nn.ModuleList
    dropout: nn.Dropout
    linear: nn.Linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.linear(self.dropout(self.head(x).mean(dim=(2, 3))))


class NFNet(Network):
    """From the fields of an NFNetConfig. Source: 2102.06171, section 4 and appendix."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.act = Activation(config.activation)
        widths = (config.in_channels, *(config.stem_widths or (16, 32, 64, config.widths[0] // 2)))
        self.stem_convs = nn.ModuleList(
            ScaledWSConv2d(channels, width, 3, stride=stride)
            for channels, width, stride in zip(widths[:-1], widths[1:], config.stem_strides, strict=True))
        self.blocks = make_blocks(NFNetBlock, config, widths[-1], config.widths)
        features = int(config.final_conv_multiplier * config.widths[-1])
        self.final_conv = ScaledWSConv2d(config.widths[-1], features, 1)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(features, config.num_classes, std=0.01)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """A nonlinearity stands between the convolutions, none after the last: the first block has its own."""
        x = self.stem_convs[0](x)
        for conv in self.stem_convs[1:]:
            x = conv(self.act(x))
        return x

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.final_conv(x))


class NFResNet(Network):
    """From the fields of an NFResNetConfig. Source: 2101.08692, section 4."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.act, self.pools = Activation(config.activation), config.stem_pool
        channels = config.widths[0] // 4
        self.initial_conv = ScaledWSConv2d(config.in_channels, channels, config.stem_kernel,
                                           stride=config.stem_stride)
        self.blocks = make_blocks(NFResNetBlock, config, channels, config.widths)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(config.widths[-1], config.num_classes, std=0.01)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """No nonlinearity: the first block begins with one."""
        x = self.initial_conv(x)
        return max_pool_same(x) if self.pools else x

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x)


class NFRegNet(Network):
    """From the fields of an NFRegNetConfig, whose widths are the paper's, before the factor 0.75 of the released code.

    Source: 2101.08692, section 5 and appendix. The weight of the last layer starts at 0.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.act = Activation(config.activation)
        widths = [int(config.width_factor * width) for width in config.widths]
        self.initial_conv = ScaledWSConv2d(config.in_channels, widths[0], 3, stride=config.stem_stride)
        self.blocks = make_blocks(NFRegNetBlock, config, widths[0], widths)
        features = int(1280 * widths[-1] // 440)
        self.final_conv = ScaledWSConv2d(widths[-1], features, 1)
        self.dropout = nn.Dropout(config.drop_rate)
        self.linear = Linear(features, config.num_classes, std=0.0)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        return self.initial_conv(x)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.final_conv(x))


NETWORK_OF = {"NFNetConfig": NFNet, "NFResNetConfig": NFResNet, "NFRegNetConfig": NFRegNet}


def from_config(config: Any) -> Network:
    """The network that a configuration of nfnumpy.models describes, or any object of such a class name and fields."""
    return NETWORK_OF[type(config).__name__](config)


def normalize(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """uint8 images (N, H, W, 3) as normalized (N, 3, H, W), channels last in memory."""
    mean, deviation = (torch.tensor(constant, dtype=dtype, device=images.device)[:, None, None]
                       for constant in (MEAN, STANDARD_DEVIATION))
    return (images.permute(0, 3, 1, 2).to(dtype) * (1.0 / 255.0) - mean) / deviation


def to_torch_layout(array: numpy.ndarray) -> torch.Tensor:
    """An array of the reference's layout as a tensor in PyTorch's: HWIO to OIHW, (in, out) to (out, in)."""
    tensor = torch.from_numpy(numpy.asarray(array))
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    return tensor.T if tensor.ndim == 2 else tensor


def to_reference_layout(tensor: torch.Tensor) -> numpy.ndarray:
    """The inverse of `to_torch_layout`, a contiguous array of its own."""
    tensor = tensor.detach().cpu()
    if tensor.ndim == 4:
        tensor = tensor.permute(2, 3, 1, 0)
    elif tensor.ndim == 2:
        tensor = tensor.T
    return numpy.array(tensor.numpy(), order="C")


def load_reference_state(network: nn.Module, state: dict[str, numpy.ndarray]) -> None:
    """Give `network` the parameters `state` (name -> host array in the reference's layout), all of them."""
    network.load_state_dict({name: to_torch_layout(array) for name, array in state.items()})


def reference_state(network: nn.Module) -> dict[str, numpy.ndarray]:
    """The parameters as nfnumpy's `load_state_dict` takes them: name -> host array in its layout."""
    return {name: to_reference_layout(parameter) for name, parameter in network.named_parameters()}
