"""PyTorch networks with one usual mistake each: every entry changes a correct network of nfnumpy.ports.torch.

MISTAKES: name -> (family, the change of a network, the name of the known variant that verify should find).
"""

import types

import torch
from torch import nn
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.ports import torch as torch_port
from nfnumpy.ports.torch import ScaledWSConv2d, pad_same

CONFIGS = {
    "nfnet": nf.models.NFNetConfig(widths=(8, 16), depths=(2, 2), strides=(1, 2), group_size=4,
                                   stem_widths=(4, 4, 8, 6), num_classes=7),
    "nf_resnet": nf.models.NFResNetConfig(widths=(16, 32), depths=(2, 2), strides=(1, 2), use_se=True, num_classes=7),
    "nf_regnet": nf.models.NFRegNetConfig(widths=(16, 24), depths=(2, 2), strides=(2, 2), num_classes=7),
}


def method(owner, name, function):
    """Replace a method of one object by `function(self, …)`."""
    setattr(owner, name, types.MethodType(function, owner))


def each(cls, name, function):
    """A change that replaces a method of every module of class `cls`."""
    def change(network):
        for module in network.modules():
            if isinstance(module, cls):
                method(module, name, function)
    return change


def blocks(change):
    """A change of every block, given (block, its index)."""
    def change_all(network):
        for k, block in enumerate(network.blocks):
            change(block, k)
    return change_all


def convolving(weight_of=None, bias=True, padding=None):
    """A convolution with another standardization, bias or padding."""
    def forward(self, x):
        weight = (weight_of or standardized)(self)
        kernel, stride = self.kernel_size[0], self.stride[0]
        x = pad_same(x, kernel, stride) if padding is None else F.pad(x, (padding * (kernel // 2),) * 4)
        return F.conv2d(x, weight, self.bias if bias else None, self.stride, groups=self.groups)
    return each(ScaledWSConv2d, "forward", forward)


def standardized(conv, correction=0, axes=(1, 2, 3), floor=1e-4, fan_in=None, detach=False):
    variance, mean = torch.var_mean(conv.weight, dim=axes, correction=correction, keepdim=True)
    if detach:
        variance, mean = variance.detach(), mean.detach()
    fan_in = conv.weight[0].numel() if fan_in is None else fan_in(conv.weight)
    return conv.gain.view(-1, 1, 1, 1) * (conv.weight - mean) * torch.rsqrt(torch.clamp(fan_in * variance, min=floor))


def without_gain(conv):
    variance, mean = torch.var_mean(conv.weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return (conv.weight - mean) * torch.rsqrt(torch.clamp(conv.weight[0].numel() * variance, min=1e-4))


def eps_added(conv):
    variance, mean = torch.var_mean(conv.weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return conv.gain.view(-1, 1, 1, 1) * (conv.weight - mean) * torch.rsqrt((variance + 1e-6) * conv.weight[0].numel())


def activating(function, gain):
    """Every nonlinearity another one."""
    def change(network):
        for module in network.modules():
            if isinstance(module, torch_port.Activation):
                module.function, module.gain = function, gain
    return change


def betas_of(variances):
    """Blocks with other betas: 1/√variance, as `variances` has them by index."""
    return blocks(lambda block, k: setattr(block, "beta", variances[k] ** -0.5))


def forward_of(join=None, entering=None, shortcut_from=None, identity=None):
    """A block whose forward pass differs in one of its steps."""
    def forward(self, x):
        out = entering(self, x) if entering else self.beta * self.act(x)
        if self.conv_shortcut is None:
            shortcut = identity(self, x, out) if identity else x
        else:
            shortcut = self.conv_shortcut(self.pool(shortcut_from(self, x) if shortcut_from else out))
        residual = self.branch(out)
        return join(self, shortcut, residual) if join else shortcut + self.alpha * self.skip_gain * residual
    return each(torch_port.Block, "forward", forward)


def branch_of(function, cls=torch_port.NFNetBlock):
    return each(cls, "branch", function)


def excited(gate=torch.sigmoid, nonlinearity=F.relu, factor=2.0, mean=(2, 3)):
    def forward(self, x):
        pooled = x.mean(dim=mean, keepdim=True)
        pooled = pooled.expand(len(x), -1, -1, -1).flatten(1)
        return factor * gate(self.fc1(nonlinearity(self.fc0(pooled))))[:, :, None, None] * x
    return each(torch_port.SqueezeExcite, "forward", forward)


def without_conv1b(block, k):
    del block.conv1b
    method(block, "branch", lambda self, out: self.squeeze_excite(self.conv2(self.act(self.conv1(self.act(
        self.conv0(out)))))))


def exchange_groups(block, k):
    for name in ("conv1", "conv1b"):
        conv = getattr(block, name)
        setattr(block, name, ScaledWSConv2d(conv.in_channels, conv.out_channels, 3, stride=conv.stride[0], groups=4))


def one_group(block, k):
    for name in ("conv1", "conv1b"):
        conv = getattr(block, name)
        setattr(block, name, ScaledWSConv2d(conv.in_channels, conv.out_channels, 3, stride=conv.stride[0]))


def hidden_by_eight(block, k):
    channels = block.squeeze_excite.fc0.in_features
    block.squeeze_excite.fc0, block.squeeze_excite.fc1 = nn.Linear(channels, 8 * max(1, (channels // 2 + 4) // 8)), \
        nn.Linear(8 * max(1, (channels // 2 + 4) // 8), channels)


def move_stride(to):
    def change(block, k):
        stride = block.conv1.stride
        block.conv1.stride = (1, 1)
        getattr(block, to).stride = stride
    return blocks(change)


def pooling(module):
    """Strided blocks with another pool before the shortcut's convolution."""
    return blocks(lambda block, k: setattr(block, "pool", module()) if isinstance(block.pool, nn.AvgPool2d) else None)


class CountingPadding(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2)


def strided_shortcut(block, k):
    if isinstance(block.pool, nn.AvgPool2d):
        block.pool, block.conv_shortcut.stride = nn.Identity(), (2, 2)


def averaging_shortcut(block, k):
    if block.conv_shortcut is not None and block.conv_shortcut.stride == (2, 2):
        block.pool, block.conv_shortcut.stride = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False), (1, 1)


def head(function):
    return lambda network: method(network, "head", function)


def stem(function):
    return lambda network: method(network, "stem", function)


def stem_with_last_activation(self, x):
    for conv in self.stem_convs:
        x = self.act(conv(x))
    return x


def early_strides(network):
    for conv, stride in zip(network.stem_convs, (2, 2, 1, 1), strict=True):
        conv.stride = (stride, stride)


def pooled_forward(reduce):
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.linear(reduce(self.head(x)))
    return lambda network: method(network, "forward", forward)


def without_skip_gain(block, k):
    del block.skip_gain
    method(block, "forward", lambda self, x: (x if self.conv_shortcut is None else self.conv_shortcut(self.pool(
        self.beta * self.act(x)))) + self.alpha * self.branch(self.beta * self.act(x)))


def without_bias(network):
    for module in network.modules():
        if isinstance(module, ScaledWSConv2d):
            module.bias = None



def regnet_excited_last(self, out):
    return self.conv2(self.squeeze_excite(self.act(self.conv1(self.act(self.conv0(out))))))


def excited_sum(network):
    branch_of(lambda self, out: self.conv2(self.act(self.conv1b(self.act(self.conv1(self.act(self.conv0(out))))))))(
        network)
    forward_of(lambda self, shortcut, residual: self.squeeze_excite(
        shortcut + self.alpha * self.skip_gain * residual))(network)


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


GELU = 1.7015043497085571
NFNET = {
    "bias missing": without_bias,
    "bias not added": convolving(bias=False),
    "GELU by erf": activating(F.gelu, GELU),
    "nonlinearity relu": activating(F.relu, 1.7139588594436646),
    "gamma missing": activating(tanh_gelu, 1.0),
    "gamma of relu": activating(tanh_gelu, 1.7139588594436646),
    "eps 1e-06 added to variance": convolving(eps_added),
    "eps 0.001 floor of N·variance": convolving(lambda conv: standardized(conv, floor=1e-3)),
    "Bessel-corrected variance": convolving(lambda conv: standardized(conv, correction=1)),
    "statistics over the whole tensor": convolving(lambda conv: standardized(conv, axes=(0, 1, 2, 3))),
    "fan-in counts the output channels": convolving(lambda conv: standardized(conv, fan_in=torch.numel)),
    "no division by √N": convolving(lambda conv: standardized(conv, fan_in=lambda weight: 1)),
    "gain left out": convolving(without_gain),
    "kernels flipped": convolving(lambda conv: standardized(conv).flip(2, 3)),
    "kernels transposed": convolving(lambda conv: standardized(conv).transpose(2, 3)),
    "symmetric padding": convolving(padding=1),
    "beta missing": betas_of([1.0] * 4),
    "expected_std never reset": betas_of([1, 1.04, 1.08, 1.12]),
    "expected_std reset too early": betas_of([1, 1.04, 1, 1.04]),
    "alpha not squared in expected_std": betas_of([1, 1.2, 1.4, 1.2]),
    "alpha forgotten after the reset": betas_of([1, 1, 1.04, 1]),
    "beta inverted": blocks(lambda block, k: setattr(block, "beta", 1 / block.beta)),
    "beta is 1/variance": blocks(lambda block, k: setattr(block, "beta", block.beta**2)),
    "beta before the nonlinearity": forward_of(entering=lambda self, x: self.act(self.beta * x)),
    "shortcut from x": forward_of(shortcut_from=lambda self, x: x),
    "shortcut without beta": forward_of(shortcut_from=lambda self, x: self.act(x)),
    "identity shortcut activated": forward_of(identity=lambda self, x, out: out),
    "beta on the identity shortcut": forward_of(identity=lambda self, x, out: self.beta * x),
    "skip gain missing": blocks(without_skip_gain),
    "skip gain not multiplied": forward_of(lambda self, shortcut, residual: shortcut + self.alpha * residual),
    "skip gain plus one": forward_of(lambda self, shortcut, residual:
                                     shortcut + self.alpha * (1 + self.skip_gain) * residual),
    "alpha missing": forward_of(lambda self, shortcut, residual: shortcut + self.skip_gain * residual),
    "alpha squared": forward_of(lambda self, shortcut, residual:
                                shortcut + self.alpha**2 * self.skip_gain * residual),
    "alpha on the shortcut": forward_of(lambda self, shortcut, residual:
                                        self.alpha * shortcut + self.skip_gain * residual),
    "alpha on the sum": forward_of(lambda self, shortcut, residual:
                                   self.alpha * (shortcut + self.skip_gain * residual)),
    "squeeze-and-excite on the sum": excited_sum,
    "squeeze-and-excite missing": each(torch_port.SqueezeExcite, "forward", lambda self, x: x),
    "factor 2 missing": excited(factor=1.0),
    "silu in place of relu": excited(nonlinearity=F.silu),
    "hard sigmoid of torch in place of the sigmoid": excited(gate=F.hardsigmoid),
    "mean over the batch too": excited(mean=(0, 2, 3)),
    "conv1b missing": blocks(without_conv1b),
    "conv1 and conv1b exchanged": branch_of(lambda self, out: self.squeeze_excite(self.conv2(self.act(F.conv2d(
        pad_same(self.act(F.conv2d(pad_same(self.act(self.conv0(out)), 3, self.conv1.stride[0]),
                                   standardized(self.conv1b), self.conv1b.bias, self.conv1.stride,
                                   groups=self.conv1.groups)), 3, 1),
        standardized(self.conv1), self.conv1.bias, groups=self.conv1.groups))))),
    "no nonlinearity before conv1b": branch_of(lambda self, out: self.squeeze_excite(self.conv2(self.act(self.conv1b(
        self.conv1(self.act(self.conv0(out)))))))),
    "nonlinearity at the branch's end": branch_of(lambda self, out: self.squeeze_excite(self.act(self.conv2(self.act(
        self.conv1b(self.act(self.conv1(self.act(self.conv0(out)))))))))),
    "stride on the second 3×3": move_stride("conv1b"),
    "stride on the first 1×1": move_stride("conv0"),
    "average pool counts padding": pooling(CountingPadding),
    "shortcut pools the maximum": pooling(lambda: nn.MaxPool2d(2, ceil_mode=True)),
    "shortcut by a strided 1×1": blocks(strided_shortcut),
    "group size and number of groups exchanged": blocks(exchange_groups),
    "3×3 convolutions not grouped": blocks(one_group),
    "hidden width a multiple of 8": blocks(hidden_by_eight),
    "nonlinearity after the stem": stem(stem_with_last_activation),
    "strides of the stem too early": early_strides,
    "final nonlinearity missing": head(lambda self, x: self.final_conv(x)),
    "nonlinearity before the final convolution": head(lambda self, x: self.final_conv(self.act(x))),
    "head takes the maximum": pooled_forward(lambda x: x.amax(dim=(2, 3))),
    "bias of the head missing": lambda network: setattr(network.linear, "bias", None),
    "standardization not differentiated": convolving(lambda conv: standardized(conv, detach=True)),
    "skip gain not trained": forward_of(lambda self, shortcut, residual:
                                        shortcut + self.alpha * self.skip_gain.detach() * residual),
    "no gradient through the shortcut": forward_of(lambda self, shortcut, residual:
                                                   shortcut.detach() + self.alpha * self.skip_gain * residual),
    "dropout on in evaluation": head(lambda self, x: F.dropout(self.act(self.final_conv(x)), 0.3, training=True)),
    "stochastic depth on in evaluation": forward_of(lambda self, shortcut, residual: shortcut + self.alpha
                                                    * self.skip_gain * residual * (torch.rand(len(residual), 1, 1, 1)
                                                                                   > 0.4)),
    "rescaled by 1/(1 - rate)": forward_of(lambda self, shortcut, residual: shortcut + self.alpha * self.skip_gain * (
        residual * (torch.rand(len(residual), 1, 1, 1) > 0.4) / 0.6 if self.training else residual)),
    "a mask for every element": forward_of(lambda self, shortcut, residual: shortcut + self.alpha * self.skip_gain * (
        residual * (torch.rand_like(residual) > 0.4) if self.training else residual)),
}
NF_RESNET = {
    "shortcut averages first": blocks(averaging_shortcut),
    "factor 2 missing": excited(factor=1.0),
    "symmetric padding of the stem's pool": stem(lambda self, x: F.max_pool2d(self.initial_conv(x), 3, 2, 1)),
    "stem's pool missing": lambda network: setattr(network, "pools", False),
    "nonlinearity silu": activating(F.silu, 1.7881293296813965),
    "expected_std never reset": betas_of([1, 1.04, 1.08, 1.12]),
}
NF_REGNET = {
    "squeeze-and-excite after the last nonlinearity": branch_of(regnet_excited_last, torch_port.NFRegNetBlock),
    "squeeze-and-excite missing": each(torch_port.SqueezeExcite, "forward", lambda self, x: x),
    "average pool counts padding": pooling(CountingPadding),
    "nonlinearity relu with another's gamma": activating(F.relu, 1.7881293296813965),
    "alpha missing": forward_of(lambda self, shortcut, residual: shortcut + self.skip_gain * residual),
}
SYNONYMS = {"bias not added": "bias missing", "skip gain not multiplied": "skip gain missing"}
MISTAKES = {f"{family}: {name}": (family, change, SYNONYMS.get(name, name))
            for family, changes in (("nfnet", NFNET), ("nf_resnet", NF_RESNET), ("nf_regnet", NF_REGNET))
            for name, change in changes.items()}


def mistaken(name):
    """(the network with that mistake, its configuration, the mistake's name in the catalogue)."""
    family, change, entry = MISTAKES[name]
    network = torch_port.from_config(CONFIGS[family])
    change(network)
    return network, CONFIGS[family], entry
