"""Single operations in PyTorch, as its port of the networks has them, channels last."""

from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch.nn import functional as F

from ...backend import blas_threads
from ...ports import torch as port
from ..cases.operations import OperationCase
from .timed_operation import TimedOperation

OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "conv2d": port.conv2d_same,
    "scaled_nonlinearity": lambda x, *, name, scale: port.FUNCTIONS[name](x) * scale,
    "standardize_weight": port.standardize,
    "squeeze_excite": port.squeeze_excite,
    "skip_init": lambda shortcut, residual, skip_gain, *, alpha: shortcut + residual * (alpha * skip_gain),
    "avg_pool": lambda x, **window: F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False),
    "max_pool": lambda x, **window: port.max_pool_same(x),
    "global_mean": lambda x: x.mean(dim=(2, 3)),
}


class TorchOperation(TimedOperation):
    """On as many threads as nfnumpy."""

    def __init__(self) -> None:
        torch.set_num_threads(blas_threads.thread_count())

    def placed(self, case: OperationCase, arrays: list[numpy.ndarray]) -> list[torch.Tensor]:
        """Leaf tensors; images (N, H, W, C) become (N, C, H, W), weights (out, in, kh, kw), both channels last."""
        *inputs, cotangent = map(torch.from_numpy, arrays)
        standardizes = case.operation == "standardize_weight"
        self._cotangent = _as_weight(cotangent) if standardizes else _as_image(cotangent)
        is_weight = [standardizes or (k > 0 and case.operation != "skip_init") for k in range(len(inputs))]
        placed = [_as_weight(tensor) if weight else _as_image(tensor)
                  for tensor, weight in zip(inputs, is_weight, strict=True)]
        return [tensor.requires_grad_(wanted) for tensor, wanted in zip(placed, case.wanted, strict=True)]

    def forward(self) -> torch.Tensor:
        """Run it on the tape."""
        return OPERATIONS[self.case.operation](*self.inputs, **self.case.options)

    def backward(self, output: Any) -> None:
        """The backward pass from `output`."""
        torch.autograd.grad(output, [tensor for tensor in self.inputs if tensor.requires_grad], self._cotangent)


def _as_image(tensor):
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _as_weight(tensor):
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    return tensor.T.contiguous() if tensor.ndim == 2 else tensor
