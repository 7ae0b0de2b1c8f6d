"""Fast paths on CuPy: whole lists of tensors in one launch or two (backend/kernels/optimizer.cu).

They are not needed to understand the formulas. `with nfnumpy.reference():` switches them off.
"""

from . import multi_tensor, updates

__all__ = ["multi_tensor", "updates"]
