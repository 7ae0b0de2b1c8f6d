"""PyTorch's side of single operations, as the networks beside ours have them, channels last."""

import torch

from ...backend import blas_threads
from .. import torch_layers, torch_nf_resnet
from .timed_operation import TimedOperation


OPERATIONS = {
    "conv2d": torch_layers.convolve,
    "scaled_nonlinearity": lambda x, *, name, scale: torch_layers.FUNCTIONS[name](x) * scale,
    "standardize_weight": torch_layers.standardize,
    "squeeze_excite": torch_layers.squeeze_excite,
    "skip_init": lambda shortcut, residual, skip_gain, *, alpha: shortcut + residual * (alpha * skip_gain),
    "avg_pool": lambda x, **window: torch_layers.halved(x),
    "max_pool": lambda x, **window: torch_nf_resnet.max_pool(x),
    "global_mean": lambda x: x.mean(dim=(2, 3)),
}


class TorchOperation(TimedOperation):
    """On as many threads as ours."""

    def __init__(self):
        torch.set_num_threads(blas_threads.thread_count())

    def placed(self, case, arrays):
        """Leaf tensors; images (N, H, W, C) become (N, C, H, W), weights (out, in, kh, kw), both channels last."""
        *inputs, cotangent = map(torch.from_numpy, arrays)
        self._cotangent = _as_image(cotangent) if case.operation != "standardize_weight" else _as_weight(cotangent)
        is_weight = [case.operation == "standardize_weight" or k > 0 and case.operation != "skip_init"
                     for k in range(len(inputs))]
        placed = [_as_weight(tensor) if weight else _as_image(tensor) for tensor, weight in zip(inputs, is_weight)]
        return [tensor.requires_grad_(wanted) for tensor, wanted in zip(placed, case.wanted)]

    def forward(self):
        """Run it on the tape."""
        return OPERATIONS[self.case.operation](*self.inputs, **self.case.options)

    def back(self, output):
        """Walk the tape."""
        torch.autograd.grad(output, [tensor for tensor in self.inputs if tensor.requires_grad], self._cotangent)


def _as_image(tensor):
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _as_weight(tensor):
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    return tensor.T.contiguous() if tensor.ndim == 2 else tensor
