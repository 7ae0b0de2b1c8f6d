"""Views of any spacing."""

import numpy as np


def as_strided(x, shape=None, strides=None):
    return x._view(np.lib.stride_tricks.as_strided(x.host, shape, strides))
