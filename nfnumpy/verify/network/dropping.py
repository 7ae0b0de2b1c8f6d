"""What a network's blocks do to single examples in training: whether stochastic depth is what it should be."""

import numpy as np

from ...autograd import Tensor, no_grad
from ..checks.stochastic_depth import CATALOGUE, MASKS
from .blocks import residual_block

SURE = 1e6  # epsilons: branches are what is left of a difference, and some of their values are small
BY_NAME = {entry.name: entry for entry in CATALOGUE}
COARSE_TO_FINE = (("example", None), ("channel of an example", "a mask for every channel"),
                  ("pixel of an example", "a mask for every pixel"), ("element", "a mask for every element"))


def factors(parameters, block, entering, leaving, rules):
    """What the branch of a BlockPlan was multiplied by, value by value (N, H, W, C); NaN where one cannot tell.

    entering, leaving: the block's input and output in training, in our layout, float64.
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


def diagnosis(all_factors, epsilon):
    """Entries of the stochastic depth catalogue that say what is unusual in the factors of all blocks.

    epsilon: of the precision that the blocks were computed in.
    """
    sure = SURE * epsilon
    active = [found for found in all_factors if found is not None and np.nanmax(np.abs(found - 1.0)) > sure]
    if not active:
        return ()
    entries = []
    for mask, name in COARSE_TO_FINE:
        if all(_constant_along(found, MASKS[mask], sure) for found in active):
            entries += [BY_NAME[name]] if name else []
            break
    kept = [float(np.nanmax(found)) for found in active if np.nanmax(found) > sure]
    if any(value > 1.0 + sure for value in kept):
        entries.append(BY_NAME["rescaled by 1/(1 - rate)"])
    elif any(value < 1.0 - sure for value in kept):
        entries.append(BY_NAME["multiplied by 1 - rate"])
    return tuple(entries)


def _constant_along(found, axes, sure):
    if not axes:
        return True
    with np.errstate(all="ignore"):
        spread = np.nanmax(found, axis=axes) - np.nanmin(found, axis=axes)
    return not np.any(spread > sure)
