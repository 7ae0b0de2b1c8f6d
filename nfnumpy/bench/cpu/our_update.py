"""Our side of clipping and updating: optim.adaptive_gradient_clip and optim.SGD on given gradients."""

import contextlib
import math

from ... import optim
from ...backend import reference
from ..problem import LEARNING_RATE, random_gradients
from .update import CLIPPING, SGD, TOGETHER


class OurUpdate:
    """The parameters of a Problem's network with gradients; plain: in reference mode."""

    def __init__(self, problem, plain=False):
        self._mode = reference if plain else contextlib.nullcontext
        session = problem.session(*problem.images_and_labels())
        self._computing = session.backend.computing
        self._parameters = session.model.parameters()
        self._gradients = random_gradients([parameter.shape for parameter in self._parameters.values()])
        self._sgd = {SGD: optim.SGD(self._parameters, lr=LEARNING_RATE, clipping=None),
                     TOGETHER: optim.SGD(self._parameters, lr=LEARNING_RATE)}

    def parameters(self):
        """How many values there are."""
        return sum(math.prod(parameter.shape) for parameter in self._parameters.values())

    def work(self, which):
        """Do one of update.BYTES once."""
        with self._mode(), self._computing():
            if which == CLIPPING:
                for (name, parameter), gradient in zip(self._parameters.items(), self._gradients):
                    if name in self._sgd[TOGETHER].clipped:
                        optim.adaptive_gradient_clip(gradient, parameter.data, clipping=0.01, eps=1e-3)
            else:
                for parameter, gradient in zip(self._parameters.values(), self._gradients):
                    parameter.grad = gradient
                self._sgd[which].step()
