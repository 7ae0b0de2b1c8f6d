"""The NFNet of models/nfnet.py in plain PyTorch, as one writes it there: the opponent of the measurements."""

from torch import nn

from ..models.base import block_schedule
from .torch_layers import ResidualBlock, ScaledConv2d, SqueezeExcite, activation, halved


class NFBlock(ResidualBlock):
    """activation → 1×1 → 3×3 grouped (carries the stride) → 3×3 grouped → 1×1 → squeeze-and-excite."""

    def __init__(self, in_channels, out_channels, config, stride, beta):
        super().__init__(config, beta)
        groups = int(out_channels * config.expansion) // config.group_size
        width = groups * config.group_size
        self.stride = stride
        self.conv_shortcut = ScaledConv2d(in_channels, out_channels, 1) \
            if stride > 1 or in_channels != out_channels else None
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride, groups=groups)
        self.conv1b = ScaledConv2d(width, width, 3, groups=groups)
        self.conv2 = ScaledConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio)

    def branches(self, x):
        out = self.activation(x, self.beta)
        shortcut = x
        if self.conv_shortcut is not None:
            shortcut = self.conv_shortcut(halved(out) if self.stride > 1 else out)
        out = self.conv1(self.activation(self.conv0(out)))
        out = self.conv2(self.activation(self.conv1b(self.activation(out))))
        return shortcut, self.squeeze_excite(out)


class NFNet(nn.Module):
    """From an NFNetConfig; normalized images (N, C, H, W) in, logits out. Nothing is dropped."""

    def __init__(self, config):
        super().__init__()
        self.activation, channels = activation(config.activation), config.in_channels
        self.stem_convs = nn.ModuleList()
        for width, stride in zip(config.stem_channels(), config.stem_strides):
            self.stem_convs.append(ScaledConv2d(channels, width, 3, stride=stride))
            channels = width
        self.blocks = nn.ModuleList()
        for stage, position, beta, _ in block_schedule(config.depths, config.alpha, 0.0):
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
