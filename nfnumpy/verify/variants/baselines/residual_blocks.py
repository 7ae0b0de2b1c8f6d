"""Known variants of ResNets' blocks: strides, sums, shortcuts."""

import functools

from .... import nn, ops
from ....models.base import ResidualBlock
from ....models.residual import PostActivationBlock
from .changes import branch_of, each, shortcut_of, variant, with_branches


def _strided(position):
    def change(model):
        for block in model.blocks:
            convs = [getattr(conv, "conv", conv) for name in ("conv0", "conv1", "conv2")
                     if (conv := getattr(block, name, None)) is not None]
            stride = max(conv.stride for conv in convs)
            for k, conv in enumerate(convs):
                conv.stride = stride if k == position % len(convs) else 1
    return change


def _identity_or(block, x, mode):
    return x * 0.0 if block.conv_shortcut is None else shortcut_of(block, x, mode)


def _subsampled(block, x, mode):
    if block.conv_shortcut is None:
        return x
    return block.conv_shortcut(x[:, ::block.stride, ::block.stride] if block.stride > 1 else x, mode)


def _pooled(pool):
    def shortcut(block, x, mode):
        conv = block.conv_shortcut
        if conv is None:
            return x
        stride = getattr(block, "stride", None) or conv.conv.stride
        x = pool(x) if stride > 1 else x
        return conv.norm(ops.conv2d(x, conv.conv.weight, stride=1), mode)
    return shortcut


def _counting_padding(x):
    return ops.avg_pool(ops.pad(x, widths=((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))), window=2)


def _branch_without(position):
    return with_branches(shortcut_of, functools.partial(branch_of, not_activated=position))


def _sum_unactivated(block, shortcut, residual, mode=nn.EVALUATION):
    return shortcut + residual


def _activated_first(block, shortcut, residual, mode=nn.EVALUATION):
    return shortcut + block.activation(residual)


STRIDES = (
    variant("stride on the first convolution", "strides", _strided(0), "The first 1×1 convolution of a block carries "
            "the stride, as in the paper of the first ResNet; in the released models the 3×3 does.", benign=True),
    variant("stride on the last convolution", "strides", _strided(-1), "The last convolution of a block carries the "
            "stride; the 3×3 should."))
JOINED = (
    variant("nonlinearity after the sum missing", "joined", each(PostActivationBlock, add_residual=_sum_unactivated),
            "The sum of shortcut and branch is the block's output; a nonlinearity should follow it."),
    variant("nonlinearity before the sum", "joined", each(PostActivationBlock, add_residual=_activated_first),
            "The nonlinearity acts on the branch before it is added; it should act on the sum."))
OMITTED = tuple(
    variant(f"no nonlinearity after conv{k}", "last_activation", each(PostActivationBlock,
                                                                       branches=_branch_without(k)),
            f"The nonlinearity after a block's conv{k} is missing.") for k in (0, 1))


def _shortcuts(*entries):
    return tuple(variant(name, "shortcut", each(PostActivationBlock, branches=with_branches(shortcut, branch_of)),
                         text) for name, shortcut, text in entries)


NO_IDENTITY = ("identity shortcut missing", _identity_or, "Where the shortcut has no convolution there is none at all.")
SHORTCUTS = _shortcuts(
    NO_IDENTITY,
    ("shortcut averages first", _pooled(lambda x: ops.avg_pool(x, window=2)), "Strided blocks average 2×2 pixels "
     "before the shortcut's 1×1 convolution, as ResNet-D does; here that convolution is strided."))
SHORTCUTS_D = _shortcuts(
    NO_IDENTITY,
    ("shortcut by a strided 1×1", _subsampled, "Strided blocks take every other pixel with a strided 1×1 convolution; "
     "here they should average 2×2 pixels first."),
    ("shortcut pools the maximum", _pooled(lambda x: ops.max_pool(x, window=2)), "Strided blocks take the maximum of "
     "2×2 pixels; it should be the mean."),
    ("average pool counts padding", _pooled(_counting_padding), "At the edge of images of odd size the average is "
     "divided by 4, though fewer real pixels are there."))


def _preactivated(block, x, mode):
    """(the activated input of a pre-activation block, its branch)."""
    norms = [getattr(block, f"norm{k}", None) for k in range(3)]
    convs = [block.conv0, block.conv1, *([block.conv2] if hasattr(block, "conv2") else [])]
    entering = out = block.activation(x if norms[0] is None else norms[0](x, mode))
    for k, conv in enumerate(convs):
        out = conv(out)
        if k < len(convs) - 1:
            norm = norms[k + 1]
            out = block.activation(out if norm is None else norm(out, mode))
    return entering, out


def _shortcut_from_x(block, x, mode=nn.EVALUATION):
    _, residual = _preactivated(block, x, mode)
    return x if block.conv_shortcut is None else block.conv_shortcut(x), residual


def _activated_identity(block, x, mode=nn.EVALUATION):
    entering, residual = _preactivated(block, x, mode)
    return entering if block.conv_shortcut is None else block.conv_shortcut(entering), residual


PRE_SHORTCUTS = (
    variant("shortcut from x", "shortcut", each(ResidualBlock, branches=_shortcut_from_x), "The "
            "shortcut's convolution sees x; it should see what the first normalization and nonlinearity give."),
    variant("identity shortcut activated", "shortcut", each(ResidualBlock, branches=_activated_identity),
            "Where the shortcut has no convolution it is the activated input; it should be x."))
