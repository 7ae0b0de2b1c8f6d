"""Plain NumPy arrays, without derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base import Cotangent, Framework, Host, expect_array


class Numpy(Framework):
    """NumPy's arrays; there are no derivatives and no modules."""

    name = "numpy"

    def array(self, host: Host, precision: str | None = None) -> np.ndarray:
        host = np.asarray(host)
        return host.astype(precision) if precision and host.dtype.kind == "f" else host

    def host(self, array: Any) -> Host:
        array = np.asarray(expect_array(array))
        self.seen.add(str(array.dtype))
        return array

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any], cotangent: Cotangent) -> tuple[Host, None]:
        return self.host(function(*arrays)), None

    def rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng(seed)
