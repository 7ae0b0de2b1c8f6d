"""The residual update with SkipInit.

Source: De, Smith (2020), arXiv 2002.10444 (SkipInit); Brock, De, Smith (2021a), section 3 (alpha).
"""

from ..backend import formula, namespace
from ..errors import InputError


@formula
def skip_init(shortcut, residual, skip_gain, *, alpha):
    """shortcut + alpha·skip_gain·residual: two images of one shape and a scalar () -> an image."""
    if tuple(shortcut.shape) != tuple(residual.shape) or getattr(skip_gain, "shape", ()) != ():
        raise InputError(f"skip_init: expected shortcut and residual of one shape and a skip_gain (), got "
                         f"{tuple(shortcut.shape)}, {tuple(residual.shape)} and {tuple(skip_gain.shape)}")
    return shortcut + residual * (alpha * skip_gain)


def skip_init_shortcut_vjp(cotangent):
    return cotangent


@formula
def skip_init_residual_vjp(cotangent, skip_gain, *, alpha):
    """Of the residual branch: alpha·skip_gain of what comes in."""
    return cotangent * (alpha * skip_gain)


@formula
def skip_init_skip_gain_vjp(cotangent, residual, *, alpha):
    """Of the gain: alpha·⟨cotangent, residual⟩."""
    return alpha * namespace(residual).sum(cotangent * residual)
