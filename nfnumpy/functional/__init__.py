"""The math: every formula with its vector-Jacobian product beside it. Raw arrays in and out; no tape here.

A derivative is named after its formula, `f_vjp`, or `f_NAME_vjp` when inputs have one each. It takes the cotangent of
the output and, by name, only what it needs: an input, an input's shape or dtype (`NAME_shape`, `NAME_dtype`), the
`output`, the options.
"""

from . import fast_cupy, fast_numpy  # their fast paths announce themselves

__all__ = ["fast_cupy", "fast_numpy"]
