"""Adaptive gradient clipping and SGD as PyTorch's users run them: timm's loop over parameters, torch.optim.SGD."""

import torch

from ..optim import clipped_by_default, is_decayed


def unitwise_norm(x):
    """‖x‖ of every output unit; vectors and scalars are one unit."""
    return x.norm(2.0) if x.ndim <= 1 else x.norm(2.0, dim=tuple(range(1, x.ndim)), keepdim=True)


@torch.no_grad()
def clip_one_by_one(parameters, clip_factor=0.01, eps=1e-3):
    """What timm.utils.adaptive_clip_grad does, for machines without timm."""
    for parameter in parameters:
        if parameter.grad is None:
            continue
        largest = unitwise_norm(parameter.detach()).clamp_(min=eps).mul_(clip_factor)
        norm = unitwise_norm(parameter.grad)
        clipped = parameter.grad * (largest / norm.clamp(min=1e-6))
        parameter.grad.copy_(torch.where(norm < largest, parameter.grad, clipped))


def timm_or_loop():
    """(the clipping function, where it is from)."""
    try:
        from timm.utils import adaptive_clip_grad
    except (ImportError, RuntimeError):  # a torchvision of another version than torch's makes timm raise the latter
        return clip_one_by_one, "a loop like timm's"
    return adaptive_clip_grad, "timm"


class Update:
    """Clip, then decay, then Nesterov momentum, over the named parameters of a network.

    fused: torch.optim.SGD's option; None is its default.
    """

    def __init__(self, network, lr, clipping=0.01, weight_decay=2e-5, momentum=0.9, fused=None):
        named = list(network.named_parameters())
        is_clipped = clipped_by_default(dict(named))
        self.clip, self.source = timm_or_loop()
        self.clipping, self.clipped = clipping, [parameter for name, parameter in named if is_clipped(name)]
        self.sgd = torch.optim.SGD(
            [{"params": [parameter for name, parameter in named if is_decayed(name)], "weight_decay": weight_decay},
             {"params": [parameter for name, parameter in named if not is_decayed(name)], "weight_decay": 0.0}],
            lr=lr, momentum=momentum, nesterov=True, fused=fused)

    def clip_gradients(self):
        """Shorten the gradients that are too long beside their parameters."""
        self.clip(self.clipped, self.clipping, eps=1e-3)

    def step(self):
        """Change every parameter by its gradient, which stays."""
        self.clip_gradients()
        self.sgd.step()

    def forget_gradients(self):
        """Before the next backward pass."""
        self.sgd.zero_grad(set_to_none=True)
