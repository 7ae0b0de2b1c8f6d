"""Fast paths on NumPy: the results of the formulas whose names they carry, computed faster.

The formulas can be understood without them. `with nfnumpy.reference():` switches them off.
"""

from . import (
    activations,
    arithmetic,
    convolution,
    dropout,
    group_normalization,
    linear,
    normalization,
    pooling,
    residual,
    squeeze_excite,
    weight_standardization,
)

__all__ = ["activations", "arithmetic", "convolution", "dropout", "group_normalization", "linear", "normalization",
           "pooling", "residual", "squeeze_excite", "weight_standardization"]
