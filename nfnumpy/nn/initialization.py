"""How parameters come to be: drawn on the host from (seed, name), then put where the model lives."""

import math

from .. import backend as backends
from ..autograd import Tensor


class Initializer:
    """Makes the parameters of one place in a model.

    backend, dtype: where and in what they live ("numpy", "float32"); seed: of all draws; path: the dotted name of this
    place, which is also the site of its draws. shapes_only: parameters are zeros that take no memory, for counting.
    """

    def __init__(self, backend="numpy", dtype="float32", seed=0, path="", shapes_only=False):
        self.backend = backends.get(backend) if isinstance(backend, str) else backend
        self.dtype = self.backend.dtype(dtype)
        self.randomness = backends.CounterRNG(seed)
        self.path = path
        self.shapes_only = shapes_only

    def at(self, name):
        """The initializer of the part called `name`."""
        return Initializer(self.backend, self.dtype, self.randomness.seed, f"{self.path}.{name}".lstrip("."),
                           self.shapes_only)

    def constant(self, shape, value):
        """A parameter filled with `value`."""
        xp = self.backend.xp
        if self.shapes_only:
            return Tensor(xp.broadcast_to(xp.zeros((), dtype=self.dtype), shape), requires_grad=True)
        return Tensor(xp.full(shape, value, dtype=self.dtype), requires_grad=True)

    def normal(self, name, shape, standard_deviation):
        """A parameter drawn from N(0, standard_deviation²) at the site `path.name`, the same for every dtype."""
        if self.shapes_only:
            return self.constant(shape, 0.0)
        drawn = self.randomness.normal(f"{self.path}.{name}", shape)
        drawn *= standard_deviation
        return Tensor(backends.buffer_pool.copy_into_pool(self.backend.asarray(drawn.astype(self.dtype))), requires_grad=True)

    def fan_in_normal(self, name, shape):
        """N(0, 1/fan_in), untruncated, the output unit being the last axis. Source: the authors' released code."""
        return self.normal(name, shape, 1.0 / math.sqrt(max(1, math.prod(shape[:-1]))))
