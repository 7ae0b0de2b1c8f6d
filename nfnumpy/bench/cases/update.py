"""Adaptive gradient clipping and SGD alone, over all parameters of a network, with given gradients."""

import numpy

CLIPPING, SGD, TOGETHER = "AGC", "SGD", "AGC and SGD"
BYTES = {CLIPPING: 12, SGD: 20, TOGETHER: 20}  # a float32 parameter's, at least: see docs/benchmarks


def random_gradients(shapes: list[tuple[int, ...]]) -> list[numpy.ndarray]:
    """float32 arrays of these shapes, the same every time, some of which adaptive gradient clipping shortens."""
    random = numpy.random.default_rng(1)
    return [numpy.asarray(1e-2 * random.standard_normal(shape), dtype=numpy.float32) for shape in shapes]
