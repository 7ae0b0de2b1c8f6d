"""PyTorch's side on the processor: eager, with as many threads as ours."""

import torch

from ... import weights
from ...backend import blas_threads
from ..theirs import Theirs
from . import memory


class TorchNetwork:
    """A Problem's network in PyTorch with the weights in the file `path`, its images channels last or first."""

    def __init__(self, problem, path, channels_last):
        torch.set_num_threads(blas_threads.thread_count())
        self.before = memory.resident()
        self.side = Theirs(problem, weights.load(path), "cpu", channels_last)

    def resident_before(self):
        """Bytes resident before there was a network: the interpreter and the libraries."""
        return self.before

    def training(self):
        """One step, from uint8 images to new weights; returns its loss."""
        return self.side.train().item()

    def inference(self):
        """Logits of the images, an array."""
        return self.side.infer().numpy()
