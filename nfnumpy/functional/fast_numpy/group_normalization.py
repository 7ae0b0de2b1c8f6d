"""The fast paths of `functional.group_normalization`: the moments of each image alone.

They are the formulas on some images at a time, whose passes then stay in the cache.

Formulas: functional/group_normalization.py. Test: fast_numpy/test_normalization.py.
"""

import math

import numpy

from ...backend import blocking, buffer_pool, thread_pool
from .. import group_normalization as formulas
from .channel_blocks import covers


def _images_at_a_time(x):
    step = blocking.rows_in_block(math.prod(x.shape[1:]))
    return [run for share in blocking.split_by_work(len(x), x.size) for run in blocking.split_by_step(share, step)]


@formulas.group_norm.fast_path("numpy")
def group_norm(x: numpy.ndarray, gamma: numpy.ndarray, beta: numpy.ndarray, *, groups: int,
               eps: float = formulas.EPS) -> numpy.ndarray:
    """The formula of some images at a time."""
    if not covers(x, gamma, beta):
        return NotImplemented
    out = buffer_pool.empty(x.shape, x.dtype)

    def compute(run):
        out[run] = formulas.group_norm.plain(x[run], gamma, beta, groups=groups, eps=eps)

    thread_pool.parallel_map(compute, _images_at_a_time(x))
    return out


@formulas.group_norm_vjp.fast_path("numpy")
def group_norm_vjp(cotangent: numpy.ndarray, x: numpy.ndarray, gamma: numpy.ndarray, *, groups: int,
                   eps: float = formulas.EPS) -> tuple[numpy.ndarray, ...]:
    """The formula of some images at a time; the sums for gamma and beta are added in the order of the images."""
    if cotangent.shape != x.shape or not covers(x, cotangent, gamma):
        return NotImplemented
    out = buffer_pool.empty(x.shape, x.dtype)

    def compute(run):
        out[run], *sums = formulas.group_norm_vjp.plain(cotangent[run], x[run], gamma, groups=groups, eps=eps)
        return numpy.stack(sums)

    back_gamma, back_beta = blocking.reduce_blocks(compute, _images_at_a_time(x))
    return out, back_gamma, back_beta
