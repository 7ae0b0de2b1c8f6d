"""Correct PyTorch networks in other styles than nfnumpy.ports.torch: verify must find no mistake in them.

STYLES: name -> (family, a function of a configuration that makes the network).
"""

import torch
from torch import nn
from torch.nn import functional as F

from nfnumpy.ports import torch as torch_port
from reference_tests.helpers.wrong_ports import blocks, convolving, each, forward_of, method


def styled(*changes):
    """A network with changes that change no result."""
    def make(config):
        network = torch_port.from_config(config)
        for change in changes:
            change(network)
        return network
    return make


def by_norm(conv):
    """The standardized weight as a vector of norm gain."""
    centred = conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)
    square = centred.square().sum((1, 2, 3), keepdim=True)
    return centred / square.clamp(min=1e-4).sqrt() * conv.gain.view(-1, 1, 1, 1)


def by_matrix(conv):
    """The same on a matrix of units."""
    flat = conv.weight.flatten(1)
    scale = (flat.var(dim=1, unbiased=False) * flat.shape[1]).clamp(min=1e-4).rsqrt() * conv.gain
    return ((flat - flat.mean(1, keepdim=True)) * scale[:, None]).view_as(conv.weight)


def pool_after(block, k):
    """The mean of 2×2 pixels and a 1×1 convolution may change places."""
    if isinstance(block.pool, nn.AvgPool2d):
        block.conv_shortcut, block.pool = nn.Sequential(block.conv_shortcut, block.pool), nn.Identity()


class ChannelsLast(nn.Module):
    """Takes images (N, H, W, C)."""

    def __init__(self, config):
        super().__init__()
        self.net = torch_port.from_config(config)

    def forward(self, images):
        if images.shape[3] != 3:
            raise ValueError("expected channels last")
        return self.net(images.permute(0, 3, 1, 2))


class InFloat32(ChannelsLast):
    """Computes in float32 whatever it is given."""

    def forward(self, images):
        return self.net.float()(images.float())


class Wrapped(ChannelsLast):
    """Returns a dict."""

    def forward(self, images):
        return {"features": None, "logits": self.net(images)}


class Paired(ChannelsLast):
    """Returns a tuple; its blocks return what they saw beside their output."""

    def forward(self, images):
        x = self.net.stem(images)
        for block in self.net.blocks:
            x, _ = block(x), x.var()
        return self.net.linear(self.net.head(x).mean((2, 3))), x


class WithoutModules(nn.Module):
    """One flat list of parameters with names of its own, in order; a functional forward pass, no block to look into."""

    def __init__(self, config):
        super().__init__()
        self.port = [torch_port.from_config(config)]
        self.names = {name: f"t{k:03d}_{name.split('.')[-1]}" for k, (name, _) in
                      enumerate(self.port[0].named_parameters())}
        for name, value in self.port[0].named_parameters():
            self.register_parameter(self.names[name], nn.Parameter(value.detach().clone()))

    def forward(self, x):
        held = {name: getattr(self, own) for name, own in self.names.items()}
        return torch.func.functional_call(self.port[0].to(x.dtype), held, (x,))


class TimmNames(nn.Module):
    """An NFNet with timm's module names, squeeze-and-excite as 1×1 convolutions, blocks in stages."""

    def __init__(self, config):
        super().__init__()
        port = torch_port.from_config(config)
        self.stem = nn.Sequential()
        for k, conv in enumerate(port.stem_convs):
            self.stem.add_module(f"conv{k + 1}", conv)
            if k + 1 < len(port.stem_convs):
                self.stem.add_module(f"act{k + 2}", port.act)
        given = iter(port.blocks)
        self.stages = nn.Sequential(*(nn.Sequential(*(TimmBlock(next(given)) for _ in range(depth)))
                                      for depth in config.depths))
        self.final_conv, self.act, self.head = port.final_conv, port.act, nn.Module()
        self.head.fc = port.linear

    def forward(self, x):
        return self.head.fc(self.act(self.final_conv(self.stages(self.stem(x)))).mean((2, 3)))


class TimmBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.alpha, self.beta, self.act = block.alpha, block.beta, block.act
        self.downsample = None
        if block.conv_shortcut is not None:
            self.downsample = nn.Sequential()
            self.downsample.pool, self.downsample.conv = block.pool, block.conv_shortcut
        self.conv1, self.conv2, self.conv2b, self.conv3 = block.conv0, block.conv1, block.conv1b, block.conv2
        self.attn_last = nn.Module()
        for ours, theirs in (("fc0", "fc1"), ("fc1", "fc2")):
            linear = getattr(block.squeeze_excite, ours)
            setattr(self.attn_last, theirs, nn.Conv2d(linear.in_features, linear.out_features, 1))
        self.skipinit_gain = block.skip_gain

    def forward(self, x):
        out = self.act(x) * self.beta
        shortcut = x if self.downsample is None else self.downsample.conv(self.downsample.pool(out))
        out = self.conv3(self.act(self.conv2b(self.act(self.conv2(self.act(self.conv1(out)))))))
        gate = self.attn_last.fc2(F.relu(self.attn_last.fc1(out.mean((2, 3), keepdim=True))))
        return out * torch.sigmoid(gate) * 2.0 * self.skipinit_gain * self.alpha + shortcut


def gamma_in_the_weights(network):
    """Gamma left out of the nonlinearities, and multiplied to whatever comes after one."""
    gamma = network.act.gain
    for module in network.modules():
        if isinstance(module, torch_port.Activation):
            module.gain = 1.0
    after_none = (network.stem_convs[0], network.final_conv)
    for module in network.modules():
        if isinstance(module, torch_port.ScaledWSConv2d) and module not in after_none:
            method(module, "forward", lambda self, x: F.conv2d(torch_port.pad_same(
                x, self.kernel_size[0], self.stride[0]), gamma * by_norm(self), self.bias, self.stride,
                groups=self.groups))
    method(network.linear, "forward", lambda self, x: F.linear(gamma * x, self.weight, self.bias))


def gains_of_four_axes(network):
    """Every gain (out, 1, 1, 1)."""
    for module in network.modules():
        if isinstance(module, torch_port.ScaledWSConv2d):
            module.gain = nn.Parameter(module.gain.detach().view(-1, 1, 1, 1))


STYLES = {
    "the port itself": ("nfnet", styled()),
    "norms of vectors": ("nfnet", styled(convolving(by_norm))),
    "matrices of units": ("nf_resnet", styled(convolving(by_matrix))),
    "gamma in the weights": ("nfnet", styled(gamma_in_the_weights)),
    "pool after the 1×1": ("nfnet", styled(blocks(pool_after))),
    "pool after the 1×1, RegNet": ("nf_regnet", styled(blocks(pool_after))),
    "alpha on the skip gain": ("nf_regnet", styled(forward_of(lambda self, shortcut, residual: torch.addcmul(
        shortcut, residual, self.alpha * self.skip_gain)))),
    "division by the expected deviation": ("nfnet", styled(forward_of(lambda self, shortcut, residual: (
        shortcut + residual * self.skip_gain * self.alpha), entering=lambda self, x: self.act(x) / (1 / self.beta)))),
    "tanh for the sigmoid": ("nf_resnet", styled(each(torch_port.SqueezeExcite, "forward", lambda self, x: (
        x + x * torch.tanh(self.fc1(F.relu(self.fc0(x.mean((2, 3))))) / 2)[:, :, None, None])))),
    "channels last inside": ("nfnet", lambda config: torch_port.from_config(config).to(
        memory_format=torch.channels_last)),
    "gains of four axes": ("nfnet", styled(gains_of_four_axes)),
    "images with channels last": ("nfnet", ChannelsLast),
    "float32": ("nfnet", InFloat32),
    "float32, ResNet": ("nf_resnet", InFloat32),
    "a dict": ("nf_regnet", Wrapped),
    "a tuple": ("nf_resnet", Paired),
    "no modules": ("nf_resnet", WithoutModules),
    "no modules, NFNet": ("nfnet", WithoutModules),
    "timm's names": ("nfnet", TimmNames),
    "dropout and stochastic depth that are off": ("nf_resnet", styled(each(torch_port.Block, "forward", (
        lambda self, x: (x if self.conv_shortcut is None else self.conv_shortcut(self.pool(self.beta * self.act(x))))
        + self.alpha * self.skip_gain * self.branch(self.beta * self.act(x)) * (
            (torch.rand(len(x), 1, 1, 1) > 0.3) if self.training else 1.0))))),
    "another order of parameters": ("nf_resnet", lambda config: shortcuts_last(torch_port.from_config(config))),
}


def shortcuts_last(network):
    """Names that say nothing but which layer is a shortcut, in an order unlike ours."""
    for block in network.blocks:
        parts = dict(block.named_children())
        for name in ("conv_shortcut", "conv0", "conv1", "conv2"):
            if name in parts:
                delattr(block, name)
        block.a, block.b, block.c = parts["conv0"], parts["conv1"], parts["conv2"]
        block.downsample = parts.get("conv_shortcut")
        method(block, "forward", lambda self, x: (x if self.downsample is None else self.downsample(
            self.beta * self.act(x))) + self.alpha * self.skip_gain * self.squeeze_excite(self.c(self.act(self.b(
                self.act(self.a(self.beta * self.act(x))))))))
    return network
