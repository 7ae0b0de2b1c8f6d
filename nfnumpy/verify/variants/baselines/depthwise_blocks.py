"""Known variants of inverted bottlenecks and of depthwise separable convolutions."""

from .... import nn
from ....models import efficientnet, mobilenet_v1, mobilenet_v2
from ....models.base import ResidualBlock
from .changes import each, variant, wrapped

INVERTED = (efficientnet.MBConv, mobilenet_v2.InvertedBottleneck)
SEPARABLE = mobilenet_v1.DepthwiseSeparable


def _residual_alone(block, shortcut, residual, mode=nn.EVALUATION):
    return residual


def _activated_end(original, block, x, mode=nn.EVALUATION):
    return block.activation(original(block, x, mode))


def _no_separation(block, x, mode=nn.EVALUATION):
    return block.activation(block.pointwise(block.depthwise(x, mode), mode))


def _excited_first(block, x, mode=nn.EVALUATION):
    out = x if block.conv0 is None else block.activation(block.conv0(x, mode))
    return block.conv2(block.activation(block.squeeze_excite(block.conv1(out, mode))), mode)


INVERTED_BLOCKS = (
    variant("nonlinearity after the last convolution", "last_activation", wrapped(INVERTED, "branch", _activated_end),
            "A nonlinearity follows a block's last 1×1; these bottlenecks are linear at their end."),
    variant("residual connection missing", "joined", each(ResidualBlock, add_residual=_residual_alone),
            "Blocks of equal shapes do not add their input."))
EXCITED_FIRST = variant("squeeze-and-excite before the nonlinearity", "excitation_place", each(
    efficientnet.MBConv, branch=_excited_first), "Squeeze-and-excite acts before the nonlinearity that follows the "
    "depthwise convolution; it should act after it.")
SEPARABLE_BLOCKS = (
    variant("no nonlinearity between depthwise and pointwise", "last_activation", each(
        SEPARABLE, __call__=_no_separation), "Nothing acts between the depthwise and the 1×1 convolution."),)
