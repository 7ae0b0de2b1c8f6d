"""Adaptive gradient clipping, the papers' optimizer and SAM in PyTorch's idiom, for the networks of `ports.torch`.

    optimizer = SGD(network, lr=0.1)
    F.cross_entropy(network(x), labels).backward()
    optimizer.step()

Used by: reference_tests (oracle), bench (opponent), verify (positive control). Tests: reference_tests/ports/
test_torch.py, training/test_training_steps_against_torch.py.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def unitwise_norm(x: torch.Tensor) -> torch.Tensor:
    """The norm of each output unit, which is the *first* axis here: (out, 1, …); vectors and scalars are one unit, ().

    The authors' weights have their output units on the last axis.
    """
    if x.squeeze().ndim <= 1:
        return torch.linalg.vector_norm(x)
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)


def is_clipped(name: str) -> bool:
    """Whether AGC applies: to all parameters but the weight of the final linear layer. Source: 2102.06171, 4.1."""
    return name != "linear.weight"


def is_decayed(name: str) -> bool:
    """Whether weight decay applies: to weights, not to biases, gains and skip gains."""
    return name.rpartition(".")[2] == "weight"


@torch.no_grad()
def adaptive_gradient_clip_(parameters: Iterable[torch.Tensor], clipping: float = 0.01, eps: float = 1e-3) -> None:
    """Shorten the gradient of each unit to clipping·max(‖W‖, eps), in place. Source: 2102.06171, eq. 3.

    eps is a floor of ‖W‖, so that units that start at 0 can move; 1e-6 only keeps the division finite.
    """
    for parameter in parameters:
        if parameter.grad is None:
            continue
        largest = unitwise_norm(parameter).clamp_(min=eps).mul_(clipping)
        norm = unitwise_norm(parameter.grad)
        parameter.grad.mul_(torch.where(norm > largest, largest / norm.clamp(min=1e-6), 1.0))


class SGD:
    """AGC, then weight decay, then Nesterov momentum, in this order: decay is not clipped. Source: 2102.06171, 4.

    clip: a function (parameters, clipping, eps=eps) that clips in place; clipping None: no clipping; fused: as
    torch.optim.SGD has it.
    """

    def __init__(self, network: nn.Module, lr: float, *, clipping: float | None = 0.01, eps: float = 1e-3,
                 weight_decay: float = 2e-5, momentum: float = 0.9, fused: bool | None = None,
                 clip: Callable[..., Any] = adaptive_gradient_clip_) -> None:
        named = dict(network.named_parameters())
        self.clip, self.clipping, self.eps = clip, clipping, eps
        self.clipped = [parameter for name, parameter in named.items() if is_clipped(name)]
        decayed = [parameter for name, parameter in named.items() if is_decayed(name)]
        others = [parameter for name, parameter in named.items() if not is_decayed(name)]
        self.sgd = torch.optim.SGD([{"params": decayed, "weight_decay": weight_decay},
                                    {"params": others, "weight_decay": 0.0}],
                                   lr=lr, momentum=momentum, nesterov=True, fused=fused)

    @property
    def lr(self) -> float:
        """The learning rate, which a schedule changes between steps."""
        return self.sgd.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.sgd.param_groups:
            group["lr"] = value

    def clip_gradients(self) -> None:
        """AGC alone."""
        if self.clipping is not None:
            self.clip(self.clipped, self.clipping, eps=self.eps)

    def step(self) -> None:
        """Change every parameter by its gradient."""
        self.clip_gradients()
        self.sgd.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.sgd.zero_grad(set_to_none=True)


def sam_backward(network: nn.Module, loss_of: Callable[[], torch.Tensor], rho: float = 0.05) -> float:
    """Leave the gradients of sharpness-aware minimization; returns the loss at the weights as they are.

    The gradient is taken at w + rho·g/‖g‖, with one norm over all parameters, and the weights return to w bit for bit.
    loss_of: a function of nothing, whose masks must be the same in both calls. Source: Foret et al., 2010.01412.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loss = loss_of()
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    scale = torch.where(norm > 0.0, rho / norm, 0.0)
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_(gradient * scale)
    network.zero_grad(set_to_none=True)
    loss_of().backward()
    with torch.no_grad():
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    return loss.item()
