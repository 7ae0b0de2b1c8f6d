"""Stochastic depth inside a network: the factors by which training multiplies the branches of single examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...autograd import Tensor, no_grad
from ..variants import KnownVariant
from ..variants.network import NetworkRules, same
from ..variants.stochastic_depth import (
    CATALOGUE,
    CHANNELS,
    ELEMENTS,
    EXAMPLES,
    NOT_DIVIDED,
    PIXELS,
    keep_probability,
    rescaled,
)
from . import baselines
from .architecture import BlockArchitecture, Rules
from .blocks import residual_block

SURE = 1e6  # epsilons: a branch is what is left of a difference, and some of its values are small
COARSE_TO_FINE = (EXAMPLES, CHANNELS, PIXELS, ELEMENTS)


def is_observable(config: Any, rules: Rules) -> bool:
    """Whether blocks end in a sum, as the reference's do, so that it tells what their branches were."""
    if isinstance(rules, NetworkRules):
        return rules.skip_gain is same
    return baselines.adds(config, rules) and not any(
        (rules.joined, rules.scalars, rules.excitation_place, rules.nonlinearity))


def branch_factors(parameters: Mapping[str, np.ndarray], block: BlockArchitecture, entering: np.ndarray,
                   leaving: np.ndarray, config: Any, rules: Rules) -> np.ndarray | None:
    """The factor of the block's branch, value by value (N, H, W, C); NaN where it cannot be told.

    That is where the branch is too small to be compared, or a relu after the sum lets nothing through. entering,
    leaving: the block's input and output in training, in our layout, float64. None where the output has another shape
    than the reference's, or the block adds nothing.
    """
    leaves = {name: Tensor(array) for name, array in parameters.items() if name.startswith(f"{block.name}.")}
    with no_grad():
        found = _branches(leaves, block, Tensor(entering), config, rules)
    if found is None:
        return None
    shortcut, branch, is_rectified = found
    if branch.shape != leaving.shape:
        return None
    clear = np.abs(branch) > 1e-3 * np.max(np.abs(branch), initial=0.0)
    if is_rectified:
        clear &= leaving > 0.0
    return np.where(clear, (leaving - shortcut) / np.where(clear, branch, 1.0), np.nan)


def _branches(leaves, block, x, config, rules):
    """(shortcut, branch, whether a relu follows their sum), or None if nothing is added."""
    if isinstance(rules, NetworkRules):
        closed = {**leaves, f"{block.name}.skip_gain": Tensor(np.zeros(()))}
        whole, shortcut = (residual_block(some, x, block, rules).data for some in (leaves, closed))
        return shortcut, whole - shortcut, False
    found = baselines.branches_in_training(leaves, block.name, x, config, rules)
    return None if found is None else (found[0].data, found[1].data, found[2])


def known_variants(factors: Sequence[np.ndarray | None], epsilon: float, divides: bool) -> tuple[KnownVariant, ...]:
    """The variants of stochastic depth that the factors of all blocks show.

    epsilon: of the precision that the blocks were computed in. divides: whether the reference divides what is kept by
    the keep probability, as networks with normalizations do.
    """
    sure = SURE * epsilon
    active = [found for found in factors if found is not None and np.any(np.abs(found - 1.0) > sure)]
    if not active:
        return ()
    variants = []
    mask = next(mask for mask in COARSE_TO_FINE
                if all(_constant_along(found, mask.constant_axes, sure) for found in active))
    if mask is not EXAMPLES:
        variants.append(_variant("mask", mask))
    kept = [float(np.nanmax(found)) for found in active if np.nanmax(found) > sure]
    if any(value > 1.0 + sure for value in kept):
        variants += [] if divides else [_variant("scale", rescaled)]
    elif divides and kept and all(value > 1.0 - sure for value in kept):
        variants.append(NOT_DIVIDED)
    elif any(value < 1.0 - sure for value in kept):
        variants.append(_variant("scale", keep_probability))
    return tuple(variants)


def _variant(field, value):
    """The catalogue's variant that sets a field of the rules to `value`."""
    return next(variant for variant in CATALOGUE if variant.changes.get(field) is value)


def _constant_along(found, axes, sure):
    if not axes:
        return True
    with np.errstate(all="ignore"):
        spread = np.fmax.reduce(found, axis=axes) - np.fmin.reduce(found, axis=axes)
    return not np.any(spread > sure)
