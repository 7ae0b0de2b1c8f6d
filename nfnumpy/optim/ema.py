"""The exponential moving average of the weights, which is evaluated in their place.

Source: Polyak, Juditsky (1992) for the idea; Brock et al. (2021b), appendix, for the decay, whose warm-up
min(decay, (1 + t)/(10 + t)) lets early steps count for less.
"""

import contextlib

from ..backend import as_array, formula
from ..errors import InputError
from .chunks import parts


@formula
def moving_average(averages, arrays, *, decay):
    """decay·average + (1 - decay)·array for each pair of two lists, as a list."""
    return [as_array(decay * average + (1.0 - decay) * array) for average, array in zip(averages, arrays, strict=True)]


class ExponentialMovingAverage:
    """average ← d·average + (1 - d)·w after step t = 0, 1, …, with d = min(decay, (1 + t)/(10 + t)).

    parameters: a dict name -> Tensor; `.average` is a dict name -> array, which starts as the parameters themselves.
    """

    def __init__(self, parameters, decay=0.99999):
        if not 0.0 <= decay < 1.0:
            raise InputError(f"EMA: decay={decay!r}: expected a number from 0 up to, not including, 1")
        self.parameters, self.decay, self.updates = parameters, decay, 0
        self.average = {name: as_array(parameter.data + 0.0) for name, parameter in parameters.items()}

    def update(self):
        """Take in the parameters as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for part in parts(self.parameters):
            averages, arrays = [self.average[name] for name in part], [parameter.data for parameter in part.values()]
            self.average.update(zip(part, moving_average(averages, arrays, decay=decay)))
        self.updates += 1

    @contextlib.contextmanager
    def applied(self):
        """Context in which the parameters hold the averaged weights."""
        own = {name: parameter.data for name, parameter in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                parameter.data = self.average[name]
            yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.data = own[name]
