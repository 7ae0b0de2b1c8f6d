"""The residual update with SkipInit.

Source: De, Smith (2020), arXiv 2002.10444 (SkipInit); Brock, De, Smith (2021a), section 3 (alpha).

Used by: ops.py, models/. Fast paths: fast_numpy/residual.py, fast_cupy/residual.py. Kernel: residual.cu.
Test: reference_tests/functional/test_operations_against_torch.py.
"""

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .checks import real_number


def _check_skip_init(shortcut: Array, residual: Array, skip_gain: Array | float, *, alpha: float) -> None:
    real_number(alpha, "alpha")
    gain_shape = tuple(getattr(skip_gain, "shape", ()))
    if tuple(shortcut.shape) != tuple(residual.shape) or gain_shape != ():
        raise InputError(f"skip_init: expected shortcut and residual of one shape and a skip_gain (), got "
                         f"{tuple(shortcut.shape)}, {tuple(residual.shape)} and {gain_shape}")


@formula(check=_check_skip_init)
def skip_init(shortcut: Array, residual: Array, skip_gain: Array | float, *, alpha: float) -> Array:
    """shortcut + alpha·skip_gain·residual: two images of one shape and a scalar () -> an image."""
    return shortcut + residual * (alpha * skip_gain)


def skip_init_shortcut_vjp(cotangent: Array) -> Array:
    return cotangent


@formula
def skip_init_residual_vjp(cotangent: Array, skip_gain: Array | float, *, alpha: float) -> Array:
    """Of the residual branch: alpha·skip_gain times the cotangent."""
    return cotangent * (alpha * skip_gain)


@formula
def skip_init_skip_gain_vjp(cotangent: Array, residual: Array, *, alpha: float) -> Array:
    """Of the gain: alpha·⟨cotangent, residual⟩."""
    return alpha * namespace(residual).sum(cotangent * residual)
