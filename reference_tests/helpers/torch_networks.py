"""The three families, AGC, the recipe's optimizer and SAM once more, written from the papers in plain PyTorch.

Nothing here knows nfnumpy but `copy_to` and `as_torch` at the end, which carry arrays across: HWIO to OIHW, (in, out)
to (out, in), gains (C,) to (C, 1, 1, 1). A twin takes any object with the fields of a configuration.
"""

import functools

import torch
from torch import nn
from torch.nn import functional as F

GAINED = {"relu": (1.7139588594436646, F.relu), "silu": (1.7881293296813965, F.silu),
          "gelu": (1.7015043497085571, functools.partial(F.gelu, approximate="tanh"))}


class Activation(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.gain, self.function = GAINED[name]

    def forward(self, x):
        return self.gain * self.function(x)


def pad_same(x, kernel, stride, value=0.0):
    """TensorFlow's SAME: ceil(size / stride) windows, the odd row or column of padding at the end."""
    padding = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding, value=value)


class ScaledConv2d(nn.Conv2d):
    """SAME convolution with a standardized, gained weight."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        fan_in = self.weight[0].numel()
        weight = self.gain * (self.weight - mean) * torch.rsqrt(torch.clamp(fan_in * variance, min=1e-4))
        return F.conv2d(pad_same(x, self.kernel_size[0], self.stride[0]), weight, self.bias, self.stride,
                        groups=self.groups)


class SqueezeExcite(nn.Module):
    def __init__(self, channels, ratio):
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        gate = self.fc1(F.relu(self.fc0(x.mean(dim=(2, 3)))))
        return 2 * torch.sigmoid(gate)[:, :, None, None] * x


class Block(nn.Module):
    """shortcut + alpha * skip_gain * dropped(branch(beta * activation(x))). `kept`: this step's mask (N,) or None."""

    def __init__(self, config, in_channels, out_channels, stride, beta, pools):
        super().__init__()
        self.alpha, self.beta, self.kept = config.alpha, beta, None
        self.act = Activation(config.activation)
        self.skip_gain = nn.Parameter(torch.zeros(()))
        self.conv_shortcut = None
        if stride > 1 or in_channels != out_channels:
            self.conv_shortcut = ScaledConv2d(in_channels, out_channels, 1, stride=1 if pools else stride)
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if pools and stride > 1 else nn.Identity()

    def forward(self, x):
        out = self.beta * self.act(x)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(self.pool(out))
        residual = self.branch(out)
        if self.training and self.kept is not None:
            residual = residual * self.kept[:, None, None, None]
        return shortcut + self.alpha * self.skip_gain * residual


class NFNetBlock(Block):
    def __init__(self, config, index, in_channels, out_channels, stride, beta):
        super().__init__(config, in_channels, out_channels, stride, beta, pools=True)
        groups = int(out_channels * config.expansion) // config.group_size
        width = groups * config.group_size
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride, groups=groups)
        self.conv1b = ScaledConv2d(width, width, 3, groups=groups)
        self.conv2 = ScaledConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio)

    def branch(self, out):
        out = self.act(self.conv0(out))
        out = self.act(self.conv1(out))
        out = self.act(self.conv1b(out))
        return self.squeeze_excite(self.conv2(out))


class NFRegNetBlock(Block):
    def __init__(self, config, index, in_channels, out_channels, stride, beta):
        super().__init__(config, in_channels, out_channels, stride, beta, pools=True)
        groups = int(in_channels * (1 if index == 0 else config.expansion)) // config.group_size
        width = groups * config.group_size
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride, groups=groups)
        self.squeeze_excite = SqueezeExcite(width, config.se_ratio)
        self.conv2 = ScaledConv2d(width, out_channels, 1)

    def branch(self, out):
        out = self.squeeze_excite(self.conv1(self.act(self.conv0(out))))
        return self.conv2(self.act(out))


class NFResNetBlock(Block):
    def __init__(self, config, index, in_channels, out_channels, stride, beta):
        super().__init__(config, in_channels, out_channels, stride, beta, pools=False)
        width = int(out_channels * config.bottleneck_ratio)
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride)
        self.conv2 = ScaledConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio) if config.use_se else nn.Identity()

    def branch(self, out):
        out = self.conv1(self.act(self.conv0(out)))
        return self.squeeze_excite(self.conv2(self.act(out)))


def body(block, config, channels, widths):
    """All blocks, and the rates at which stochastic depth drops them.

    A block at position p > 0 of its stage sees a variance of 1 + p alpha²; the first one that of the stage before, at
    its end; the network's first sees 1.
    """
    blocks, rates, variance = nn.ModuleList(), [], 1.0
    for width, depth, stride in zip(widths, config.depths, config.strides):
        for position in range(depth):
            rates.append(config.stochdepth_rate * len(blocks) / sum(config.depths))
            blocks.append(block(config, len(blocks), channels, width, 1 if position else stride, variance ** -0.5))
            channels, variance = width, 1.0 + (position + 1) * config.alpha**2
    return blocks, rates


class Network(nn.Module):
    """`kept` of a training step: a mask (N, features) for dropout, or None."""

    kept = None

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.head(x).mean(dim=(2, 3))
        if self.training and self.kept is not None:
            x = x * self.kept / (1 - self.drop_rate)
        return self.linear(x)


class NFNet(Network):
    def __init__(self, config):
        super().__init__()
        self.act, self.drop_rate = Activation(config.activation), config.drop_rate
        widths = (config.in_channels, *(config.stem_widths or (16, 32, 64, config.widths[0] // 2)))
        self.stem_convs = nn.ModuleList(ScaledConv2d(*pair, 3, stride=stride) for pair, stride
                                        in zip(zip(widths, widths[1:]), config.stem_strides))
        self.blocks, self.drop_rates = body(NFNetBlock, config, widths[-1], config.widths)
        self.final_conv = ScaledConv2d(config.widths[-1], 2 * config.widths[-1], 1)
        self.linear = nn.Linear(2 * config.widths[-1], config.num_classes)

    def stem(self, x):
        x = self.stem_convs[0](x)
        for conv in self.stem_convs[1:]:
            x = conv(self.act(x))
        return x

    def head(self, x):
        return self.act(self.final_conv(x))


class NFResNet(Network):
    def __init__(self, config):
        super().__init__()
        self.act, self.drop_rate, self.pools = Activation(config.activation), config.drop_rate, config.stem_pool
        self.initial_conv = ScaledConv2d(config.in_channels, config.widths[0] // 4, config.stem_kernel,
                                         stride=config.stem_stride)
        self.blocks, self.drop_rates = body(NFResNetBlock, config, config.widths[0] // 4, config.widths)
        self.linear = nn.Linear(config.widths[-1], config.num_classes)

    def stem(self, x):
        x = self.initial_conv(x)
        return F.max_pool2d(pad_same(x, 3, 2, value=-torch.inf), 3, 2) if self.pools else x

    def head(self, x):
        return self.act(x)


class NFRegNet(Network):
    def __init__(self, config):
        super().__init__()
        self.act, self.drop_rate = Activation(config.activation), config.drop_rate
        widths = [int(0.75 * width) for width in config.widths]
        self.initial_conv = ScaledConv2d(config.in_channels, widths[0], 3, stride=config.stem_stride)
        self.blocks, self.drop_rates = body(NFRegNetBlock, config, widths[0], widths)
        features = int(1280 * widths[-1] // 440)
        self.final_conv = ScaledConv2d(widths[-1], features, 1)
        self.linear = nn.Linear(features, config.num_classes)

    def stem(self, x):
        return self.initial_conv(x)

    def head(self, x):
        return self.act(self.final_conv(x))


def twin_of(config):
    """The torch network that `config` describes."""
    return {"NFNetConfig": NFNet, "NFResNetConfig": NFResNet, "NFRegNetConfig": NFRegNet}[type(config).__name__](config)


@torch.no_grad()
def clip_adaptively(name, parameter, clipping, eps=1e-3):
    """AGC of one parameter's gradient in place; the weight of the last linear layer is spared."""
    if name == "linear.weight":
        return
    is_vector = parameter.squeeze().ndim <= 1
    norm = functools.partial(torch.linalg.vector_norm, dim=None if is_vector else tuple(range(1, parameter.ndim)),
                             keepdim=not is_vector)
    allowed = clipping * norm(parameter).clamp(min=eps)
    found = norm(parameter.grad)
    parameter.grad.mul_(torch.where(found > allowed, allowed / found.clamp(min=1e-6), 1.0))


class Recipe:
    """AGC, weight decay on the weights alone, Nesterov momentum; with rho > 0 the gradient is taken SAM's way."""

    def __init__(self, network, clipping, weight_decay, rho=0.0):
        self.network, self.clipping, self.rho = network, clipping, rho
        weights = [p for name, p in network.named_parameters() if name.endswith(".weight")]
        others = [p for name, p in network.named_parameters() if not name.endswith(".weight")]
        self.sgd = torch.optim.SGD([{"params": weights, "weight_decay": weight_decay}, {"params": others}], lr=0.0,
                                   momentum=0.9, nesterov=True)

    def step(self, loss_of, lr):
        """One step; `loss_of()` is the loss of the network as it stands. Returns the loss before the step."""
        for group in self.sgd.param_groups:
            group["lr"] = lr
        loss = self.gradient(loss_of)
        if self.rho:
            self.ascend_and_take_the_gradient(loss_of)
        for name, parameter in self.network.named_parameters():
            clip_adaptively(name, parameter, self.clipping)
        self.sgd.step()
        return loss

    def gradient(self, loss_of):
        self.sgd.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss.item()

    def ascend_and_take_the_gradient(self, loss_of):
        parameters = list(self.network.parameters())
        below = [p.detach().clone() for p in parameters]
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters]))
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(parameter.grad, alpha=self.rho / norm.item())
        self.gradient(loss_of)
        with torch.no_grad():
            for parameter, value in zip(parameters, below):
                parameter.copy_(value)


def as_torch(array, like):
    """A weight or gradient in torch's layout, with the shape of `like`."""
    tensor = torch.from_numpy(array)
    if tensor.ndim in (2, 4):
        tensor = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T
    return tensor.reshape(like.shape)


def copy_to(network, state):
    """Set every parameter of `network` from `state` (name -> array in our layout); the names must be the same."""
    with torch.no_grad():
        parameters = dict(network.named_parameters())
        assert set(parameters) == set(state)
        for name, array in state.items():
            parameter = parameters[name]
            parameter.copy_(as_torch(array, parameter))
