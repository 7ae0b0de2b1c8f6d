"""`python -m nfnumpy.bench cpu`: nfnumpy on the processor, beside PyTorch.

`command` says what is measured; every contestant works in a process of its own (`contestants`, `processes`).
"""

from .command import add_to

__all__ = ["add_to"]
