"""Normalizations and their derivatives on the GPU, beside NumPy's formulas in float64."""

import numpy

from ... import backend as backends
from ...backend import to_host
from ...functional import normalization as formulas

SHAPE = (4, 9, 7, 72)
EPS = 1e-3
BOUND = {"tf32": 1e-4, "bf16": 1e-2}  # of an error, in the largest magnitude: 252 additions in float32; bfloat16's 2⁻⁹


def agree(precision: str) -> tuple[bool, str]:
    """(whether all values are within `BOUND`, the greatest error in the largest magnitude), in "tf32" or "bf16"."""
    backend = backends.get("cupy")
    dtype = backend.compute_dtype("bf16" if precision == "bf16" else None, "float32")
    random = numpy.random.default_rng(0)
    images = [random.standard_normal(SHAPE).astype(dtype) for _ in range(2)]
    of_channels = [random.random(SHAPE[-1:], dtype=numpy.float32) for _ in range(4)]
    found = _all_results(*map(backend.asarray, [*images, *of_channels]))
    expected = _all_results(*(array.astype(numpy.float64) for array in [*images, *of_channels]))
    worst = max(float(numpy.max(numpy.abs(to_host(ours).astype(numpy.float64) - value)) / numpy.max(numpy.abs(value)))
                for ours, value in zip(found, expected, strict=True))
    return worst <= BOUND[precision], f"greatest relative error {worst:.1e}"


def _all_results(x, cotangent, gamma, beta, mean, variance):
    """With the moments of the batch, and with given ones."""
    results = [formulas.batch_norm(x, gamma, beta, eps=EPS),
               *formulas.batch_norm_vjp(cotangent, x, gamma, None, None, eps=EPS),
               formulas.normalize(x, gamma, beta, mean, variance, eps=EPS),
               *formulas.normalize_vjp(cotangent, x, gamma, mean, variance, eps=EPS)]
    return [result for result in results if result is not None]
