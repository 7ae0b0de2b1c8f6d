"""PyTorch networks with normalizations, each with a usual mistake: every entry changes a correct port.

MISTAKES: name -> (family, the change of a network, the names of the known variants that verify should find).
"""

import torch
from torch import nn
from torch.nn import functional as F

from nfnumpy import models
from nfnumpy.ports import (
    torch_densenet,
    torch_efficientnet,
    torch_fixup_resnet,
    torch_mobilenet,
    torch_networks,
    torch_parts,
    torch_resnet,
    torch_resnet_d,
    torch_resnet_v2,
    torch_resnext,
    torch_skipinit_resnet,
)
from nfnumpy.ports.torch import conv2d_same
from reference_tests.helpers.wrong_ports import each, method

SIZES = {"widths": (8, 12), "depths": (2, 1), "strides": (1, 2), "num_classes": 4}
STEM = {"stem_width": 6, "stem_kernel": 3}
CONFIGS = {
    "resnet": models.ResNetConfig(**STEM, **SIZES), "resnet_v2": models.ResNetV2Config(**STEM, **SIZES),
    "resnet_d": models.ResNetDConfig(stem_widths=(4, 4, 6), **SIZES),
    "se_resnext_d": models.SEResNeXtDConfig(stem_widths=(4, 4, 6), groups=2, group_width=2, se_ratio=0.25, **SIZES),
    "fixup": models.FixupResNetConfig(**STEM, **SIZES), "skipinit": models.SkipInitResNetConfig(**STEM, **SIZES),
    "efficientnet": models.EfficientNetConfig(widths=(8, 12), depths=(1, 2), strides=(1, 2), kernels=(3, 5),
                                              expansions=(1, 3), stem_width=8, head_width=16, num_classes=4),
    "mobilenet_v1": models.MobileNetV1Config(stem_width=6, **SIZES),
    "mobilenet_v2": models.MobileNetV2Config(**{**SIZES, "depths": (1, 2)}, expansions=(1, 3), stem_width=6,
                                             head_width=16),
    "densenet": models.DenseNetConfig(depths=(2, 2), growth=4, bottleneck=2, num_classes=4),
    "inception": models.InceptionV3Config(width_factor=0.04, pool_widths=(32,), factorized_widths=(128,),
                                          expanded_modules=1, num_classes=4)}


def norms(**attributes):
    """A change of attributes of every batch normalization."""
    def change(network):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for name, value in attributes.items():
                    setattr(module, name, value)
    return change


def strided_first(network):
    for block in network.blocks:
        block.conv0.conv.stride, block.conv1.conv.stride = block.conv1.conv.stride, (1, 1)


def pool_of_stem(pool):
    return lambda network: setattr(network, "pool", pool)


def pool_of_shortcut(pool):
    def change(network):
        for module in network.modules():
            if isinstance(module, torch_resnet_d.ConvNormAfterPool):
                module.pool = pool
    return change


def wide_excitation(network):
    for block in network.blocks:
        channels = block.squeeze_excite.fc0.in_features
        block.squeeze_excite = torch_efficientnet.SqueezeExcite(channels, max(1, channels // 4))


def torch_norms(network):
    """PyTorch's own layers, where Keras's belong."""
    for module in network.modules():
        if isinstance(module, torch_efficientnet.ConvNorm):
            module.norm = nn.BatchNorm2d(module.norm.num_features)


def symmetric(self, x):
    kernel = self.conv.kernel_size[0]
    return self.norm(F.conv2d(x, self.conv.weight, None, self.conv.stride, kernel // 2, groups=self.conv.groups))


def same_padded(self, x):
    return self.norm(conv2d_same(x, self.conv.weight, None, self.conv.stride[0], self.conv.groups))


def unactivated_sum(self, x):
    residual = x
    for layer in self.branch:
        residual = layer(residual)
    return self.conv_shortcut(x) + residual


def activated_branch(self, x):
    residual = x
    for layer in self.branch:
        residual = layer(residual)
    return self.conv_shortcut(x) + F.relu(residual)


def excited_sum(self, x):
    residual = self.conv2(F.relu(self.conv1(F.relu(self.conv0(x)))))
    return F.relu(self.squeeze_excite(self.conv_shortcut(x) + residual))


def doubled_gate(self, x):
    return 2 * torch_parts.SqueezeExcite.forward(self, x)


def v2_shortcut_from_x(self, x):
    residual = self.conv0(F.relu(self.norm0(x)))
    for layer in self.after_first_conv:
        residual = layer(residual)
    return residual + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def without_final_relu(self, x):
    x = self.pool(self.initial_conv(x))
    for block in self.blocks:
        x = block(x)
    return self.linear(self.final_norm(x).mean(dim=(2, 3)))


def mbconv(self, x, last=torch.clone, residual=True):
    out = x if self.conv0 is None else F.silu(self.conv0(x))
    out = last(self.conv2(self.squeeze_excite(F.silu(self.conv1(out)))))
    return x + out if self.is_residual and residual else out


def excited_first(self, x):
    out = x if self.conv0 is None else F.silu(self.conv0(x))
    out = self.conv2(F.silu(self.squeeze_excite(self.conv1(out))))
    return x + out if self.is_residual else out


def relu_excitation(self, x):
    gate = torch.sigmoid(self.fc1(F.relu(self.fc0(x.mean(dim=(2, 3))))))
    return x * gate[:, :, None, None]


def not_separated(self, x):
    return F.relu6(self.pointwise(self.depthwise(x)))


def not_linear(self, x):
    out = x if self.conv0 is None else F.relu6(self.conv0(x))
    out = F.relu6(self.conv2(F.relu6(self.conv1(out))))
    return x + out if self.is_residual else out


def newest_first(self, x):
    for layer in self.layers:
        x = torch.cat([layer([x]), x], dim=1)
    return x


def maximum_transition(self, x):
    return F.max_pool2d(self.conv0(F.relu(self.norm0(x))), 2)


def fixup_shortcut(self, x):
    out = self.bias0a(x)
    for layer in self.after_first_bias:
        out = layer(out)
    return F.relu(out + (x if self.conv_shortcut is None else self.conv_shortcut(x)))


def skip_gain_plus_one(self, x):
    activated = F.relu(x)
    shortcut = x if self.conv_shortcut is None else self.conv_shortcut(activated)
    residual = self.conv2(F.relu(self.conv1(F.relu(self.conv0(activated)))))
    return shortcut + (1 + self.skip_gain) * residual


def batch_moments_always(self, x):
    return F.batch_norm(x, self.running_mean if self.training else None, self.running_var if self.training else None,
                        self.weight, self.bias, True, self.momentum, self.eps)


MISTAKES = {
    "resnet: eps": ("resnet", norms(eps=1e-3), ("eps 0.001",)),
    "resnet: momentum": ("resnet", norms(momentum=0.9), ("momentum the other way round",)),
    "resnet: Keras's momentum": ("resnet", norms(momentum=0.99), ("momentum 0.99 the other way round",)),
    "resnet: moments of the batch": ("resnet", each(nn.BatchNorm2d, "forward", batch_moments_always),
                                     ("batch statistics in evaluation",)),
    "resnet: the sum": ("resnet", each(torch_resnet.Block, "forward", unactivated_sum),
                        ("nonlinearity after the sum missing",)),
    "resnet: relu before the sum": ("resnet", each(torch_resnet.Block, "forward", activated_branch),
                                    ("nonlinearity before the sum",)),
    "resnet: stride": ("resnet", strided_first, ("stride on the first convolution",)),
    "resnet: pool": ("resnet", pool_of_stem(nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
                     ("stem's pool averages",)),
    "resnet: padding": ("resnet", each(torch_parts.ConvNorm, "forward", same_padded), ("SAME padding",)),
    "resnet_v2: shortcut": ("resnet_v2", each(torch_resnet_v2.Block, "forward", v2_shortcut_from_x),
                            ("shortcut from x",)),
    "resnet_v2: head": ("resnet_v2", lambda network: method(network, "forward", without_final_relu),
                        ("final nonlinearity missing",)),
    "resnet_d: maximum": ("resnet_d", pool_of_shortcut(nn.MaxPool2d(2, ceil_mode=True)),
                          ("shortcut pools the maximum",)),
    "se_resnext_d: factor": ("se_resnext_d", each(torch_parts.SqueezeExcite, "forward", doubled_gate),
                             ("factor 2 in squeeze-and-excite",)),
    "se_resnext_d: sum": ("se_resnext_d", each(torch_resnext.SEBlock, "forward", excited_sum),
                          ("squeeze-and-excite on the sum",)),
    "efficientnet: padding": ("efficientnet", each(torch_efficientnet.ConvNorm, "forward", symmetric),
                              ("symmetric padding",)),
    "efficientnet: not linear": ("efficientnet", each(
        torch_efficientnet.MBConv, "forward", lambda self, x: mbconv(self, x, last=F.silu)),
        ("nonlinearity after the last convolution",)),
    "efficientnet: residual": ("efficientnet", each(
        torch_efficientnet.MBConv, "forward", lambda self, x: mbconv(self, x, residual=False)),
        ("residual connection missing",)),
    "efficientnet: place": ("efficientnet", each(torch_efficientnet.MBConv, "forward", excited_first),
                            ("squeeze-and-excite before the nonlinearity",)),
    "efficientnet: relu": ("efficientnet", each(torch_efficientnet.SqueezeExcite, "forward", relu_excitation),
                           ("relu in squeeze-and-excite",)),
    "efficientnet: width": ("efficientnet", wide_excitation, ("hidden width from the expanded channels",)),
    "efficientnet: PyTorch's norms": ("efficientnet", torch_norms,
                                      ("eps 1e-05", "decay 0.9", "running variance unbiased")),
    "mobilenet_v1: relu": ("mobilenet_v1", each(torch_mobilenet.DepthwiseSeparable, "forward", not_separated),
                           ("no nonlinearity between depthwise and pointwise",)),
    "mobilenet_v2: not linear": ("mobilenet_v2", each(torch_mobilenet.InvertedResidual, "forward", not_linear),
                                 ("nonlinearity after the last convolution",)),
    "densenet: order": ("densenet", each(torch_densenet.DenseBlock, "forward", newest_first), ("new channels first",)),
    "densenet: maximum": ("densenet", each(torch_densenet.Transition, "forward", maximum_transition),
                          ("transition pools the maximum",)),
    "fixup: multiplier": ("fixup", each(torch_fixup_resnet.Multiplier, "forward", lambda self, x: x + self.bias),
                          ("multiplier missing",)),
    "fixup: shortcut": ("fixup", each(torch_fixup_resnet.Block, "forward", fixup_shortcut),
                        ("shortcut without the first bias",)),
    "skipinit: gain": ("skipinit", each(torch_skipinit_resnet.Block, "forward", skip_gain_plus_one),
                       ("skip gain plus one",)),
}


def mistaken(name):
    """(network, its configuration, the names of the variants that it has)."""
    family, change, found = MISTAKES[name]
    network = torch_networks.from_config(CONFIGS[family])
    change(network)
    return network, CONFIGS[family], found
