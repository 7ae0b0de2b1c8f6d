"""The hand-written CUDA kernels: how a `.cu` file of `kernels/` becomes functions that run on CuPy's arrays.

A kernel is a template over the types that it works with. Each file's fast path says which instances exist (a
`KernelFile`), so that all of them can be compiled and tested without a GPU; CuPy compiles an instance when it is first
launched and keeps it on disk.
"""

import functools
import itertools
import re
from pathlib import Path

import numpy

FLOATING = {"float32": "float", "float64": "double", "float16": "float16", "bfloat16": "bfloat16"}
FULL_PRECISION = ("float32", "float64")
THREADS = 256  # of a block that goes element by element
FILES = {}
INCLUDE = r'(?m)^#include "(\w+\.cuh)"$'

_HERE = Path(__file__).parent / "kernels"


def ceil_div(count, size):
    """How many pieces of `size` cover `count`."""
    return -(-count // size)


class KernelFile:
    """A file of kernels and their instances.

    name: "activations" for kernels/activations.cu; kernels: a dict from each kernel's name to the choices for its
    template parameters, a tuple of tuples, such as {"scaled_nonlinearity": (FLOATING, ("relu", "gelu"))}: dtype names,
    names of C++ types, or numbers.
    """

    def __init__(self, name, kernels):
        self.name, self.kernels = name, kernels
        FILES[name] = self

    @functools.cached_property
    def source(self) -> str:
        """The C++ text, with what it includes from `kernels/` put in its place, and THREADS as it is here."""
        text = (_HERE / f"{self.name}.cu").read_text()
        included = [(name, (_HERE / name).read_text()) for name in re.findall(INCLUDE, text)]
        parts = [*included, (f"{self.name}.cu", re.sub(INCLUDE, "", text))]
        return f"[[maybe_unused]] constexpr int THREADS = {THREADS};\n" + "".join(f'#line 1 "{name}"\n{part}\n' for name, part in parts)

    def expressions(self):
        """All instances, as C++ names them."""
        return [_expression(kernel, parameters) for kernel, choices in self.kernels.items()
                for parameters in itertools.product(*choices)]

    @functools.cache
    def _function(self, expression):
        import cupy
        module = cupy.RawModule(code=self.source, options=("--std=c++17",), name_expressions=(expression,))
        return module.get_function(expression)

    def launch(self, kernel, parameters, grid, block, *arguments):
        """Start `kernel` with the template `parameters` on the current stream.

        grid, block: numbers or tuples; arguments: arrays, or NumPy scalars of exactly the types that the kernel has.
        An empty grid starts nothing.
        """
        grid, block = (value if isinstance(value, tuple) else (value,) for value in (grid, block))
        if 0 not in grid:
            self._function(_expression(kernel, parameters))(grid, block, arguments)

    def launch_elementwise(self, kernel, parameters, out, *arguments):
        """Start an element-by-element kernel, one thread for each 16 bytes of `out`."""
        packs = ceil_div(out.size * out.dtype.itemsize, 16)
        self.launch(kernel, parameters, ceil_div(packs, THREADS), THREADS, *arguments)


def _expression(kernel, parameters):
    return f"{kernel}<{', '.join(FLOATING.get(str(value), str(value)) for value in parameters)}>"


def accumulator_type(dtype):
    """The NumPy type that values of `dtype` are computed and summed in: float64 for itself, float32 for the others."""
    return numpy.float64 if dtype.name == "float64" else numpy.float32


def block_shape(across, down):
    """((threads across, threads down), pieces): a block that works on `across` neighbouring places, and down.

    Where the places are too many for one block they are cut into even pieces; where they are few, a block works on
    several of `down` lines at once.
    """
    pieces = ceil_div(across, 2 * THREADS)
    of_piece = ceil_div(across, pieces)
    return (of_piece, min(down, max(1, THREADS // of_piece))), pieces


def supports(*arrays):
    """Whether the kernels take these arrays: all of one floating dtype that they know."""
    return arrays[0].dtype.name in FLOATING and all(array.dtype == arrays[0].dtype for array in arrays)


def contiguous(*arrays):
    """The arrays, each in C order; those that are not are copied."""
    import cupy  # whose ascontiguousarray makes arrays (1,) of arrays ()
    return [array if array.flags.c_contiguous else cupy.ascontiguousarray(array) for array in arrays]


def empty(shape, dtype):
    """An array on the GPU with nothing in it yet."""
    import cupy
    return cupy.empty(shape, dtype=dtype)


def empty_like(array):
    """An array on the GPU of the shape and dtype of `array`, in C order, with nothing in it yet."""
    return empty(array.shape, array.dtype)
