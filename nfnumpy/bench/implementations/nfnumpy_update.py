"""Clipping and update in nfnumpy: optim.adaptive_gradient_clip and optim.SGD on given gradients."""

import contextlib
import math

from ... import optim
from ...backend import reference
from ..cases.networks import LEARNING_RATE, NetworkCase
from ..cases.update import CLIPPING, SGD, TOGETHER, random_gradients


class NfnumpyUpdate:
    """The parameters of a case's network with gradients; plain: in reference mode."""

    def __init__(self, case: NetworkCase, plain: bool = False) -> None:
        self._mode = reference if plain else contextlib.nullcontext
        trainer = case.trainer(*case.images_and_labels())
        self._computing = trainer.backend.computing
        self._parameters = trainer.model.parameters()
        self._gradients = random_gradients([parameter.shape for parameter in self._parameters.values()])
        self._sgd = {SGD: optim.SGD(self._parameters, lr=LEARNING_RATE, clipping=None),
                     TOGETHER: optim.SGD(self._parameters, lr=LEARNING_RATE)}

    def parameters(self) -> int:
        """How many values there are."""
        return sum(math.prod(parameter.shape) for parameter in self._parameters.values())

    def work(self, which: str) -> None:
        """Do CLIPPING, SGD or TOGETHER once."""
        with self._mode(), self._computing():
            if which == CLIPPING:
                self._clip()
            else:
                for parameter, gradient in zip(self._parameters.values(), self._gradients, strict=True):
                    parameter.grad = gradient
                self._sgd[which].step()

    def _clip(self):
        for (name, parameter), gradient in zip(self._parameters.items(), self._gradients, strict=True):
            if name in self._sgd[TOGETHER].clipped:
                optim.adaptive_gradient_clip(gradient, parameter.data, clipping=0.01, eps=1e-3)
