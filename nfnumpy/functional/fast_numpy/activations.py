"""`activations.scaled_nonlinearity` and its derivative in blocks that stay in the cache, on our threads.

A nonlinearity is a dozen passes; over a whole image each pass fetches it from memory again, over a block it does not.
"""

import numpy

from ...backend import fast_path, threads
from .. import activations

BLOCK = 1 << 14  # values: a handful of float32 temporaries of this length fit into the nearest half megabyte
ALONG_THE_LAST_AXIS = ("glu", "log_softmax")


def _in_blocks(formula, arrays, name, scale):
    """formula(*blocks) for blocks of the flattened arrays, into a fresh array of their shape; or NotImplemented."""
    if name in ALONG_THE_LAST_AXIS or len({array.dtype for array in arrays}) > 1 or arrays[0].dtype.kind != "f" \
            or type(scale) not in (int, float) or arrays[0].size <= BLOCK:
        return NotImplemented
    shape = arrays[0].shape
    flat = [numpy.ascontiguousarray(array).reshape(-1) for array in arrays]
    out = numpy.empty(shape, dtype=arrays[0].dtype)
    out_flat = out.reshape(-1)

    def work(share):
        for start in range(share.start, share.stop, BLOCK):
            block = slice(start, min(start + BLOCK, share.stop))
            out_flat[block] = formula(*(values[block] for values in flat), name=name, scale=scale)

    threads.in_parallel(work, threads.shares(out_flat.size))
    return out


@fast_path("numpy", "activations.scaled_nonlinearity")
def scaled_nonlinearity(x, *, name, scale):
    """The formula, block by block."""
    return _in_blocks(activations.scaled_nonlinearity.formula, [x], name, scale)


@fast_path("numpy", "activations.scaled_nonlinearity_vjp")
def scaled_nonlinearity_vjp(cotangent, x, *, name, scale):
    """The derivative's formula, block by block."""
    return _in_blocks(activations.scaled_nonlinearity_vjp.formula, [cotangent, x], name, scale)
