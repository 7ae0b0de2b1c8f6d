"""Fast paths on NumPy: the same results as the formulas beside which they are named, sooner. None is needed to understand.

`with nfnumpy.reference():` switches them off.
"""

from . import activations, convolution

__all__ = ["activations", "convolution"]
