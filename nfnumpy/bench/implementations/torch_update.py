"""Clipping and update in PyTorch: timm's clipping where it is installed, else the port's, and torch.optim.SGD."""

from collections.abc import Callable
from typing import Any

import torch

from ...backend import blas_threads
from ...ports import torch as port, torch_optim
from ..cases.networks import LEARNING_RATE, NetworkCase
from ..cases.update import CLIPPING, SGD, random_gradients

PORT = "nfnumpy.ports.torch_optim"


def clipping_function() -> tuple[Callable[..., Any], str]:
    """(the function that clips, its origin: "timm" or PORT). Both loop over the parameters."""
    try:
        from timm.utils import adaptive_clip_grad
    except (ImportError, RuntimeError):  # a torchvision of another version than torch's makes timm raise the latter
        return torch_optim.adaptive_gradient_clip_, PORT
    return adaptive_clip_grad, "timm"


def optimizer_of(network: torch.nn.Module, fused: bool | None = None,
                 clipping: float | None = 0.01) -> tuple[torch_optim.SGD, str]:
    """(the optimizer of a network's parameters, the origin of its clipping)."""
    clip, origin = clipping_function()
    return torch_optim.SGD(network, LEARNING_RATE, clipping=clipping, fused=fused, clip=clip), origin


class TorchUpdate:
    """The parameters of a case's network with gradients; fused: as torch.optim.SGD has it."""

    def __init__(self, case: NetworkCase, fused: bool | None = None) -> None:
        torch.set_num_threads(blas_threads.thread_count())
        network = port.from_config(case.config)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer, self._origin = optimizer_of(network, fused)
        for parameter in network.parameters():
            gradient, = random_gradients([parameter.shape])
            parameter.grad = torch.from_numpy(gradient)
            if parameter.ndim == 4:
                parameter.grad = parameter.grad.to(memory_format=torch.channels_last)
        self._parameters = sum(parameter.numel() for parameter in network.parameters())

    def parameters(self) -> int:
        """How many values there are."""
        return self._parameters

    def origin(self) -> str:
        """Where the clipping function is from."""
        return self._origin

    def work(self, which: str) -> None:
        """Do CLIPPING, SGD or both once."""
        if which == CLIPPING:
            self._optimizer.clip_gradients()
        elif which == SGD:
            self._optimizer.sgd.step()
        else:
            self._optimizer.step()
