"""Fast paths on NumPy: whole lists of tensors in blocks that stay in the cache, on our threads.

They are not needed to understand the formulas. `with nfnumpy.reference():` switches them off.
"""

from . import multi_tensor, rmsprop, sgd

__all__ = ["multi_tensor", "rmsprop", "sgd"]
