"""`python -m nfnumpy.bench gpu`: the GPU backend beside PyTorch; `command` lists what is measured."""

from .command import add_to

__all__ = ["add_to"]
