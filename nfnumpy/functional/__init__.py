"""The math: every formula with its vector-Jacobian product beside it. Raw arrays in and out; no tape here.

A derivative is named after its formula, `f_vjp`, or `f_NAME_vjp` when inputs have one each. It takes the cotangent of
the output and, by name, only what it needs: an input, an input's shape or dtype (`NAME_shape`, `NAME_dtype`), the
`output`, the options. The formulas are in the modules below; fast_numpy/ and fast_cupy/ replace some of them.
"""

from . import (  # registers the fast paths on the formulas
    activations,
    arithmetic,
    convolution,
    dropout,
    erf,
    fast_cupy,
    fast_numpy,
    group_normalization,
    images,
    linear,
    losses,
    metrics,
    normalization,
    normalization_inputs,
    plain_weight_standardization,
    pooling,
    reductions,
    residual,
    shapes,
    squeeze_excite,
    switchable_normalization,
    weight_standardization,
    windows,
)

__all__ = ["activations", "arithmetic", "convolution", "dropout", "erf", "fast_cupy", "fast_numpy",
           "group_normalization", "images", "linear", "losses", "metrics", "normalization", "normalization_inputs",
           "plain_weight_standardization", "pooling", "reductions", "residual", "shapes", "squeeze_excite",
           "switchable_normalization", "weight_standardization", "windows"]
