"""A split of one-coloured images, of which some cannot be read; in a file of its own, for processes to import."""

import os

import numpy as np

from nfnumpy.datasets import Split
from nfnumpy.errors import InputError


class Numbered(Split):
    """Image i of 2×2 pixels is filled with i and has the label i modulo `classes`.

    Reading is an InputError at the indices in `bad`, another error in `fails`, and the end of the process in `ends`.
    """

    def __init__(self, count, bad=(), fails=(), ends=(), classes=7):
        super().__init__(np.arange(count) % classes, image_size=2)
        self.bad, self.fails, self.ends = frozenset(bad), frozenset(fails), frozenset(ends)

    def read(self, index):
        if index in self.bad:
            raise InputError(f"image {index} is bad")
        if index in self.fails:
            raise KeyError(f"a mistake at {index}")
        if index in self.ends:
            os._exit(3)
        return np.full((2, 2, 3), index, dtype=np.uint8)
