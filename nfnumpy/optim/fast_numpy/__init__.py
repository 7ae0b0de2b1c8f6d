"""Fast paths on NumPy: whole lists of tensors in blocks that stay in the cache, on our threads.

Nobody needs to read them to understand. `with nfnumpy.reference():` switches them off.
"""

from . import sgd, multi_tensor

__all__ = ["sgd", "whole_models"]
