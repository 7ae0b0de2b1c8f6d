"""A residual block by rules; without changes, the blocks of nfnumpy.models, bit for bit."""

import functools

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...errors import InputError
from ..variants.network import SECOND_3X3, NetworkRules, Place
from .architecture import BlockArchitecture
from .layers import Parameters, activated, convolution, squeeze_excite


def residual_block(parameters: Parameters, x: Tensor, block: BlockArchitecture, rules: NetworkRules,
                   branches: dict[str, float] | None = None) -> Tensor:
    """x (N, H, W, in) -> (N, H', W', out).

    branches: a dict that receives alpha times the norm of the residual branch, by the block's name.
    """
    activate = functools.partial(activated, configured=block.activation, rules=rules)
    entering = rules.entering(x, block.beta, activate)
    shortcut = _shortcut(parameters, x, entering, block, rules, activate)
    residual = _branch(parameters, x if rules.branch_from_x else entering, block, rules, activate)
    if branches is not None:
        branches[block.name] = block.alpha * float(np.linalg.norm(residual.data))
    return _sum(parameters, shortcut, residual, block, rules)


def _shortcut(parameters, x, entering, block, rules, activate):
    name = f"{block.name}.conv_shortcut"
    entering = rules.shortcut_from(x, entering, block.beta, activate)
    if f"{name}.weight" not in parameters:
        shortcut = rules.identity(x, entering, block.beta)
        constant = rules.shortcut_constant or rules.identity_constant
    else:
        convolve = functools.partial(convolution, parameters, name, rules=rules)
        shortcut = convolve(entering) if block.stride == 1 else rules.downsampling(block.family)(entering, convolve)
        constant = rules.shortcut_constant
    return shortcut.detach() if constant else shortcut


def _branch(parameters, out, block, rules, activate):
    names = _convolutions(block, rules)
    if rules.strided == SECOND_3X3 and len(names) < 4:
        raise InputError("there is no second 3×3")
    strided = names[rules.strided]
    place = _excitation_place(parameters, block, rules)
    excite = functools.partial(squeeze_excite, parameters, f"{block.name}.squeeze_excite", rules=rules)
    for name in names:
        if name != names[0]:
            is_last = name == names[-1]
            if is_last and place is Place.BEFORE_LAST_ACTIVATION:
                out = excite(out)
            if name != rules.not_activated:
                out = activate(out)
            if is_last and place is Place.AFTER_LAST_ACTIVATION:
                out = excite(out)
        out = convolution(parameters, f"{block.name}.{name}", out, rules, stride=block.stride if name == strided else 1)
    if rules.activated_end:
        out = activate(out)
    return excite(out) if place is Place.BRANCH_END else out


def _convolutions(block, rules):
    """The names of the branch's convolutions, in order."""
    if block.family != "NFNet" or not rules.second_3x3:
        return ["conv0", "conv1", "conv2"]
    return ["conv0", "conv1b", "conv1", "conv2"] if rules.exchanged_3x3 else ["conv0", "conv1", "conv1b", "conv2"]


def _excitation_place(parameters, block, rules):
    if f"{block.name}.squeeze_excite.fc0.weight" not in parameters:
        return Place.NOWHERE
    return rules.excitation_place(block.family)


def _sum(parameters, shortcut, residual, block, rules):
    """shortcut + alpha·skip_gain·residual."""
    gain = parameters[f"{block.name}.skip_gain"]
    if rules.skip_gain_constant:
        gain = gain.detach()
    place = _excitation_place(parameters, block, rules)
    excite = functools.partial(squeeze_excite, parameters, f"{block.name}.squeeze_excite", rules=rules)
    if place is Place.ON_SHORTCUT:
        shortcut = excite(shortcut)
    if rules.shortcut_alpha is not None:
        shortcut = shortcut * rules.shortcut_alpha(block.alpha)
    alpha, gain = rules.branch_alpha(block.alpha), rules.skip_gain(gain)
    if gain is None:
        out = shortcut + residual * alpha
    else:
        out = ops.skip_init(shortcut, residual, gain, alpha=alpha)
    if place is Place.ON_SUM:
        out = excite(out)
    return out if rules.sum_alpha is None else out * rules.sum_alpha(block.alpha)
