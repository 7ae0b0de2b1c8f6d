"""The exponential moving average of the weights, which is evaluated in their place.

Source: Polyak, Juditsky (1992) for the idea; Brock et al. (2021b), appendix, for the decay, whose warm-up
min(decay, (1 + t)/(10 + t)) lets early steps count for less.
"""

import contextlib

from collections.abc import Iterator

from ..autograd import Tensor
from ..backend import as_array, formula, is_floating
from ..backend.arrays import Array
from ..errors import InputError
from ..nn import Module
from .chunks import parts


@formula
def moving_average(averages, arrays, *, decay):
    """decay·average + (1 - decay)·array for each pair of two lists, as a list."""
    return [as_array(decay * average + (1.0 - decay) * array) for average, array in zip(averages, arrays, strict=True)]


class ExponentialMovingAverage:
    """average ← d·average + (1 - d)·w after step t = 0, 1, …, with d = min(decay, (1 + t)/(10 + t)).

    model: a Module, or a dict name -> Tensor; `.average` is a dict name -> array, which starts as the parameters
    themselves. A Module's buffers are averaged by the same rule, as running statistics belong to the weights they were
    measured with (the authors' code averages both); buffers of whole numbers, such as counters, are copied.
    """

    def __init__(self, model: Module | dict[str, Tensor], decay: float = 0.99999) -> None:
        if not 0.0 <= decay < 1.0:
            raise InputError(f"EMA: decay={decay!r}: expected a number from 0 up to, not including, 1")
        self.model = model if isinstance(model, Module) else None
        self.parameters = dict(model) if self.model is None else model.parameters()
        self.decay, self.updates = decay, 0
        self.average = {name: as_array(parameter.data + 0.0) for name, parameter in self.parameters.items()}
        self.average.update({name: array.copy() for name, array in self._buffers().items()})

    def update(self) -> None:
        """Take in the parameters and buffers as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for part in parts(self.parameters):
            averages, arrays = [self.average[name] for name in part], [parameter.data for parameter in part.values()]
            self.average.update(zip(part, moving_average(averages, arrays, decay=decay)))
        self._update_buffers(decay)
        self.updates += 1

    def _update_buffers(self, decay: float) -> None:
        """The same for the buffers: whole numbers are copied."""
        buffers = self._buffers()
        averaged = [name for name, array in buffers.items() if is_floating(array.dtype)]
        if averaged:
            means = moving_average([self.average[name] for name in averaged], [buffers[name] for name in averaged],
                                   decay=decay)
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
        own = {**{name: parameter.data for name, parameter in self.parameters.items()}, **self._buffers()}
        try:
            self._assign(self.average)
            yield
        finally:
            self._assign(own)
