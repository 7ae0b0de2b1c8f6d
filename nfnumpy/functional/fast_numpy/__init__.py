"""Fast paths on NumPy: the results of the formulas after which they are named, sooner.

Nobody needs to read them to understand. `with nfnumpy.reference():` switches them off.
"""

from . import (
    activations,
    convolution,
    arithmetic,
    linear,
    pooling,
    dropout,
    residual,
    squeeze_excite,
    weight_standardization,
)

__all__ = ["activations", "convolution", "arithmetic", "linear", "pooling", "dropout", "residual",
           "squeeze_excite", "weight_standardization"]
