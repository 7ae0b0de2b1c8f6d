"""PyTorch's side, eager. On a GPU: cuDNN's choice by measurement, TF32 or autocast to bfloat16."""

import contextlib

import torch
from torch.nn import functional as F

from . import torch_layers
from .problem import LEARNING_RATE
from .timing import host_milliseconds
from .torch_networks import network_of
from .torch_update import Update


class Theirs:
    """A Problem's network in PyTorch with the weights `state` (names and layout ours), on `device`.

    channels_last: whether images and weights lie so in memory, else channels first.
    """

    name = "torch"

    def __init__(self, problem, state, device, channels_last=True):
        self.device, self.precision = torch.device(device), problem.precision
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network_of(problem.config)
        torch_layers.load(self.network, state)
        self.network = self.network.to(self.device, memory_format=self.memory_format)
        self.update = Update(self.network, LEARNING_RATE)
        self.images, self.labels = (torch.from_numpy(array).to(self.device) for array in problem.images_and_labels())

    def _logits(self):
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            x = torch_layers.to_input(self.images, torch.float32)
            return self.network(x.contiguous(memory_format=self.memory_format))

    def train(self):
        """Start one training step; returns its loss, a tensor."""
        self.update.forget_gradients()
        with fast_products():
            loss = F.cross_entropy(self._logits().float(), self.labels)
            loss.backward()
            self.update.step()
        return loss

    def answer(self):
        """(logits in float32 on the host, the loss of a training step)."""
        return self.infer().float().cpu().numpy(), self.train().item()

    def infer(self):
        """Start one inference; returns the logits, a tensor."""
        with torch.inference_mode(), fast_products():
            return self._logits()

    def milliseconds(self, work):
        """How long the device takes to do what the call `work()` starts."""
        return milliseconds(work, self.device)

    def release(self):
        """Give unused memory back to the device."""
        self.update.forget_gradients()
        release(self.device)

    def peak(self, work):
        """{memory: bytes that the allocator took from the device, live: bytes in use} at most, during `work()`."""
        self.release()
        if self.device.type != "cuda":
            work()
            return {"memory": None, "live": None}
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return {"memory": torch.cuda.max_memory_reserved(self.device),
                "live": torch.cuda.max_memory_allocated(self.device)}


@contextlib.contextmanager
def fast_products():
    """Context in which PyTorch rounds the inputs of float32 products to TF32 and lets cuDNN measure what is fastest."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def milliseconds(work, device):
    """As Theirs.milliseconds."""
    if device.type != "cuda":
        return host_milliseconds(work)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def release(device):
    """As Theirs.release, of whatever is unused."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
