"""PyTorch's side of clipping and updating: timm's loop over parameters, torch.optim.SGD."""

import torch

from ...backend import blas_threads
from ..problem import LEARNING_RATE, random_gradients
from ..torch_networks import network_of
from ..torch_update import Update
from .update import CLIPPING, SGD


class TorchUpdate:
    """The parameters of a Problem's network with gradients; fused: one function of PyTorch's for all of SGD."""

    def __init__(self, problem, fused=None):
        torch.set_num_threads(blas_threads.thread_count())
        network = network_of(problem.config).to(memory_format=torch.channels_last)
        self._update = Update(network, LEARNING_RATE, fused=fused)
        for parameter in network.parameters():
            gradient, = random_gradients([parameter.shape])
            parameter.grad = torch.from_numpy(gradient).to(memory_format=torch.channels_last) \
                if parameter.ndim == 4 else torch.from_numpy(gradient)
        self._parameters = sum(parameter.numel() for parameter in network.parameters())

    def parameters(self):
        """How many values there are."""
        return self._parameters

    def source(self):
        """Where the clipping function is from."""
        return self._update.source

    def work(self, which):
        """Do one of update.BYTES once."""
        {CLIPPING: self._update.clip_gradients, SGD: self._update.sgd.step}.get(which, self._update.step)()
