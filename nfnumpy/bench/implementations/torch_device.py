"""Training steps and inference in PyTorch, eager, on any device. On a GPU: cuDNN's benchmark, TF32 or bf16 autocast."""

import contextlib
import copy
from collections.abc import Callable, Iterator

import numpy
import torch
from torch.nn import functional as F

from ...ports import torch as port, torch_networks, torch_parts
from ..cases.networks import NetworkCase
from ..timing import host_milliseconds
from .torch_update import optimizer_of


class TorchNetwork:
    """The network of a case with the weights `state` (nfnumpy's names and layout), on `device`.

    channels_last: whether images and weights are so in memory, else channels first; compiled: through torch.compile.
    """

    name = "torch"

    def __init__(self, case: NetworkCase, state: dict[str, numpy.ndarray], device: str,
                 channels_last: bool = True, compiled: bool = False) -> None:
        self.device, self.precision = torch.device(device), case.precision
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = torch_networks.from_config(case.config)
        torch_parts.load_state(self.network, state)
        self.network.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]
        self.optimizer, self.clipping_origin = optimizer_of(self.network, clipping=case.clipping)
        self.forward = torch.compile(self.network) if compiled else self.network
        self._folded: torch.nn.Module | None = None
        self.images, self.labels = (torch.from_numpy(array).to(self.device) for array in case.images_and_labels())

    def _logits(self, forward):
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            x = port.normalize(self.images, torch.float32)
            return forward(x.contiguous(memory_format=self.memory_format))

    def train(self) -> torch.Tensor:
        """Start one training step; returns its loss."""
        self.network.train()
        self.optimizer.zero_grad()
        with fast_products():
            loss = F.cross_entropy(self._logits(self.forward).float(), self.labels)
            loss.backward()
            self.optimizer.step()
        return loss

    def answer(self) -> tuple[numpy.ndarray, float]:
        """(logits in float32 on the host, the loss of a training step)."""
        return self.infer().float().cpu().numpy(), self.train().item()

    def infer(self) -> torch.Tensor:
        """Start one inference; returns the logits."""
        self.network.eval()
        with torch.inference_mode(), fast_products():
            return self._logits(self.forward)

    def infer_folded(self) -> torch.Tensor:
        """The same by the network with its batch normalizations folded, which is made at the first call."""
        if self._folded is None:
            self._folded = torch_networks.folded(copy.deepcopy(self.network))
            self._folded.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        with torch.inference_mode(), fast_products():
            return self._logits(self._folded)

    def milliseconds(self, work: Callable[[], object]) -> float:
        """How long the device takes to do what the call `work()` starts."""
        return milliseconds(work, self.device)

    def release(self) -> None:
        """Give unused memory back to the device."""
        self.optimizer.zero_grad()
        release(self.device)

    def peak(self, work: Callable[[], object]) -> dict[str, int | None]:
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
def fast_products() -> Iterator[None]:
    """Context in which PyTorch rounds the inputs of float32 products to TF32 and lets cuDNN measure what is fastest."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """As TorchNetwork.milliseconds."""
    if device.type != "cuda":
        return host_milliseconds(work)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def release(device: torch.device) -> None:
    """As TorchNetwork.release, of all unused memory."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
