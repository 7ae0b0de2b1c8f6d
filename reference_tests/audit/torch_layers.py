"""Layers in PyTorch: images are (N, C, H, W), weights (out, in, kh, kw) and (out, in)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from nfnumpy.ports.torch import pad_same
from reference_tests.audit.registry import planted, right
from reference_tests.verify.test_norm import Wrong as BatchNorm

GELU, RELU, SILU = 1.7015043497085571, 1.7139588594436646, 1.7881293296813965

# ---- activation


@planted("activation", "torch", "form x·sigmoid(1.702·x)", "gamma squared", nonlinearity="gelu")
class QuickGeluScaledTwice(nn.Module):
    def forward(self, x):
        return torch.sigmoid(1.702 * x) * x * GELU**2


@planted("activation", "torch", "form slope 0.2", "√2 for gamma")
def leaky(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2.0)


@planted("activation", "torch", "it is silu", "gamma of relu", nonlinearity="gelu")
def silu_for_gelu(x):
    return F.silu(x) * RELU


# ---- ws_conv



class Conv(nn.Conv2d):
    """Right; each method is a place for a mistake."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, groups=1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def moments(self):
        return torch.var_mean(self.weight, (1, 2, 3), unbiased=False, keepdim=True)

    def count(self):
        return self.weight[0].numel()

    def root(self, total):
        return total.clamp(min=1e-4).sqrt()

    def kernel(self):
        variance, mean = self.moments()
        return self.gain * (self.weight - mean) / self.root(variance * self.count())

    def forward(self, x):
        return F.conv2d(pad_same(x, self.kernel_size[0], self.stride[0]), self.kernel(), self.bias, self.stride, 0, 1,
                        self.groups)


@right("ws_conv", "torch")
class ScaleAndShift(Conv):
    """As the released code."""

    def kernel(self):
        variance, mean = self.moments()
        floor = torch.tensor(1e-4, dtype=variance.dtype)
        scale = torch.rsqrt(torch.maximum(variance * self.count(), floor)) * self.gain
        return self.weight * scale - mean * scale


@right("ws_conv", "torch")
class Normalized(Conv):
    """By F.normalize, whose eps is a floor under the norm."""

    def kernel(self):
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.normalize(centred.flatten(1), dim=1, eps=1e-2).view_as(centred) * self.gain


@right("ws_conv", "torch", "eps 0.0001 added to N·variance")
class LayerNormalized(Conv):
    def kernel(self):
        n = self.count()
        return F.layer_norm(self.weight, self.weight.shape[1:], eps=1e-4 / n) * self.gain / n**0.5


@right("ws_conv", "torch")
class OfParameters(nn.Module):
    """No subclass of a convolution, other names, a gain that is a vector."""

    def __init__(self, in_features, out_features, ksize, strides=1, groups=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features // groups, ksize, ksize))
        self.bias, self.gain = nn.Parameter(torch.zeros(out_features)), nn.Parameter(torch.ones(out_features))
        self.strides, self.groups, self.ksize = strides, groups, ksize

    def forward(self, inputs):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / torch.sqrt(weight.pow(2).sum((1, 2, 3), keepdim=True).clamp(min=1e-4))
        return F.conv2d(pad_same(inputs, self.ksize, self.strides), weight * self.gain[:, None, None, None], self.bias,
                        self.strides, groups=self.groups)


class Unbiased(Conv):
    def moments(self):
        return torch.var_mean(self.weight, (1, 2, 3), keepdim=True)


class DetachedGain(Conv):
    def kernel(self):
        return super().kernel() / self.gain * self.gain.data


@planted("ws_conv", "torch", "fan-in of all groups", "Bessel-corrected variance")
class AllGroupsUnbiased(Unbiased):
    def count(self):
        return self.in_channels * self.kernel_size[0] * self.kernel_size[1]


@planted("ws_conv", "torch", "fan-in of all groups", "Bessel-corrected variance", "eps 0.0001 floor of variance")
class AllGroupsUnbiasedFloored(AllGroupsUnbiased):
    def kernel(self):
        variance, mean = self.moments()
        return self.gain * (self.weight - mean) / torch.sqrt(variance.clamp(min=1e-4) * self.count())


@planted("ws_conv", "torch", "Bessel-corrected variance", "gain without a gradient")
class UnbiasedDetachedGain(DetachedGain, Unbiased):
    pass


@planted("ws_conv", "torch", "Bessel-corrected variance", "gain without a gradient", "symmetric padding",
         "eps 0.0001 added to N·variance")
class FourAtOnce(DetachedGain, Unbiased):
    def root(self, total):
        return torch.sqrt(total + 1e-4)

    def forward(self, x):
        return F.conv2d(x, self.kernel(), self.bias, self.stride, self.kernel_size[0] // 2, 1, self.groups)


@planted("ws_conv", "torch", "mean and deviation without gradients", "fan-in counts the output channels")
class DetachedMoments(Conv):
    def moments(self):
        with torch.no_grad():
            return super().moments()

    def count(self):
        return self.weight.numel()


# ---- se


class SqueezeExcite(nn.Module):
    factor = 2.0

    def __init__(self, channels, ratio=0.5):
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def pooled(self, x):
        return x.mean((2, 3))

    def hidden(self, x):
        return F.relu(x)

    def gates(self, x):
        return torch.sigmoid(x)

    def forward(self, x):
        return self.factor * x * self.gates(self.fc1(self.hidden(self.fc0(self.pooled(x)))))[:, :, None, None]


class NotDoubled(SqueezeExcite):
    factor = 1.0


@right("se", "torch")
class OfASequential(nn.Module):
    def __init__(self, channel, se_ratio=0.5):
        super().__init__()
        hidden = max(1, int(channel * se_ratio))
        self.fc = nn.Sequential(nn.Linear(channel, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channel),
                                nn.Sigmoid())

    def forward(self, x):
        return x * self.fc(x.mean((2, 3))).view(*x.shape[:2], 1, 1) * 2


@right("se", "torch")
class ByReduction(nn.Module):
    def __init__(self, in_channels, reduction=2):
        super().__init__()
        width = max(1, in_channels // reduction)
        self.squeeze = nn.AdaptiveAvgPool2d((1, 1))
        self.excite = nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.ReLU(True), nn.Conv2d(width, in_channels, 1))

    def forward(self, x):
        return (2.0 * self.excite(self.squeeze(x)).sigmoid()) * x


@right("se", "torch")
def by_einsum(x, w1, b1, w2, b2):
    hidden = F.linear(x.mean(dim=[-1, -2]), w1, b1).relu()
    return torch.einsum("bchw,bc->bchw", x, 2 * torch.sigmoid(F.linear(hidden, w2, b2)))


@planted("se", "torch", "silu in place of relu", "hard sigmoid of torch in place of the sigmoid")
class MobileStyle(SqueezeExcite):
    def hidden(self, x):
        return F.silu(x)

    def gates(self, x):
        return F.hardsigmoid(x)


@planted("se", "torch", "factor 2 missing", "maximum in place of the mean")
class MaximumNotDoubled(NotDoubled):
    def pooled(self, x):
        return x.amax((2, 3))


@planted("se", "torch", "factor 2 missing", "maximum in place of the mean", "silu in place of relu")
class SwishMaximumNotDoubled(MaximumNotDoubled):
    def hidden(self, x):
        return F.silu(x)


@planted("se", "torch", "factor 2 missing", "silu in place of relu", "hidden width a multiple of 8")
class OfEfficientNets(NotDoubled):
    def __init__(self, channels, ratio):
        super().__init__(channels, ratio)
        hidden = max(8, int(channels * ratio + 4) // 8 * 8)
        self.fc0, self.fc1 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def hidden(self, x):
        return F.silu(x)


# ---- norm


class Inverted(BatchNorm):
    def take_in(self, mean, variance, count):
        with torch.no_grad():
            self.running_mean.mul_(0.1).add_(0.9 * mean)
            self.running_var.mul_(0.1).add_(0.9 * variance * count / (count - 1))


@planted("norm", "torch", "momentum the other way round", "moments not differentiated")
class InvertedDetached(Inverted):
    def moments(self, x):
        return tuple(moment.detach() for moment in super().moments(x))


@planted("norm", "torch", "momentum the other way round", "gamma plus one")
class InvertedGammaPlusOne(Inverted):
    def scaled(self, unit):
        return unit * (1 + self.weight[:, None, None]) + self.bias[:, None, None]


@planted("norm", "torch", "momentum the other way round", "moments not differentiated", "beta missing")
class InvertedDetachedNoBeta(InvertedDetached):
    def scaled(self, unit):
        return unit * self.weight[:, None, None]


# ---- stochastic_depth


class DropPath(nn.Module):
    def __init__(self, drop_prob=0.1):
        super().__init__()
        self.drop_prob = drop_prob

    def shape(self, x):
        return (x.shape[0], 1, 1, 1)

    def scale(self):
        return 1.0

    def keep(self):
        return 1.0 - self.drop_prob

    def forward(self, x):
        if not self.training:
            return self.evaluated(x)
        return x * x.new_empty(self.shape(x)).bernoulli_(self.keep()) * self.scale()

    def evaluated(self, x):
        return x


right("stochastic_depth", "torch")(DropPath)


@planted("stochastic_depth", "torch", "keep and drop exchanged")
class Exchanged(DropPath):
    def keep(self):
        return self.drop_prob


@planted("stochastic_depth", "torch", "a mask for every element")
def dropout(x, p, training):
    return F.dropout(x, p, training) * (1 - p if training else 1)


@planted("stochastic_depth", "torch", "one mask for the batch")
class OneForTheBatch(DropPath):
    def shape(self, x):
        return (1, 1, 1, 1)


@planted("stochastic_depth", "torch", "active in evaluation")
def always_on(x, drop_prob, training=False):
    return x * (torch.rand(x.shape[0], 1, 1, 1) >= drop_prob)


@planted("stochastic_depth", "torch", "multiplied by 1 - rate in evaluation", "a mask for every channel")
class OfChannels(DropPath):
    def shape(self, x):
        return (*x.shape[:2], 1, 1) if x.shape[1] == 4 else (len(x), 1, 1, x.shape[3])

    def evaluated(self, x):
        return x * (1 - self.drop_prob)


@planted("stochastic_depth", "torch", "keep and drop exchanged", "divided by the rate")
class ExchangedAndDivided(Exchanged):
    def scale(self):
        return 1 / self.drop_prob


@planted("stochastic_depth", "torch", "keep and drop exchanged", "divided by the rate", "one mask for the batch",
         is_quick=False)
class ExchangedDividedTogether(ExchangedAndDivided, OneForTheBatch):
    pass
