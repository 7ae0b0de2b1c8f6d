"""`activations.scaled_nonlinearity` and its derivative in one launch each.

Kernels: backend/kernels/activations.cu. Test: reference_tests/kernels/test_activations.py.
"""

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from .. import activations as formulas

ELEMENTWISE = {"tanh": "tanh_g", "celu": "elu", **{name: name for name in (
    "identity", "relu", "relu6", "leaky_relu", "sigmoid", "gelu", "gelu_erf", "silu", "elu", "selu", "softplus",
    "log_sigmoid", "softsign")}}
CHOICES = (cuda.FLOATING, tuple(sorted(set(ELEMENTWISE.values()))))
KERNELS = cuda.KernelFile("activations", {"scaled_nonlinearity": CHOICES, "scaled_nonlinearity_vjp": CHOICES})


def _map(kernel, arrays, name, scale):
    if name not in ELEMENTWISE or not cuda.supports(*arrays) or type(scale) not in (int, float):
        return NotImplemented
    arrays = cuda.contiguous(*arrays)
    out = cuda.empty_like(arrays[0])
    wide = cuda.accumulator_type(out.dtype)
    KERNELS.launch_elementwise(kernel, (out.dtype, ELEMENTWISE[name]), out, *arrays, out, numpy.int64(out.size),
                               wide(scale))
    return out


@formulas.scaled_nonlinearity.fast_path("cupy")
def scaled_nonlinearity(x: Array, *, name: str, scale: float) -> Array:
    """Reads x once, writes the result once."""
    return _map("scaled_nonlinearity", [x], name, scale)


@formulas.scaled_nonlinearity_vjp.fast_path("cupy")
def scaled_nonlinearity_vjp(cotangent: Array, x: Array, *, name: str, scale: float) -> Array:
    """Computes g again rather than keeping it."""
    return _map("scaled_nonlinearity_vjp", [cotangent, x], name, scale)
