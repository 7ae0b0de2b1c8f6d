"""The launches of a step: every launch of our kernels and every product of cuBLAS, with its size and time."""

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import cupy

from ...backend import cuda

GAP = 0.05  # milliseconds for which the GPU is kept busy before each launch that is timed
THROUGH_TABLES = ("optimizer",)  # files whose kernels find their arrays in tables of addresses: their bytes are unknown
TYPES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}  # cudaDataType


@dataclasses.dataclass
class Launch:
    """One launch. size: bytes of a kernel's arrays (0 if unknown), or floating-point operations of a product."""

    kind: str  # "kernel" or "product"
    file: str
    name: str
    size: float
    start: Any = None
    end: Any = None

    @property
    def milliseconds(self) -> float:
        """How long it took, once the device is done."""
        return cupy.cuda.get_elapsed_time(self.start, self.end)


@contextlib.contextmanager
def recording(keep_busy: Callable[[float], None] | None = None) -> Iterator[list[Launch]]:
    """Context that gives a list of all launches within. keep_busy: a KeepDeviceBusy if they are to be timed.

    The bytes are those of all arrays a kernel is given: an upper bound of what it moves, unless it reads one twice. A
    product is named rows×columns×inner of out = a·b, as we call cuBLAS, which is handed the transposes.
    """
    launches: list[Launch] = []
    from cupy.cuda import cublas
    plain_launch, plain_product = cuda.KernelFile.launch, cublas.gemmStridedBatchedEx

    def timed(launch, start):
        if keep_busy is None:
            start()
        else:
            launch.start, launch.end = cupy.cuda.Event(), cupy.cuda.Event()
            keep_busy(GAP)
            launch.start.record()
            start()
            launch.end.record()
        launches.append(launch)

    def launch(self, kernel, parameters, grid, block, *arguments):
        if 0 not in (grid if isinstance(grid, tuple) else (grid,)):
            size = 0 if self.name in THROUGH_TABLES else \
                sum(value.nbytes for value in arguments if isinstance(value, cupy.ndarray))
            timed(Launch("kernel", self.name, " ".join([kernel, *map(str, parameters)]), size),
                  lambda: plain_launch(self, kernel, parameters, grid, block, *arguments))

    def product(handle, transa, transb, m, n, k, alpha, a, a_type, *rest):
        batch = rest[-3]
        name = f"{TYPES.get(a_type, a_type)} {n}×{m}×{k}" + f", {batch} times" * (batch != 1)
        timed(Launch("product", "cuBLAS", name, 2.0 * m * n * k * batch),
              lambda: plain_product(handle, transa, transb, m, n, k, alpha, a, a_type, *rest))

    _replace(cublas, launch, product)
    try:
        yield launches
    finally:
        _replace(cublas, plain_launch, plain_product)


def _replace(cublas: Any, launch: Callable[..., Any], product: Callable[..., Any]) -> None:
    """Let all launches and products go through these functions."""
    setattr(cuda.KernelFile, "launch", launch)  # noqa: B010 (the type checker forbids assigning to a method)
    cublas.gemmStridedBatchedEx = product


def summed(launches: Iterable[Launch], key: Callable[[Launch], Hashable]) -> dict[Any, dict[str, float]]:
    """A dict from key(launch) to {calls, ms, size} added up, longest first."""
    sums: dict[Any, dict[str, float]] = {}
    for launch in launches:
        entry = sums.setdefault(key(launch), {"calls": 0, "ms": 0.0, "size": 0.0})
        entry["calls"] += 1
        entry["ms"] += launch.milliseconds
        entry["size"] += launch.size
    return dict(sorted(sums.items(), key=lambda item: -item[1]["ms"]))
