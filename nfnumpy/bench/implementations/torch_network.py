"""Training steps and inference in PyTorch on the processor: eager, with as many threads as nfnumpy."""

import numpy
import torch

from ... import weights
from ...backend import blas_threads
from .. import memory
from ..cases.networks import NetworkCase
from .torch_device import TorchNetwork


class TorchNetworkOnCPU:
    """The network of a case with the weights in the file `path`, its images channels last or first."""

    def __init__(self, case: NetworkCase, path: str, channels_last: bool) -> None:
        torch.set_num_threads(blas_threads.thread_count())
        self.before = memory.resident()
        self.network = TorchNetwork(case, weights.load(path), "cpu", channels_last)

    def resident_before(self) -> int | None:
        """Bytes resident before there was a network: the interpreter and the libraries."""
        return self.before

    def training(self) -> float:
        """One step, from uint8 images to new weights; returns its loss."""
        return self.network.train().item()

    def inference(self) -> numpy.ndarray:
        """Logits of the images."""
        return self.network.infer().numpy()

    def folded(self) -> numpy.ndarray:
        """Logits of the folded network, which is made at the first call."""
        return self.network.infer_folded().numpy()
