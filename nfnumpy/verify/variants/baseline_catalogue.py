"""The known variants of the networks with normalizations, Fixup and SkipInit."""

import dataclasses
import functools
from typing import Any

from ... import models, nn, ops
from ...functional.activations import GAMMA
from ...models import densenet, efficientnet, fixup_resnet, inception_v3, mobilenet_v1, mobilenet_v2
from ...models.base import ResidualBlock
from ...models.residual import PostActivationBlock
from . import KnownVariant, apply, baselines
from .baselines import BaselineRules, branch_of, overriding, parts_of, shortcut_of, with_branches
from .normalization_catalogue import catalogue as norm_catalogue

INVERTED = (efficientnet.MBConv, mobilenet_v2.InvertedBottleneck)
SEPARABLE = mobilenet_v1.DepthwiseSeparable
BOTTLENECKED = (models.ResNetConfig, models.ResNetDConfig, models.ResNeXtConfig, models.SEResNeXtConfig,
                models.SEResNeXtDConfig)
PRE_ACTIVATION = (models.ResNetV2Config, models.SkipInitResNetConfig)
SYMMETRIC = (*BOTTLENECKED, *PRE_ACTIVATION, models.FixupResNetConfig, models.MobileNetV1Config,
             models.MobileNetV2Config, models.DenseNetConfig)


def _variant(name, field, change, explanation, benign=False):
    return KnownVariant(name, {field: change}, explanation, benign)


# ---- layers


def _nonlinear(name):
    def change(model):
        for module in parts_of(model, nn.Nonlinearity):
            module.name = name
    return change


def _with_gamma(model):
    for module in parts_of(model, nn.Nonlinearity):
        module.gamma = GAMMA[module.name]


def _padded(padding):
    def change(model):
        for conv in parts_of(model, nn.Conv2D):
            if max(conv.weight.shape[:2]) > 1:
                conv.padding = padding(conv.weight.shape[0])
    return change


def _kernels(operation):
    def change(model):
        for conv in parts_of(model, nn.Conv2D):
            overriding(conv, kernel=lambda self: operation(self.weight))
    return change


NONLINEARITIES = tuple(
    _variant(f"nonlinearity {name}", "nonlinearity", _nonlinear(name), f"The nonlinearity is {name} everywhere.")
    for name in ("relu", "relu6", "silu", "gelu", "gelu_erf", "leaky_relu", "elu", "tanh", "identity"))
LAYERS = (
    *NONLINEARITIES,
    _variant("gamma in the nonlinearity", "nonlinearity", _with_gamma, "The nonlinearity is multiplied by gamma, as in "
             "normalizer-free networks; here it is not."),
    _variant("kernels flipped", "kernels", _kernels(lambda weight: ops.flip(weight, axis=(0, 1))), "Kernels are turned "
             "by 180°: a convolution in the mathematical sense, where networks have the cross-correlation."),
    _variant("kernels transposed", "kernels", _kernels(lambda weight: ops.transpose(weight, axes=(1, 0, 2, 3))),
             "Rows and columns of the kernels are exchanged."),
    _variant("no padding", "padding", _padded(lambda kernel: "VALID"), "Nothing is padded."))
SAME_PADDING = _variant("SAME padding", "padding", _padded(lambda kernel: "SAME"), "Convolutions pad as TensorFlow "
                        "does; this network pads both sides alike. At stride 2 on even sizes every window lies a pixel "
                        "further.", benign=True)
SYMMETRIC_PADDING = _variant("symmetric padding", "padding", _padded(lambda kernel: (kernel - 1) // 2), "Convolutions "
                             "pad both sides alike; this network pads SAME, as TensorFlow does.", benign=True)


# ---- residual blocks


def _each(kind: Any, **methods):
    def change(model):
        for block in parts_of(model, kind):
            overriding(block, **methods)
    return change


def _wrapped(kind: Any, name: str, operation: Any):
    """A change of the method `name` of all modules of a kind: operation(original method, module, *arguments)."""
    def change(model):
        for block in parts_of(model, kind):
            overriding(block, **{name: functools.partialmethod(_call, operation, getattr(type(block), name))})
    return change


def _call(block, operation, original, *arguments):
    return operation(original, block, *arguments)


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


def _residual_alone(block, shortcut, residual, mode=nn.EVALUATION):
    return residual


STRIDES = (
    _variant("stride on the first convolution", "strides", _strided(0), "The first 1×1 convolution of a block carries "
             "the stride, as in the paper of the first ResNet; in the released models the 3×3 does.", benign=True),
    _variant("stride on the last convolution", "strides", _strided(-1), "The last convolution of a block carries the "
             "stride; the 3×3 should."))
JOINED = (
    _variant("nonlinearity after the sum missing", "joined", _each(PostActivationBlock, add_residual=_sum_unactivated),
             "The sum of shortcut and branch is the block's output; a nonlinearity should follow it."),
    _variant("nonlinearity before the sum", "joined", _each(PostActivationBlock, add_residual=_activated_first),
             "The nonlinearity acts on the branch before it is added; it should act on the sum."))
OMITTED = tuple(
    _variant(f"no nonlinearity after conv{k}", "last_activation", _each(PostActivationBlock,
                                                                       branches=_branch_without(k)),
             f"The nonlinearity after a block's conv{k} is missing.") for k in (0, 1))


def _shortcuts(*entries):
    return tuple(_variant(name, "shortcut", _each(PostActivationBlock, branches=with_branches(shortcut, branch_of)),
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
    _variant("shortcut from x", "shortcut", _each(ResidualBlock, branches=_shortcut_from_x), "The "
             "shortcut's convolution sees x; it should see what the first normalization and nonlinearity give."),
    _variant("identity shortcut activated", "shortcut", _each(ResidualBlock, branches=_activated_identity),
             "Where the shortcut has no convolution it is the activated input; it should be x."))


# ---- squeeze-and-excite


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
    _variant("factor 2 in squeeze-and-excite", "excitation", _excitation(scale=2.0), "The gates are doubled, as in "
             "normalizer-free networks; here they are plain sigmoids."),
    *(_variant(f"{name} in squeeze-and-excite", "excitation", _excitation(activation=name), f"The hidden layer of "
               f"squeeze-and-excite is followed by {name}.") for name in ("relu", "silu")),
    _variant("squeeze-and-excite missing", "excitation_place",
             _each(nn.SqueezeExcite, __call__=lambda self, x: x), "Squeeze-and-excite is not applied."))
ON_SUM = (
    _variant("squeeze-and-excite on the sum", "excitation_place", _each(
        PostActivationBlock, add_residual=_on_sum, branches=with_branches(shortcut_of, _without_excitation)),
        "Squeeze-and-excite acts on the sum; it should act on the branch before it is added."),)


def _from_wide(channels, hidden):
    return max(1, channels // 4)


# ---- inverted bottlenecks, depthwise separable convolutions


def _activated_end(original, block, x, mode=nn.EVALUATION):
    return block.activation(original(block, x, mode))


def _no_separation(block, x, mode=nn.EVALUATION):
    return block.activation(block.pointwise(block.depthwise(x, mode), mode))


def _excited_first(block, x, mode=nn.EVALUATION):
    out = x if block.conv0 is None else block.activation(block.conv0(x, mode))
    return block.conv2(block.activation(block.squeeze_excite(block.conv1(out, mode))), mode)


INVERTED_BLOCKS = (
    _variant("nonlinearity after the last convolution", "last_activation", _wrapped(INVERTED, "branch", _activated_end),
             "A nonlinearity follows a block's last 1×1; these bottlenecks are linear at their end."),
    _variant("residual connection missing", "joined", _each(ResidualBlock, add_residual=_residual_alone),
             "Blocks of equal shapes do not add their input."))
EXCITED_FIRST = _variant("squeeze-and-excite before the nonlinearity", "excitation_place", _each(
    efficientnet.MBConv, branch=_excited_first), "Squeeze-and-excite acts before the nonlinearity that follows the "
    "depthwise convolution; it should act after it.")
SEPARABLE_BLOCKS = (
    _variant("no nonlinearity between depthwise and pointwise", "last_activation", _each(
        SEPARABLE, __call__=_no_separation), "Nothing acts between the depthwise and the 1×1 convolution."),)


# ---- networks that concatenate


def _new_first(layer, x, mode=nn.EVALUATION):
    out = layer.conv0(layer.activation(layer.norm0(x, mode)))
    return ops.concatenate(layer.conv1(layer.activation(layer.norm1(out, mode))), x, axis=3)


def _transition(pool):
    return lambda block, x, mode=nn.EVALUATION: pool(block.conv0(block.activation(block.norm0(x, mode))))


def _transitions(pool):
    return _each(densenet.Transition, __call__=_transition(pool))


DENSE = (
    _variant("new channels first", "order", _each(densenet.DenseLayer, __call__=_new_first), "A dense layer puts its "
             "own channels before those of its input; they belong after them."),
    _variant("transition pools the maximum", "pools", _transitions(
        lambda x: ops.max_pool(x, window=2, padding="VALID")), "Transitions take the maximum of 2×2 pixels; it should "
        "be the mean."),
    _variant("transition keeps odd rows", "pools", _transitions(lambda x: ops.avg_pool(x, window=2)), "At odd sizes "
             "transitions average the last row and column too (ceil_mode); they should be left out.", benign=True))


def _own_pool(pool):
    def outputs(original, block, x, mode):
        kept = [(conv.norm, dict(vars(conv.norm))) for conv in block.branch_pool]
        branches = original(block, x, mode)[:-1]
        for norm, attributes in kept:  # the pooling branch is run again, and takes in a batch once
            vars(norm).update(attributes)
        return [*branches, inception_v3.run(pool(x), block.branch_pool, mode)]
    return outputs


POOLING_MODULES = (inception_v3.ModuleA, inception_v3.ModuleC, inception_v3.ModuleE)
INCEPTION = (
    _variant("average pool leaves padding out", "pools", _wrapped(POOLING_MODULES, "outputs", _own_pool(
        lambda x: ops.avg_pool(x, window=3, stride=1, padding=1))), "At the edge the average is over the real pixels "
        "under the window (count_include_pad=False); the released network always divides by 9.", benign=True),
    _variant("pooling branch takes the maximum", "pools", _wrapped(POOLING_MODULES, "outputs", _own_pool(
        lambda x: ops.max_pool(x, window=3, stride=1, padding=1))), "The pooling branch of the modules that keep the "
        "size takes the maximum; it should be the mean."),
    _variant("branches in reverse order", "order", _each(
        inception_v3.InceptionModule, __call__=lambda block, x, mode=nn.EVALUATION: ops.concatenate(
            *block.outputs(x, mode)[::-1], axis=3)), "The branches are concatenated last to first."))


# ---- Fixup and SkipInit


def _multiplier(operation):
    return _each(fixup_resnet.Multiplier, __call__=operation)


def _fixup_shortcut_from_x(original, block, x, mode=nn.EVALUATION):
    shortcut, residual = original(block, x, mode)
    return shortcut if block.conv_shortcut is None else block.conv_shortcut(x), residual


FIXUP = (
    _variant("multiplier missing", "scalars", _multiplier(lambda self, x: x + self.bias), "The branch is not "
             "multiplied by its learned scalar."),
    _variant("multiplier also on the bias", "scalars", _multiplier(lambda self, x: (x + self.bias) * self.scale),
             "The last bias of a branch is added before the multiplier; it should be added after it."),
    _variant("scalar biases missing", "scalars", _each(fixup_resnet.Bias, __call__=lambda self, x: x), "The scalar "
             "biases before the convolutions and nonlinearities are missing."),
    _variant("shortcut without the first bias", "shortcut", _wrapped(
        PostActivationBlock, "branches", _fixup_shortcut_from_x), "The shortcut's convolution sees x; it should see x "
        "plus the first bias, as the branch does."))


def _skip(gain):
    def add_residual(block, shortcut, residual, mode=nn.EVALUATION):
        return shortcut + residual * gain(block.skip_gain)
    return _each(ResidualBlock, add_residual=add_residual)


SKIP_INIT = (
    _variant("skip gain missing", "scalars", _skip(lambda gain: 1.0), "The branch is not multiplied by a learned skip "
             "gain (SkipInit), which starts at 0."),
    _variant("skip gain plus one", "scalars", _skip(lambda gain: gain + 1.0), "The branch is multiplied by 1 + skip "
             "gain."),
    _variant("shortcut multiplied too", "scalars", _each(
        ResidualBlock, add_residual=lambda block, shortcut, residual, mode=nn.EVALUATION:
        (shortcut + residual) * block.skip_gain), "The skip gain multiplies shortcut and branch alike."))


# ---- stem and head


def _stem(operation):
    def change(model):
        original = type(model).stem
        overriding(model, stem=lambda self, x, mode=nn.EVALUATION: operation(self, original, x, mode))
    return change


def _stem_pool(pool):
    def stem(model, original, x, mode):
        config = model.config
        model.config = dataclasses.replace(config, stem_pool=False)
        try:
            return pool(original(model, x, mode))
        finally:
            model.config = config
    return _stem(stem)


def _head(operation):
    def change(model):
        overriding(model, head=lambda self, x, mode=nn.EVALUATION: operation(self, x, mode))
    return change


def _unactivated(model, original, x, mode):
    activation = model.activation
    model.activation = lambda x: x
    try:
        return original(model, x, mode)
    finally:
        model.activation = activation


STEM = (_variant("no nonlinearity in the stem", "stem", _stem(_unactivated), "Nothing acts after the stem's "
                 "convolutions."),)
STEM_POOL = (
    _variant("stem's pool pads SAME", "stem_pool", _stem_pool(
        lambda x: ops.max_pool(x, window=3, stride=2, padding="SAME")), "The stem's max pool pads as TensorFlow does; "
        "here it pads one pixel on every side.", benign=True),
    _variant("stem's pool missing", "stem_pool", _stem_pool(lambda x: x), "The stem has no max pool."),
    _variant("stem's pool averages", "stem_pool", _stem_pool(lambda x: ops.avg_pool(x, window=3, stride=2, padding=1)),
             "The stem's pool takes the mean; it should be the maximum."))
HEADS = (
    _variant("head takes the maximum", "pooled", lambda x: ops.max(ops.max(x, axis=1), axis=1), "The features' maximum "
             "over the image is taken; it should be their mean."),
    _variant("head takes the sum", "pooled", lambda x: ops.sum(x, axis=(1, 2)), "The features are added up over the "
             "image and not averaged."),
    _variant("bias of the head missing", "head_bias", False, "The last linear layer has no bias."))
FINAL_NORM = (
    _variant("final nonlinearity missing", "head", _head(lambda model, x, mode: model.final_norm(x, mode)), "No "
             "nonlinearity follows the last normalization."),
    _variant("final normalization missing", "head", _head(lambda model, x, mode: model.activation(x)), "Nothing "
             "normalizes before the last nonlinearity."))
FINAL_CONV = (
    _variant("final nonlinearity missing", "head", _head(lambda model, x, mode: model.final_conv(x, mode)), "No "
             "nonlinearity follows the final convolution."),)
FINAL_ACTIVATION = (
    _variant("final nonlinearity missing", "head", _head(lambda model, x, mode: x), "Nothing acts on the last block's "
             "output before the mean."),)


# ---- by network


@functools.cache
def base_rules(config: Any) -> BaselineRules:
    """The rules of a configuration's own network."""
    norm = baselines.norm_rules(models.from_config(config, shapes_only=True))
    return BaselineRules(norm=norm, norm_base=norm)


def _has_norms(config):
    no_norms = (models.FixupResNetConfig, models.SkipInitResNetConfig)
    return not isinstance(config, no_norms) and getattr(config, "norm", "batch") != "none"


def _norm_name(config):
    if isinstance(config, models.InceptionV3Config):
        return "batch_keras"
    return getattr(config, "norm", "batch")


def _of_norm(variants):
    for variant in variants:
        yield dataclasses.replace(variant, changes={f"norm.{key}": value for key, value in variant.changes.items()})


OF_BACKWARD = frozenset({"norm.constant_mean", "norm.constant_variance", "norm.decay", "norm.debiased",
                         "norm.statistics_unbiased", "norm.stored", "norm.updated_in_evaluation"})
NOT_SEEN = ("running statistics updated in evaluation", "plain mean of all batches", "eps a floor of the variance",
            "gamma and beta not used")  # by one batch and variances above eps, or by outputs
STRUCTURAL = frozenset({"hidden"})


@functools.cache
def catalogue(config: Any) -> tuple[KnownVariant, ...]:
    """The known variants of a configuration's network."""
    found: list[KnownVariant] = [*LAYERS, *HEADS]
    if _has_norms(config):
        found += _of_norm(variant for variant in norm_catalogue(_norm_name(config))
                          if variant.name not in NOT_SEEN and "s convention" not in variant.name)
    if isinstance(config, BOTTLENECKED):
        found += [*STRIDES, *JOINED, *OMITTED]
        found += SHORTCUTS_D if hasattr(config, "stem_strides") else SHORTCUTS
    if isinstance(config, PRE_ACTIVATION):
        found += [*STRIDES, *PRE_SHORTCUTS]
    if isinstance(config, SYMMETRIC):
        found.append(SAME_PADDING)
    if isinstance(config, models.EfficientNetConfig):
        found += [SYMMETRIC_PADDING, EXCITED_FIRST]
    if hasattr(config, "se_ratio"):
        found += EXCITATION
        if isinstance(config, BOTTLENECKED):
            found += ON_SUM
    by_family: dict[type, tuple[KnownVariant, ...]] = {
        models.EfficientNetConfig: (*INVERTED_BLOCKS, *FINAL_CONV, *HIDDEN),
        models.MobileNetV2Config: (*INVERTED_BLOCKS, *FINAL_CONV), models.MobileNetV1Config: SEPARABLE_BLOCKS,
        models.DenseNetConfig: (*DENSE, *FINAL_NORM), models.InceptionV3Config: INCEPTION,
        models.ResNetV2Config: FINAL_NORM, models.SkipInitResNetConfig: (*SKIP_INIT, *FINAL_ACTIVATION),
        models.FixupResNetConfig: (*FIXUP, *STRIDES, *JOINED)}
    found += by_family.get(type(config), ())
    if not isinstance(config, (*PRE_ACTIVATION, models.InceptionV3Config)):
        found += STEM
    if getattr(config, "stem_pool", False):
        found += STEM_POOL
    return tuple(variant for variant in found if _is_change(variant, config))


HIDDEN = (_variant("hidden width from the expanded channels", "hidden", _from_wide, "Squeeze-and-excite has a quarter "
                   "of the block's wide channels as its hidden width; it should be a quarter of the block's input "
                   "channels."),)


def _is_change(variant, config):
    """Whether a variant is another network than the configuration's own."""
    base = base_rules(config)
    own = {f"nonlinearity {getattr(config, 'activation', 'relu')}",
           f"{'silu' if isinstance(config, models.EfficientNetConfig) else 'relu'} in squeeze-and-excite"}
    if isinstance(config, models.InceptionV3Config) and "nonlinearity" in variant.changes:
        return False
    return variant.name not in own and apply(base, (variant,)) != base


@functools.cache
def of_shapes(config: Any) -> tuple[KnownVariant, ...]:
    """Those that change the shapes of parameters."""
    return tuple(variant for variant in catalogue(config) if STRUCTURAL & variant.changes.keys())


@functools.cache
def of_outputs(config: Any) -> tuple[KnownVariant, ...]:
    """Those that change the output of a part."""
    return tuple(variant for variant in catalogue(config) if not STRUCTURAL & variant.changes.keys()
                 and not variant.changes.keys() <= OF_BACKWARD)


@functools.cache
def of_backward(config: Any) -> tuple[KnownVariant, ...]:
    """Those that change gradients or running statistics alone."""
    return tuple(variant for variant in catalogue(config) if variant.changes.keys() <= OF_BACKWARD)
