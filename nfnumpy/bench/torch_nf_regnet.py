"""The NF-RegNet of models/nf_regnet.py in plain PyTorch."""

from torch import nn

from ..models.base import block_schedule
from .torch_layers import ResidualBlock, ScaledConv2d, SqueezeExcite, activation, halved


class NFRegNetBlock(ResidualBlock):
    """activation → 1×1 → 3×3 grouped (carries the stride) → squeeze-and-excite → activation → 1×1."""

    def __init__(self, in_channels, out_channels, config, stride, beta, expansion):
        super().__init__(config, beta)
        groups = max(1, int(in_channels * expansion) // config.group_size)
        width = groups * config.group_size
        self.stride = stride
        self.conv_shortcut = ScaledConv2d(in_channels, out_channels, 1) \
            if stride > 1 or in_channels != out_channels else None
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride, groups=groups)
        self.squeeze_excite = SqueezeExcite(width, config.se_ratio)
        self.conv2 = ScaledConv2d(width, out_channels, 1)

    def branches(self, x):
        out = self.activation(x, self.beta)
        shortcut = x
        if self.conv_shortcut is not None:
            shortcut = self.conv_shortcut(halved(out) if self.stride > 1 else out)
        out = self.squeeze_excite(self.conv1(self.activation(self.conv0(out))))
        return shortcut, self.conv2(self.activation(out))


class NFRegNet(nn.Module):
    """From an NFRegNetConfig; normalized images (N, C, H, W) in, logits out. Nothing is dropped."""

    def __init__(self, config):
        super().__init__()
        self.activation, channels = activation(config.activation), config.channels(0)
        self.initial_conv = ScaledConv2d(config.in_channels, channels, 3, stride=config.stem_stride)
        self.blocks = nn.ModuleList()
        for stage, position, beta, _ in block_schedule(config.depths, config.alpha, 0.0):
            self.blocks.append(NFRegNetBlock(channels, config.channels(stage), config,
                                             config.strides[stage] if position == 0 else 1, beta,
                                             config.expansion if self.blocks else 1))
            channels = config.channels(stage)
        width = int(1280 * channels // 440)
        self.final_conv = ScaledConv2d(channels, width, 1)
        self.linear = nn.Linear(width, config.num_classes)

    def forward(self, x):
        x = self.initial_conv(x)
        for block in self.blocks:
            x = block(x)
        return self.linear(self.activation(self.final_conv(x)).mean(dim=(2, 3)))
