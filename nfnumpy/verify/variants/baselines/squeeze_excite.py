"""Known variants of squeeze-and-excite, and of where a block has it."""

from .... import nn
from ....models.residual import PostActivationBlock
from .changes import each, parts_of, shortcut_of, variant, with_branches


def _excitation(**changes):
    def change(model):
        for part in parts_of(model, nn.SqueezeExcite):
            for name, value in changes.items():
                setattr(part, name, value)
    return change


def _on_sum(block, shortcut, residual, mode=nn.EVALUATION):
    return block.activation(block.squeeze_excite(shortcut + residual))


def _without_excitation(block, x, mode):
    convs = [block.conv0, block.conv1, block.conv2]
    for position, conv in enumerate(convs):
        x = conv(x, mode)
        x = block.activation(x) if position < 2 else x
    return x


EXCITATION = (
    variant("factor 2 in squeeze-and-excite", "excitation", _excitation(scale=2.0), "The gates are doubled, as in "
            "normalizer-free networks; here they are plain sigmoids."),
    *(variant(f"{name} in squeeze-and-excite", "excitation", _excitation(activation=name), f"The hidden layer of "
              f"squeeze-and-excite is followed by {name}.") for name in ("relu", "silu")),
    variant("squeeze-and-excite missing", "excitation_place",
            each(nn.SqueezeExcite, __call__=lambda self, x: x), "Squeeze-and-excite is not applied."))
ON_SUM = (
    variant("squeeze-and-excite on the sum", "excitation_place", each(
        PostActivationBlock, add_residual=_on_sum, branches=with_branches(shortcut_of, _without_excitation)),
        "Squeeze-and-excite acts on the sum; it should act on the branch before it is added."),)


def _from_wide(channels, hidden):
    return max(1, channels // 4)


HIDDEN = (variant("hidden width from the expanded channels", "hidden", _from_wide, "Squeeze-and-excite has a quarter "
                  "of the block's wide channels as its hidden width; it should be a quarter of the block's input "
                  "channels."),)
