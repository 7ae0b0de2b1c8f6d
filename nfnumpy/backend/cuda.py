"""The hand-written CUDA kernels: how a `.cu` file of `kernels/` becomes functions that run on CuPy's arrays.

A kernel is a template over the types that it works with. Each file's fast path says which instances exist (a
`KernelFile`), so that all of them can be compiled and tested without a GPU; CuPy compiles an instance when it is first
launched and keeps it on disk.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import DTypeLike

from .arrays import Array

FLOATING = {"float32": "float", "float64": "double", "float16": "float16", "bfloat16": "bfloat16"}
FULL_PRECISION = ("float32", "float64")
THREADS = 256  # of a block that goes element by element
FILES: dict[str, "KernelFile"] = {}  # by name
INCLUDE = r'(?m)^#include "(\w+\.cuh)"$'

_HERE = Path(__file__).parent / "kernels"


def ceil_div(count: int, size: int) -> int:
    """How many pieces of `size` cover `count`."""
    return -(-count // size)


class KernelFile:
    """A file of kernels and their instances.

    name: "activations" for kernels/activations.cu; kernels: a dict from each kernel's name to the choices for its
    template parameters, a tuple of iterables, such as {"scaled_nonlinearity": (FLOATING, ("relu", "gelu"))}: dtype
    names, names of C++ types, numbers, or a text such as "128, 64" for two of them; shared_bytes: the bytes of dynamic
    shared memory that a block of a kernel with these template parameters has, none if it is not given.
    """

    def __init__(self, name: str, kernels: dict[str, tuple[Iterable[Any], ...]],
                 shared_bytes: Callable[[str, tuple[Any, ...]], int] = lambda kernel, parameters: 0) -> None:
        self.name = name
        self.kernels = kernels
        self.shared_bytes = shared_bytes
        self._functions: dict[tuple[str, tuple[Any, ...]], Any] = {}  # CuPy's: the instances launched so far
        FILES[name] = self

    @property
    def source(self) -> str:
        """The C++ text, with THREADS as it is here and the contents of the files of `kernels/` that it includes."""
        return _source(self.name)

    def expressions(self) -> list[str]:
        """All instances, as C++ names them."""
        return [_expression(kernel, parameters) for kernel, choices in self.kernels.items()
                for parameters in itertools.product(*choices)]

    def _compiled(self, kernel, parameters, shared):
        import cupy
        expression = _expression(kernel, parameters)
        module = cupy.RawModule(code=self.source, options=("--std=c++17",), name_expressions=(expression,))
        function = self._functions[kernel, parameters] = module.get_function(expression)
        if shared:
            function.max_dynamic_shared_size_bytes = shared  # CUDA refuses more than 48 KiB otherwise
            function.preferred_shared_memory_carveout = 100  # percent, so that several blocks run together
        return function

    def launch(self, kernel: str, parameters: tuple[Any, ...], grid: int | tuple[int, ...],
               block: int | tuple[int, ...], *arguments: Any) -> None:
        """Start `kernel` with the template `parameters` on the current stream.

        grid, block: numbers or tuples; arguments: arrays, or NumPy scalars of exactly the types that the kernel has.
        An empty grid starts nothing.
        """
        grid = grid if isinstance(grid, tuple) else (grid,)
        block = block if isinstance(block, tuple) else (block,)
        if 0 not in grid:
            shared = self.shared_bytes(kernel, parameters)
            function = self._functions.get((kernel, parameters)) or self._compiled(kernel, parameters, shared)
            function(grid, block, arguments, shared_mem=shared)

    def launch_elementwise(self, kernel: str, parameters: tuple[Any, ...], out: Array, *arguments: Any) -> None:
        """Start an element-by-element kernel, one thread for each 16 bytes of `out`."""
        packs = ceil_div(out.size * out.dtype.itemsize, 16)
        self.launch(kernel, parameters, ceil_div(packs, THREADS), THREADS, *arguments)


@functools.cache
def _source(name):
    text = (_HERE / f"{name}.cu").read_text()
    parts = [(included, (_HERE / included).read_text()) for included in re.findall(INCLUDE, text)]
    parts.append((f"{name}.cu", re.sub(INCLUDE, "", text)))
    numbered = "".join(f'#line 1 "{file}"\n{part}\n' for file, part in parts)
    return f"[[maybe_unused]] constexpr int THREADS = {THREADS};\n{numbered}"


def _expression(kernel, parameters):
    return f"{kernel}<{', '.join(FLOATING.get(str(value), str(value)) for value in parameters)}>"


@functools.cache
def type_name(dtype: numpy.dtype) -> str:
    """dtype.name, which NumPy puts together anew each time, at a microsecond or more."""
    return dtype.name


def accumulator_type(dtype: numpy.dtype) -> type[numpy.floating]:
    """The NumPy type that values of `dtype` are computed and summed in: float64 for itself, float32 for the others."""
    return numpy.float64 if dtype == numpy.float64 else numpy.float32


def block_shape(across: int, down: int) -> tuple[tuple[int, int], int]:
    """((threads across, threads down), pieces): a block that works on `across` neighbouring places, and down.

    Where the places are too many for one block they are cut into even pieces; where they are few, a block works on
    several of `down` lines at once.
    """
    pieces = ceil_div(across, 2 * THREADS)
    of_piece = ceil_div(across, pieces)
    return (of_piece, min(down, max(1, THREADS // of_piece))), pieces


def supports(*arrays: Array) -> bool:
    """Whether the kernels take these arrays: all of one floating dtype that they know."""
    dtype = arrays[0].dtype
    return type_name(dtype) in FLOATING and all(array.dtype == dtype for array in arrays)


def contiguous(*arrays: Array) -> list[Array]:
    """The arrays, each in C order; those that are not are copied."""
    import cupy
    # cupy.ascontiguousarray would make an array (1,) of an array ()
    return [array if array.flags.c_contiguous else cupy.ascontiguousarray(array) for array in arrays]


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array on the GPU with arbitrary values."""
    import cupy
    return cupy.empty(shape, dtype=dtype)


def empty_like(array: Array) -> Array:
    """An array on the GPU of the shape and dtype of `array`, in C order, with arbitrary values."""
    return empty(array.shape, array.dtype)
