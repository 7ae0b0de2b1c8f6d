"""Known variants of the scalars in Fixup and SkipInit ResNets."""

from .... import nn
from ....models import fixup_resnet
from ....models.base import ResidualBlock
from ....models.residual import PostActivationBlock
from .changes import each, variant, wrapped


def _multiplier(operation):
    return each(fixup_resnet.Multiplier, __call__=operation)


def _fixup_shortcut_from_x(original, block, x, mode=nn.EVALUATION):
    shortcut, residual = original(block, x, mode)
    return shortcut if block.conv_shortcut is None else block.conv_shortcut(x), residual


FIXUP = (
    variant("multiplier missing", "scalars", _multiplier(lambda self, x: x + self.bias), "The branch is not "
            "multiplied by its learned scalar."),
    variant("multiplier also on the bias", "scalars", _multiplier(lambda self, x: (x + self.bias) * self.scale),
            "The last bias of a branch is added before the multiplier; it should be added after it."),
    variant("scalar biases missing", "scalars", each(fixup_resnet.Bias, __call__=lambda self, x: x), "The scalar "
            "biases before the convolutions and nonlinearities are missing."),
    variant("shortcut without the first bias", "shortcut", wrapped(
        PostActivationBlock, "branches", _fixup_shortcut_from_x), "The shortcut's convolution sees x; it should see x "
        "plus the first bias, as the branch does."))


def _skip(gain):
    def add_residual(block, shortcut, residual, mode=nn.EVALUATION):
        return shortcut + residual * gain(block.skip_gain)
    return each(ResidualBlock, add_residual=add_residual)


SKIP_INIT = (
    variant("skip gain missing", "scalars", _skip(lambda gain: 1.0), "The branch is not multiplied by a learned skip "
            "gain (SkipInit), which starts at 0."),
    variant("skip gain plus one", "scalars", _skip(lambda gain: gain + 1.0), "The branch is multiplied by 1 + skip "
            "gain."),
    variant("shortcut multiplied too", "scalars", each(
        ResidualBlock, add_residual=lambda block, shortcut, residual, mode=nn.EVALUATION:
        (shortcut + residual) * block.skip_gain), "The skip gain multiplies shortcut and branch alike."))
