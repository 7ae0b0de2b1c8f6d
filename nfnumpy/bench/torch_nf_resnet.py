"""The NF-ResNet of models/nf_resnet.py in plain PyTorch."""

from torch import nn
from torch.nn import functional as F

from ..models.base import block_schedule
from .torch_layers import ResidualBlock, ScaledConv2d, SqueezeExcite, activation


class NFResBlock(ResidualBlock):
    """activation → 1×1 → 3×3 (carries the stride) → 1×1 → squeeze-and-excite if asked for."""

    def __init__(self, in_channels, out_channels, config, stride, beta):
        super().__init__(config, beta)
        width = max(1, int(out_channels * config.bottleneck_ratio))
        self.conv_shortcut = ScaledConv2d(in_channels, out_channels, 1, stride=stride) \
            if stride > 1 or in_channels != out_channels else None
        self.conv0 = ScaledConv2d(in_channels, width, 1)
        self.conv1 = ScaledConv2d(width, width, 3, stride=stride)
        self.conv2 = ScaledConv2d(width, out_channels, 1)
        self.squeeze_excite = SqueezeExcite(out_channels, config.se_ratio) if config.use_se else nn.Identity()

    def branches(self, x):
        out = self.activation(x, self.beta)
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(out)
        out = self.conv1(self.activation(self.conv0(out)))
        return shortcut, self.squeeze_excite(self.conv2(self.activation(out)))


class NFResNet(nn.Module):
    """From an NFResNetConfig; normalized images (N, C, H, W) in, logits out. Nothing is dropped."""

    def __init__(self, config):
        super().__init__()
        self.activation, self.pools, channels = activation(config.activation), config.stem_pool, config.widths[0] // 4
        self.initial_conv = ScaledConv2d(config.in_channels, channels, config.stem_kernel, stride=config.stem_stride)
        self.blocks = nn.ModuleList()
        for stage, position, beta, _ in block_schedule(config.depths, config.alpha, 0.0):
            self.blocks.append(NFResBlock(channels, config.widths[stage], config,
                                          config.strides[stage] if position == 0 else 1, beta))
            channels = config.widths[stage]
        self.linear = nn.Linear(channels, config.num_classes)

    def forward(self, x):
        x = self.initial_conv(x)
        if self.pools:
            x = max_pool(x)
        for block in self.blocks:
            x = block(x)
        return self.linear(self.activation(x).mean(dim=(2, 3)))


def max_pool(x):
    """TensorFlow's SAME max pooling, 3×3 with stride 2: padded on both sides of odd sizes, at the far one of even."""
    return F.max_pool2d(x, 3, 2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)
