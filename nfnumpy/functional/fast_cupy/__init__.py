"""Fast paths on CuPy: the hand-written kernels of backend/kernels, each in place of the formula it is named after.

They are not needed to understand the formulas. `with nfnumpy.reference():` switches them off.
"""

from . import (
    activations,
    convolution,
    dropout,
    group_normalization,
    images,
    linear,
    losses,
    normalization,
    pooling,
    residual,
    squeeze_excite,
    weight_standardization,
)

__all__ = ["activations", "convolution", "dropout", "group_normalization", "images", "linear", "losses",
           "normalization", "pooling", "residual", "squeeze_excite", "weight_standardization"]
