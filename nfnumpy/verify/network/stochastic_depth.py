"""Stochastic depth inside a network: the factors by which training multiplies the branches of single examples."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...autograd import Tensor, no_grad
from ..variants import KnownVariant
from ..variants.network import NetworkRules
from ..variants.stochastic_depth import CATALOGUE, CHANNELS, ELEMENTS, EXAMPLES, PIXELS, keep_probability, rescaled
from .architecture import BlockArchitecture
from .blocks import residual_block

SURE = 1e6  # epsilons: a branch is what is left of a difference, and some of its values are small
COARSE_TO_FINE = (EXAMPLES, CHANNELS, PIXELS, ELEMENTS)


def branch_factors(parameters: Mapping[str, np.ndarray], block: BlockArchitecture, entering: np.ndarray,
                   leaving: np.ndarray, rules: NetworkRules) -> np.ndarray | None:
    """The factor of the block's branch, value by value (N, H, W, C); NaN where the branch is too small to be compared.

    entering, leaving: the block's input and output in training, in our layout, float64. None where the output has
    another shape than the reference's.
    """
    leaves = {name: Tensor(array) for name, array in parameters.items() if name.startswith(f"{block.name}.")}
    closed = {**leaves, f"{block.name}.skip_gain": Tensor(np.zeros(()))}
    with no_grad():
        whole = residual_block(leaves, Tensor(entering), block, rules).data
        shortcut = residual_block(closed, Tensor(entering), block, rules).data
    if whole.shape != leaving.shape:
        return None
    branch = whole - shortcut
    clear = np.abs(branch) > 1e-3 * np.max(np.abs(branch), initial=0.0)
    return np.where(clear, (leaving - shortcut) / np.where(clear, branch, 1.0), np.nan)


def known_variants(factors: Sequence[np.ndarray | None], epsilon: float) -> tuple[KnownVariant, ...]:
    """The variants of stochastic depth that the factors of all blocks show.

    epsilon: of the precision that the blocks were computed in.
    """
    sure = SURE * epsilon
    active = [found for found in factors if found is not None and np.nanmax(np.abs(found - 1.0)) > sure]
    if not active:
        return ()
    variants = []
    mask = next(mask for mask in COARSE_TO_FINE
                if all(_constant_along(found, mask.constant_axes, sure) for found in active))
    if mask is not EXAMPLES:
        variants.append(_variant("mask", mask))
    kept = [float(np.nanmax(found)) for found in active if np.nanmax(found) > sure]
    if any(value > 1.0 + sure for value in kept):
        variants.append(_variant("scale", rescaled))
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
        spread = np.nanmax(found, axis=axes) - np.nanmin(found, axis=axes)
    return not np.any(spread > sure)
