"""A residual block by changeable rules; by default the blocks of nfnumpy.models, to the bit."""

import numpy as np

from ... import ops
from ...errors import InputError
from .layers import activated, convolution, pooled, squeeze_excite


def residual_block(parameters, x, plan, rules, branches=None):
    """x (N, H, W, in), a Tensor -> (N, H', W', out), by a BlockPlan.

    branches: a dict that receives alpha times the norm of the residual branch, by the block's name.
    """
    entering = _entering(x, plan, rules)
    shortcut = _shortcut(parameters, x, entering, plan, rules)
    residual = _branch(parameters, x if rules.branch_from == "x" else entering, plan, rules)
    if branches is not None:
        branches[plan.name] = plan.alpha * float(np.linalg.norm(residual.data))
    return _joined(parameters, shortcut, residual, plan, rules)


def _entering(x, plan, rules):
    """beta·gamma·g(x)."""
    if rules.beta_place == "before the nonlinearity":
        return activated(x * plan.beta, plan.activation, rules)
    if rules.beta_place == "both sides of the nonlinearity":
        return activated(x * plan.beta, plan.activation, rules, plan.beta)
    return activated(x, plan.activation, rules, scale=plan.beta)


def _shortcut(parameters, x, entering, plan, rules):
    name = f"{plan.name}.conv_shortcut"
    if rules.shortcut_from == "x":
        entering = x
    elif rules.shortcut_from == "the activated x without beta":
        entering = activated(x, plan.activation, rules)
    elif rules.shortcut_from == "x times beta":
        entering = x * plan.beta
    if f"{name}.weight" not in parameters:
        shortcut = {"x": lambda: x, "the activated x": lambda: entering, "x times beta": lambda: x * plan.beta,
                    "nothing": lambda: x * 0.0}[rules.identity]()
    else:
        form = rules.downsampling
        if form == "the family's":
            form = "strided 1×1" if plan.family == "NFResNet" else "mean"
        if form == "strided 1×1" or plan.stride == 1:
            shortcut = convolution(parameters, name, entering, rules, stride=plan.stride)
        elif form == "max after the 1×1":
            shortcut = pooled(convolution(parameters, name, entering, rules), "max")
        else:
            shortcut = convolution(parameters, name, pooled(entering, form), rules)
    if rules.constant == "the shortcut" or rules.constant == "the identity" and f"{name}.weight" not in parameters:
        return shortcut.detach()
    return shortcut


def _branch(parameters, out, plan, rules):
    convolutions = ["conv0", "conv1", "conv1b", "conv2"] if plan.family == "NFNet" else ["conv0", "conv1", "conv2"]
    if rules.second_3x3 == "left out" and "conv1b" in convolutions:
        convolutions.remove("conv1b")
    if rules.order == "conv1b, conv1" and "conv1b" in convolutions:
        convolutions[1:3] = convolutions[2:0:-1]
    strided = {"the first 1×1": 0, "the first 3×3": 1, "the second 3×3": 2 if len(convolutions) == 4 else None,
               "the last 1×1": len(convolutions) - 1}[rules.strided]
    if strided is None:
        raise InputError("there is no second 3×3")
    place = _excitation_place(parameters, plan, rules)
    for k, name in enumerate(convolutions):
        if k:
            if name == convolutions[-1] and place == "before the last nonlinearity":
                out = squeeze_excite(parameters, f"{plan.name}.squeeze_excite", out, rules)
            if rules.not_activated != name:
                out = activated(out, plan.activation, rules)
            if name == convolutions[-1] and place == "after the last nonlinearity":
                out = squeeze_excite(parameters, f"{plan.name}.squeeze_excite", out, rules)
        out = convolution(parameters, f"{plan.name}.{name}", out, rules, stride=plan.stride if k == strided else 1)
    if rules.not_activated == "an additional one after conv2":
        out = activated(out, plan.activation, rules)
    return squeeze_excite(parameters, f"{plan.name}.squeeze_excite", out, rules) if place == "at the end" else out


def _excitation_place(parameters, plan, rules):
    """Where in the branch squeeze-and-excite acts, or "nowhere"."""
    if f"{plan.name}.squeeze_excite.fc0.weight" not in parameters or rules.excitation_place in (
            "left out", "on the sum", "on the shortcut"):
        return "nowhere"
    own, other = "at the end", "before the last nonlinearity"
    if plan.family == "NFRegNet":
        own, other = other, own
    return {"the family's": own, "the other family's": other}.get(rules.excitation_place, rules.excitation_place)


def _joined(parameters, shortcut, residual, plan, rules):
    gain = parameters[f"{plan.name}.skip_gain"]
    if rules.constant == "the skip gain":
        gain = gain.detach()
    alpha = {"left out": 1.0, "squared": plan.alpha**2, "its root": plan.alpha**0.5,
             "on both sides of the sum": 1.0}.get(rules.alpha, plan.alpha)
    name = f"{plan.name}.squeeze_excite"
    if rules.excitation_place == "on the shortcut" and f"{name}.fc0.weight" in parameters:
        shortcut = squeeze_excite(parameters, name, shortcut, rules)
    if rules.alpha == "on the shortcut":
        shortcut, alpha = shortcut * plan.alpha, 1.0
    gained = {"multiplied": gain, "left out": None, "one added": gain + 1.0, "squared": gain * gain}[rules.skip_gain]
    if gained is None:
        out = shortcut + residual * alpha
    else:
        out = ops.skip_init(shortcut, residual, gained, alpha=alpha)
    if rules.excitation_place == "on the sum" and f"{name}.fc0.weight" in parameters:
        out = squeeze_excite(parameters, name, out, rules)
    return out * plan.alpha if rules.alpha == "on both sides of the sum" else out
