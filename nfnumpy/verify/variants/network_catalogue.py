"""The known variants of a block and of a whole network."""

import dataclasses
import functools
import math

from ... import ops
from ...functional.activations import GAMMA
from . import KnownVariant, network as rules, squeeze_excite, ws_conv
from .network import Place


def _of(part, catalogue):
    """A layer's catalogue for a network: `part` is the field of NetworkRules that has the layer's rules."""
    for variant in catalogue:
        changes = {f"{part}.{key}": value for key, value in variant.changes.items()}
        yield dataclasses.replace(variant, changes=changes)


def _one(alpha):
    return 1.0


def _no_gamma(configured, used):
    return 1.0


def _gamma_of_the_configured(configured, used):
    return GAMMA[configured]


def _gamma_of(name):
    return lambda configured, used: GAMMA[name]


_never_reset = functools.partial(rules.expected_stds, after_first=rules.grown)
_reset_too_early = functools.partial(rules.expected_stds, before_stage=lambda std: 1.0, after_first=rules.grown)
_alpha_forgotten = functools.partial(rules.expected_stds, after_first=lambda std, alpha: 1.0)
_alpha_not_squared = functools.partial(rules.expected_stds, grow=lambda std, alpha: math.sqrt(std**2 + alpha))
_alpha_added = functools.partial(rules.expected_stds, grow=lambda std, alpha: std + alpha)
_alpha_to_the_fourth = functools.partial(rules.expected_stds, grow=lambda std, alpha: math.sqrt(std**2 + alpha**4))
_maximum_first = rules.pooled_first(rules.maximum_2x2)
_padding_counted = rules.pooled_first(rules.mean_2x2_with_padding)
_mean_of_3x3_first = rules.pooled_first(rules.mean_3x3)


def _maximum_last(x, convolve):
    return rules.maximum_2x2(convolve(x))


def _early(strides):
    return tuple(sorted(strides, reverse=True))


def _nonlinearities():
    yield KnownVariant("GELU by erf", {"nonlinearity": "gelu_erf"}, "The GELU is the exact one, x·Φ(x); the released "
                       "networks have its tanh approximation. Values differ by at most 5e-4, and networks trained with "
                       "either run with the other.", benign=True)
    yield KnownVariant("GELU by tanh", {"nonlinearity": "gelu"}, "The nonlinearity is the GELU in its tanh form.")
    for name in ("relu", "silu", "elu", "celu", "selu", "leaky_relu", "relu6", "tanh", "softplus", "sigmoid",
                 "identity"):
        yield KnownVariant(f"nonlinearity {name}", {"nonlinearity": name}, f"The nonlinearity is {name}, with its own "
                           "gamma, everywhere.")
        yield KnownVariant(f"nonlinearity {name} with another's gamma",
                           {"nonlinearity": name, "gamma": _gamma_of_the_configured}, f"The nonlinearity is {name} "
                           "everywhere, multiplied by the gamma of the nonlinearity that belongs there.")


GAMMAS = (
    KnownVariant("gamma missing", {"gamma": _no_gamma}, "Nonlinearities are not multiplied by gamma, so that the "
                 "signal fades from layer to layer. Right only if gamma is folded into all weights that follow, and "
                 "into the head."),
    KnownVariant("gamma applied twice", {"gamma": lambda configured, used: GAMMA[used]**2}, "Nonlinearities are "
                 "multiplied by gamma², as where gamma is in the activation and in the weight too."),
    *(KnownVariant(f"gamma of {name}", {"gamma": _gamma_of(name)}, "The nonlinearity is multiplied by the gamma of "
                   f"{name}, which is not its own.") for name in ("relu", "gelu", "silu")),
    *(KnownVariant(f"gamma of {name} in every weight", {"gamma": _no_gamma, "standardization.factor": GAMMA[name]},
                   "Gamma is folded into every convolution's weight and no longer in the activation. So the first "
                   "convolution is multiplied by it, though no nonlinearity comes before it, and the head's linear "
                   "layer lacks it.")
      for name in ("relu", "gelu", "silu")),
)

BETA = (
    KnownVariant("beta missing", {"beta": lambda std: 1.0}, "What enters a block is not divided by the expected "
                 "standard deviation."),
    KnownVariant("beta inverted", {"beta": rules.same}, "What enters a block is multiplied by the expected standard "
                 "deviation; it should be divided by it."),
    KnownVariant("beta is 1/variance", {"beta": lambda std: std**-2}, "What enters a block is divided by the expected "
                 "variance: the root is missing."),
    KnownVariant("beta is the fourth root", {"beta": lambda std: std**-0.5}, "What enters a block is divided by the "
                 "root of the expected standard deviation: the root is taken twice."),
    KnownVariant("beta before the nonlinearity", {"entering": lambda x, beta, activate: activate(x * beta)}, "x is "
                 "scaled by beta and then goes through the nonlinearity, as the first paper writes it; the released "
                 "networks scale what comes out. With relu both are one."),
    KnownVariant("beta twice", {"entering": lambda x, beta, activate: activate(x * beta, scale=beta)}, "beta is "
                 "applied before the nonlinearity and after it."),
)

SCHEDULES = (
    KnownVariant("expected_std never reset", {"schedule": _never_reset}, "The expected variance grows through the "
                 "whole network; a stage's first block should set it back to 1, because its shortcut normalizes the "
                 "signal."),
    KnownVariant("expected_std reset too early", {"schedule": _reset_too_early}, "The expected variance is set to 1 "
                 "before a stage's first block, whose own beta should still use that of the stage before."),
    KnownVariant("alpha forgotten after the reset", {"schedule": _alpha_forgotten}, "After a stage's first block the "
                 "expected variance is 1; it should be 1 + alpha²."),
    KnownVariant("alpha not squared in expected_std", {"schedule": _alpha_not_squared}, "The expected variance grows "
                 "by alpha a block; it should grow by alpha²."),
    KnownVariant("alpha added to expected_std", {"schedule": _alpha_added}, "The expected standard deviation grows by "
                 "alpha a block; its square should grow by alpha²."),
    KnownVariant("alpha to the fourth in expected_std", {"schedule": _alpha_to_the_fourth}, "The expected variance "
                 "grows by alpha⁴ a block; it should grow by alpha²."),
)

BRANCH = (
    *(KnownVariant(f"stride on the {name}", {"strided": position}, f"The {name} convolution of a block carries the "
                   "stride; the first 3×3 should.")
      for name, position in (("first 1×1", 0), ("second 3×3", rules.SECOND_3X3), ("last 1×1", -1))),
    KnownVariant("conv1 and conv1b exchanged", {"exchanged_3x3": True}, "The two 3×3 convolutions of a block are run "
                 "in the wrong order, or their weights are loaded into each other."),
    *(KnownVariant(f"no nonlinearity before {name}", {"not_activated": name}, "The nonlinearity before a block's "
                   f"{name} is missing.") for name in ("conv1", "conv1b", "conv2")),
    KnownVariant("nonlinearity at the branch's end", {"activated_end": True}, "A nonlinearity follows a block's last "
                 "convolution; the branch should end with that convolution."),
    KnownVariant("branch from x", {"branch_from_x": True}, "The branch starts from x; it should start from "
                 "beta·activation(x)."),
    KnownVariant("conv1b missing", {"second_3x3": False}, "The second 3×3 convolution of NFNet blocks is missing."),
    KnownVariant("group size and number of groups exchanged",
                 {"group": lambda group, width, group_size: max(1, width // group_size)}, "There are group_size "
                 "groups; there should be groups of group_size channels."),
    KnownVariant("3×3 convolutions not grouped", {"group": lambda group, width, group_size: width}, "The 3×3 "
                 "convolutions have one group."),
    *(KnownVariant(f"bottleneck {name}", {"width": width}, f"The width of the bottleneck is computed {name}; in these "
                   "blocks it is not.")
      for name, width in (("from the block's input", rules.width_from_input),
                          ("from the block's output", rules.width_from_output))),
    KnownVariant("bottleneck expanded in the first block too", {"width": rules.width_expanded_everywhere}, "The "
                 "network's first block has an expanded bottleneck; its expansion should be 1."),
    KnownVariant("bottleneck as wide as the output", {"width": lambda entering, leaving, config, is_first: leaving},
                 "The bottleneck is not narrower than the block's output."),
)

EXCITATION = (
    *_of("excitation", squeeze_excite.CATALOGUE),
    KnownVariant("squeeze-and-excite missing", {"excitation_place": lambda family: Place.NOWHERE},
                 "Squeeze-and-excite is not applied."),
    KnownVariant("squeeze-and-excite in the other family's place", {"excitation_place": rules.other_family_place},
                 "In NFNets and NF-ResNets it acts at the end of the branch, in NF-RegNets before the last "
                 "nonlinearity; here it is the other way round."),
    KnownVariant("squeeze-and-excite after the last nonlinearity",
                 {"excitation_place": lambda family: Place.AFTER_LAST_ACTIVATION}, "Squeeze-and-excite acts between "
                 "the last nonlinearity of the branch and its last convolution."),
    KnownVariant("squeeze-and-excite on the sum", {"excitation_place": lambda family: Place.ON_SUM},
                 "Squeeze-and-excite acts on the block's output; it should act on the branch before it is added."),
    KnownVariant("squeeze-and-excite on the shortcut", {"excitation_place": lambda family: Place.ON_SHORTCUT},
                 "Squeeze-and-excite acts on the shortcut; it should act on the branch."),
)

JOIN = (
    KnownVariant("skip gain missing", {"skip_gain": lambda gain: None}, "The branch is not multiplied by a learned "
                 "skip gain (SkipInit), which starts at 0."),
    KnownVariant("skip gain plus one", {"skip_gain": lambda gain: gain + 1.0}, "The branch is multiplied by 1 + skip "
                 "gain."),
    KnownVariant("skip gain applied twice", {"skip_gain": lambda gain: gain * gain}, "The branch is multiplied by the "
                 "skip gain's square."),
    KnownVariant("alpha missing", {"branch_alpha": _one}, "The branch is not multiplied by alpha."),
    KnownVariant("alpha squared", {"branch_alpha": lambda alpha: alpha**2}, "The branch is multiplied by alpha²: alpha "
                 "is applied twice."),
    KnownVariant("root of alpha", {"branch_alpha": lambda alpha: alpha**0.5}, "The branch is multiplied by √alpha."),
    KnownVariant("alpha on the shortcut", {"branch_alpha": _one, "shortcut_alpha": rules.same}, "alpha multiplies the "
                 "shortcut and not the branch."),
    KnownVariant("alpha on the sum", {"branch_alpha": _one, "sum_alpha": rules.same}, "alpha multiplies shortcut and "
                 "branch alike."),
)

SHORTCUT = (
    KnownVariant("shortcut from x", {"shortcut_from": lambda x, entering, beta, activate: x}, "In transition blocks "
                 "the shortcut's convolution sees x; it should see beta·activation(x)."),
    KnownVariant("shortcut without beta", {"shortcut_from": lambda x, entering, beta, activate: activate(x)}, "In "
                 "transition blocks the shortcut's convolution sees activation(x); it should see beta·activation(x)."),
    KnownVariant("shortcut from beta times x", {"shortcut_from": lambda x, entering, beta, activate: x * beta}, "In "
                 "transition blocks the shortcut's convolution sees beta·x; it should see beta·activation(x)."),
    KnownVariant("identity shortcut activated", {"identity": lambda x, entering, beta: entering}, "Where the shortcut "
                 "has no convolution it is beta·activation(x); it should be x."),
    KnownVariant("beta on the identity shortcut", {"identity": lambda x, entering, beta: x * beta}, "Where the "
                 "shortcut has no convolution it is beta·x; it should be x."),
    KnownVariant("identity shortcut missing", {"identity": lambda x, entering, beta: x * 0.0}, "Where the shortcut has "
                 "no convolution there is none at all."),
    KnownVariant("shortcut by a strided 1×1", {"downsampling": lambda family: rules.strided_convolution}, "Strided "
                 "blocks take every other pixel with a strided 1×1 convolution, as NF-ResNets do; here they should "
                 "average 2×2 pixels first."),
    KnownVariant("shortcut averages first", {"downsampling": lambda family: rules.mean_first}, "Strided blocks average "
                 "2×2 pixels before the shortcut's 1×1 convolution, as NFNets do; in NF-ResNets that convolution is "
                 "strided."),
    KnownVariant("shortcut pools the maximum", {"downsampling": lambda family: _maximum_first}, "Strided blocks take "
                 "the maximum of 2×2 pixels; it should be the mean."),
    KnownVariant("shortcut pools the maximum after its 1×1", {"downsampling": lambda family: _maximum_last},
                 "Strided blocks take the maximum of 2×2 pixels after the 1×1 convolution; it should be the mean."),
    KnownVariant("average pool counts padding", {"downsampling": lambda family: _padding_counted}, "At the edge of "
                 "images of odd size the average is divided by 4, though fewer real pixels are there."),
    KnownVariant("shortcut averages 3×3", {"downsampling": lambda family: _mean_of_3x3_first}, "Strided blocks average "
                 "3×3 pixels; it should be 2×2."),
)

LAYERS = (
    *_nonlinearities(), *GAMMAS, *_of("standardization", ws_conv.CATALOGUE),
    KnownVariant("bias missing", {"bias": False}, "The convolutions have no bias."),
    KnownVariant("kernels flipped", {"kernel": lambda kernel: ops.flip(kernel, axis=(0, 1))}, "Kernels are turned by "
                 "180°: a convolution in the mathematical sense, where networks have the cross-correlation."),
    KnownVariant("kernels transposed", {"kernel": lambda kernel: ops.transpose(kernel, axes=(1, 0, 2, 3))}, "Rows and "
                 "columns of the kernels are exchanged."),
)

GRADIENTS = (
    KnownVariant("standardization not differentiated", {"statistics_constant": True}, "The forward pass is right, but "
                 "the backward pass treats the weights' mean and variance as constants (detached)."),
    KnownVariant("skip gain not trained", {"skip_gain_constant": True}, "The forward pass is right, but no gradient "
                 "reaches the skip gains."),
    KnownVariant("no gradient through the shortcut", {"shortcut_constant": True}, "The forward pass is right, but no "
                 "gradient reaches x through shortcuts."),
    KnownVariant("no gradient through identity shortcuts", {"identity_constant": True}, "The forward pass is right, "
                 "but no gradient reaches x through shortcuts without convolution."),
)

ENDS = (
    KnownVariant("nonlinearity after the stem", {"stem_activated_end": True}, "A nonlinearity follows the stem's last "
                 "convolution; the first block brings its own."),
    KnownVariant("no nonlinearities in the stem", {"stem_activated": False}, "Nothing acts between the stem's "
                 "convolutions."),
    KnownVariant("strides of the stem reversed", {"stem_strides": lambda strides: strides[::-1]}, "The stem's strides "
                 "are assigned last to first."),
    KnownVariant("strides of the stem too early", {"stem_strides": _early}, "The stem's first convolutions carry all "
                 "the strides; the last should carry the second one."),
    KnownVariant("symmetric padding of the stem's pool",
                 {"stem_pool": lambda x: ops.max_pool(x, window=3, stride=2, padding=1)}, "The stem's max pool pads "
                 "one pixel on every side; SAME pads even images at the end only.", benign=True),
    KnownVariant("stem's pool missing", {"stem_pool": rules.same}, "The stem has no max pool."),
    KnownVariant("stem's pool averages", {"stem_pool": rules.mean_3x3}, "The stem's pool takes the mean; it should be "
                 "the maximum."),
    KnownVariant("final nonlinearity missing", {"head": lambda x, convolve, activate, pool: pool(convolve(x))},
                 "Nothing acts before the global mean."),
    KnownVariant("nonlinearity before the final convolution",
                 {"head": lambda x, convolve, activate, pool: pool(convolve(activate(x)))}, "The last nonlinearity "
                 "comes before the final convolution; it should come after it."),
    KnownVariant("nonlinearity after pooling",
                 {"head": lambda x, convolve, activate, pool: activate(pool(convolve(x)))}, "The last nonlinearity "
                 "acts on the pooled features; it should act on every pixel before the mean."),
    KnownVariant("head takes the maximum", {"head_pool": lambda x: ops.max(ops.max(x, axis=1), axis=1)}, "The "
                 "features' maximum over the image is taken; it should be their mean."),
    KnownVariant("head takes the sum", {"head_pool": lambda x: ops.sum(x, axis=(1, 2))}, "The features are added up "
                 "over the image and not averaged."),
    KnownVariant("bias of the head missing", {"head_bias": False}, "The last linear layer has no bias."),
)

OF_BLOCKS = (*LAYERS, *BETA, *BRANCH, *EXCITATION, *JOIN, *SHORTCUT, *GRADIENTS)
OF_NETWORKS = (*OF_BLOCKS, *SCHEDULES, *ENDS)
STRUCTURAL = frozenset({"group", "width", "excitation.hidden"})  # rules that change parameter shapes and nothing else
SHAPING = STRUCTURAL | {"second_3x3"}  # and those that also change what is computed


def _changes_shapes(variant):
    moves_excitation = variant.changes.get("excitation_place") is rules.other_family_place
    return moves_excitation or bool(SHAPING & variant.changes.keys())


def _of_parts(variants):
    """Those that change the outputs of parts whose parameter shapes are known."""
    return tuple(variant for variant in variants if not STRUCTURAL & variant.changes.keys())


OF_SHAPES = tuple(variant for variant in OF_BLOCKS if _changes_shapes(variant))
IN_BLOCKS = _of_parts((*OF_BLOCKS, *SCHEDULES))
IN_ENDS = _of_parts((*LAYERS, *ENDS))
IN_ALL_PARTS = _of_parts(OF_NETWORKS)
