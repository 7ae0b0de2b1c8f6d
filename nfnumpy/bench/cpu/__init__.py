"""`python -m nfnumpy.bench cpu`: nfnumpy on the processor beside PyTorch and JAX; `command` lists what is measured."""

from .command import add_to

__all__ = ["add_to"]
