"""Initial values of parameters: drawn on the host from (seed, name), then copied to the model's backend.

Used by: nn/layers.py, models/. Test: reference_tests/nn/test_initialization.py.
"""

import math
from typing import Any

import numpy
from numpy.typing import DTypeLike

from .. import backend as backends
from ..autograd import Tensor
from ..backend.arrays import Array


class Initializer:
    """Makes the parameters of one part of a model.

    backend ("numpy", "cupy" or a backend object), dtype ("float32", "float64"): of the parameters; seed: of all draws;
    path: the dotted name of this part, which is also the site of its draws. shapes_only: parameters are zeros that
    take no memory, for counting.
    """

    def __init__(self, backend: str = "numpy", dtype: DTypeLike = "float32", seed: int = 0, path: str = "",
                 shapes_only: bool = False) -> None:
        found: Any = backend if hasattr(backend, "xp") else backends.get(str(backend))
        self.backend = found
        self.dtype = found.dtype(dtype)
        self.randomness = backends.CounterRNG(seed)
        self.path = path
        self.shapes_only = shapes_only

    def scope(self, name: str) -> "Initializer":
        """The initializer of the part called `name`."""
        path = f"{self.path}.{name}".lstrip(".")
        return Initializer(self.backend, self.dtype, self.randomness.seed, path, self.shapes_only)

    def filled(self, shape: tuple[int, ...], value: float) -> Array:
        """An array filled with `value`, as buffers start."""
        xp = self.backend.xp
        if self.shapes_only:
            return xp.broadcast_to(xp.zeros((), dtype=self.dtype), shape)
        return xp.full(shape, value, dtype=self.dtype)

    def constant(self, shape: tuple[int, ...], value: float) -> Tensor:
        """A parameter filled with `value`."""
        return Tensor(self.filled(shape, value), requires_grad=True)

    def normal(self, name: str, shape: tuple[int, ...], standard_deviation: float) -> Tensor:
        """A parameter drawn from N(0, standard_deviation²) at the site `path.name`, the same for every dtype."""
        if self.shapes_only:
            return self.constant(shape, 0.0)
        drawn = self.randomness.normal(f"{self.path}.{name}", shape)
        drawn *= standard_deviation
        return self._parameter(drawn)

    def _parameter(self, drawn: numpy.ndarray) -> Tensor:
        """The parameter with these numbers."""
        array = self.backend.asarray(drawn.astype(self.dtype))
        return Tensor(backends.buffer_pool.copy_into_pool(array), requires_grad=True)

    def uniform(self, name: str, shape: tuple[int, ...], bound: float) -> Tensor:
        """A parameter drawn evenly from [-bound, bound) at the site `path.name`, the same for every dtype."""
        if self.shapes_only:
            return self.constant(shape, 0.0)
        return self._parameter((2.0 * self.randomness.uniform(f"{self.path}.{name}", shape) - 1.0) * bound)

    def fan_in_normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """N(0, 1/fan_in), untruncated, the output unit being the last axis. Source: the authors' released code."""
        return self.normal(name, shape, 1.0 / math.sqrt(max(1, math.prod(shape[:-1]))))

    def fan_out_normal(self, name: str, shape: tuple[int, ...], groups: int = 1) -> Tensor:
        """N(0, 2/fan_out) for a kernel (kh, kw, in/groups, out): fan_out = kh·kw·out/groups.

        It keeps the variance of gradients through a relu. Source: He et al. (2015), arXiv 1502.01852, section 2.2.
        """
        height, width, _, out = shape
        return self.normal(name, shape, math.sqrt(2.0 * groups / (height * width * out)))
