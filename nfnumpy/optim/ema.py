"""The exponential moving average of the weights, which is evaluated in their place.

Source: Polyak, Juditsky (1992) for the idea; Brock et al. (2021b), appendix, for the decay, whose warm-up
min(decay, (1 + t)/(10 + t)) gives early steps a smaller weight.

Used by: training/trainer.py. Fast paths of `moving_average`: fast_numpy/multi_tensor.py, fast_cupy/multi_tensor.py.
Kernel: backend/kernels/optimizer.cu. Tests: reference_tests/optim/test_ema.py; fast_numpy/test_optimizer.py and
kernels/test_optimizer.py.
"""

import contextlib
import numbers
from collections.abc import Iterator

from ..autograd import Tensor
from ..backend import as_array, buffer_pool, formula, is_floating, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from ..nn import Module
from .checks import check_pairs, is_finite_number
from .chunks import parameters_of, parts
from .groups import Predicate


def check_average(averages: list[Array], arrays: list[Array], *, decay: float | Array) -> None:
    """InputError unless there is an array for every average and the decay is a number or an array ()."""
    check_pairs(averages, arrays, "moving_average")
    if not is_finite_number(decay) and getattr(decay, "shape", None) != ():
        raise InputError(f"moving_average: decay={shown(decay)}: expected a number or an array ()")


@formula(check=check_average)
def moving_average(averages: list[Array], arrays: list[Array], *, decay: float | Array) -> list[Array]:
    """decay·average + (1 - decay)·array for each pair of two lists, as a list.

    decay: a number, or an array () of float64; for float32 arrays, decay and 1 - decay are then rounded to float32.
    """
    rest = 1.0 - decay
    results = []
    for average, array in zip(averages, arrays, strict=True):
        if isinstance(decay, numbers.Real):
            kept, taken = decay, rest
        else:
            xp = namespace(average)
            kept, taken = xp.astype(decay, average.dtype), xp.astype(rest, average.dtype)
        results.append(as_array(kept * average + taken * array))
    return results


class ExponentialMovingAverage:
    """average ← d·average + (1 - d)·w after step t = 0, 1, …, with d = min(decay, (1 + t)/(10 + t)).

    model: a Module, or a dict name -> Tensor; `.average` is a dict name -> array, which starts as the parameters
    themselves. A Module's buffers are averaged by the same rule, as running statistics belong to the weights they were
    measured with (the authors' code averages both); buffers of whole numbers, such as counters, are copied.
    averaged: a predicate of a parameter's name; where it is false, as for frozen parameters, the average stays as it is
    bit for bit, while rounding would move it. By default all parameters are averaged.
    `.updates` is t, a number, or an array () once `update` has been given one.
    """

    def __init__(self, model: Module | dict[str, Tensor], decay: float = 0.99999,
                 averaged: Predicate | None = None) -> None:
        if not (is_finite_number(decay) and 0.0 <= decay < 1.0):
            raise InputError(f"EMA: decay={shown(decay)}: expected a number from 0 up to, not including, 1")
        self.parameters: dict[str, Tensor] = parameters_of(model, "EMA")
        self._averaged = self.parameters
        if averaged is not None:
            self._averaged = {name: tensor for name, tensor in self.parameters.items() if averaged(name)}
        self.model: Module | None = None
        if isinstance(model, Module) and model.buffers():  # otherwise each step would look for buffers in vain
            self.model = model
        self.decay: float = decay
        self.updates: int | Array = 0
        self.average: dict[str, Array] = {}
        self.average.update({name: buffer_pool.copy_into_pool(parameter.data.copy())
                             for name, parameter in self.parameters.items()})
        self.average.update({name: array.copy() for name, array in self._buffers().items()})

    def update(self, proceeded: Array | None = None) -> None:
        """Take in the parameters and buffers as they are now.

        proceeded: an array () of bool: where False, the step changed no weight and does not count; the averages stay
        bit for bit. The host does not wait for it.
        """
        decay = self._next_decay(proceeded)
        for part in parts(self._averaged):
            averages = [self.average[name] for name in part]
            arrays = [parameter.data for parameter in part.values()]
            self.average.update(zip(part, moving_average(averages, arrays, decay=decay), strict=True))
        self._update_buffers(decay)

    def _next_decay(self, proceeded: Array | None) -> float | Array:
        """d of this update, and one more in `updates`; with `proceeded`, both are arrays (), the former 1 if False."""
        if proceeded is None:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            self.updates += 1
            return decay
        xp = namespace(proceeded)
        updates = xp.asarray(self.updates, dtype=xp.int64)
        times = xp.astype(updates, xp.float64)
        decay = xp.clip((1.0 + times) / (10.0 + times), None, self.decay)
        self.updates = as_array(updates + xp.astype(proceeded, xp.int64))
        return as_array(xp.where(proceeded, decay, xp.ones_like(decay)))

    def _update_buffers(self, decay: float | Array) -> None:
        """The same for the buffers: whole numbers are copied."""
        buffers = self._buffers()
        averaged = [name for name, array in buffers.items() if is_floating(array.dtype)]
        if averaged:
            averages = [self.average[name] for name in averaged]
            arrays = [buffers[name] for name in averaged]
            means = moving_average(averages, arrays, decay=decay)
            self.average.update(zip(averaged, means, strict=True))
        self.average.update({name: array.copy() for name, array in buffers.items() if name not in averaged})

    def _buffers(self) -> dict[str, Array]:
        return {} if self.model is None else self.model.buffers()

    def _assign(self, arrays: dict[str, Array]) -> None:
        """Put `arrays` (name -> array) in place of the values of all parameters and buffers."""
        for name, parameter in self.parameters.items():
            parameter.data = arrays[name]
        if self.model is not None:
            self.model.assign_buffers({name: arrays[name] for name in self.model.buffers()})

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the parameters and buffers hold the averages."""
        own = {name: parameter.data for name, parameter in self.parameters.items()}
        own.update(self._buffers())
        try:
            self._assign(self.average)
            yield
        finally:
            self._assign(own)
