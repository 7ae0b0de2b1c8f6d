"""Training steps and inference in nfnumpy on a GPU."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import cupy
import numpy

from ... import backend as backends
from ...autograd import no_grad
from ...backend import cuda_graph
from ...backend.arrays import Array
from ...functional.fast_cupy import implicit_convolution
from ...training.trainer import StepMetrics
from ..cases.networks import NetworkCase
from . import GRAPH, NFNUMPY

PLAIN = {"cuda_graph": "off"}  # options with which every launch of a step is the host's
FORMS = {NFNUMPY: PLAIN, GRAPH: {"cuda_graph": "on"}}  # name -> options; every form has rows of its own


class CupyNetwork:
    """The network of a case on the GPU, with its optimizer and one batch of images.

    options: of TrainingOptions, and `implicit`: whether convolutions may be implicit products.
    """

    name = "nfnumpy"

    def __init__(self, case: NetworkCase, **options: Any) -> None:
        self.implicit = options.pop("implicit", False)
        images, labels = case.images_and_labels()
        self.trainer = case.trainer(images, labels, backend="cupy", tf32="on",
                                    precision="bf16" if case.precision == "bf16" else None, **options)
        self._inference = self.trainer.inference()
        self.images, self.labels = cupy.asarray(images), cupy.asarray(labels)

    def state(self) -> dict[str, numpy.ndarray]:
        """The parameters by name, copied to the host."""
        return {name: cupy.asnumpy(array) for name, array in self.trainer.model.state_dict().items()}

    def train(self) -> StepMetrics:
        """Start one training step; returns its metrics, still on the device."""
        with implicit_convolution.switched(self.implicit):
            return self.trainer.train_step(self.images, self.labels)

    def answer(self) -> tuple[numpy.ndarray, float]:
        """(logits in float32 on the host, the loss of a training step)."""
        return cupy.asnumpy(self.infer()).astype("float32"), self.train().read()[0]

    def infer(self) -> Array:
        """Start one inference; returns the logits."""
        with no_grad(), backends.tf32(True), implicit_convolution.switched(self.implicit):
            return self._inference(self.images)

    @staticmethod
    def milliseconds(work: Callable[[], object]) -> float:
        """How long the device takes to do what the call `work()` starts."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end)

    @staticmethod
    def release() -> None:
        """Give unused memory back to the device."""
        cupy.cuda.Stream.null.synchronize()
        cupy.get_default_memory_pool().free_all_blocks()

    def peak(self, work: Callable[[], object]) -> dict[str, int]:
        """{memory: bytes that the pool took from the device, live: bytes in use} at most, during `work()`."""
        self.release()
        with live_bytes() as live:
            work()
            cupy.cuda.Stream.null.synchronize()
        held = cupy.get_default_memory_pool().total_bytes() + cuda_graph.bytes_held()
        return {"memory": held, "live": live.most}


class LiveBytes:
    """How many bytes are in use now, and how many were at most."""

    def __init__(self, now: int) -> None:
        self.now = self.most = now

    def taken(self, size: int) -> None:
        """`size` bytes more."""
        self.now += size
        self.most = max(self.most, self.now)

    def given_back(self, size: int) -> None:
        """`size` bytes less."""
        self.now -= size


@contextlib.contextmanager
def live_bytes() -> Iterator[LiveBytes]:
    """Context that follows CuPy's pool; gives a LiveBytes."""
    live = LiveBytes(cupy.get_default_memory_pool().used_bytes())

    class Hook(cupy.cuda.MemoryHook):
        name = "live bytes"

        def malloc_postprocess(self, **facts: Any) -> None:
            live.taken(facts["mem_size"])

        def free_postprocess(self, **facts: Any) -> None:
            live.given_back(facts["mem_size"])

    with Hook():
        yield live
