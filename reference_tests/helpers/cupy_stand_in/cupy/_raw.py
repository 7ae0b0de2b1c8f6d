"""RawModule, whose kernels run on the CPU."""

import ctypes
import functools
import os

from reference_tests.helpers import cuda_on_cpu
import numpy as np
from reference_tests.helpers.cuda_on_cpu import guarded

from nfnumpy.backend import cuda

from . import _capture
from ._array import ndarray

KINDS = {"f": (np.float32, ctypes.c_float), "d": (np.float64, ctypes.c_double), "i": (np.int32, ctypes.c_int32),
         "q": (np.int64, ctypes.c_int64), "?": (np.bool_, ctypes.c_bool)}
MOST_SHARED = 227 << 10  # bytes that a block can have on an H100
FEW = 100  # blocks are all looked at after every launch
launches = {}  # kernel expression -> how often it ran


@functools.cache
def _program(source, expression):
    """The program with all instances of the file that has this source, or just this one."""
    known = [file.expressions() for file in cuda.FILES.values() if file.source == source]
    return cuda_on_cpu.Program(source, tuple(known[0] if known else [expression]))


class RawModule:
    """Compiles when a function is asked for."""

    def __init__(self, *, code, options=(), name_expressions=()):
        self.code, self.expressions = code, name_expressions

    def get_function(self, name):
        if name not in self.expressions:
            raise KeyError(name)
        return RawKernel(_program(self.code, name), name)


class RawKernel:
    """One instance. As with CUDA, more than 48 KiB of dynamic shared memory are to be asked for beforehand."""

    def __init__(self, program, expression):
        self._program, self._expression = program, expression
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes or shared_mem > MOST_SHARED:
            raise cuda_on_cpu.KernelError(f"{self._expression}: cannot launch with {shared_mem} bytes of dynamic "
                                          "shared memory")
        _launch(self._program, self._expression, grid, block, arguments, shared_mem)


def _launch(program, expression, grid, block, arguments, shared_mem=0):
    signature = program.signature(expression)
    if len(signature) != len(arguments):
        raise TypeError(f"{expression}: {len(arguments)} arguments for {len(signature)} parameters")
    converted = []
    for position, (kind, value) in enumerate(zip(signature, arguments)):
        expected, ctype = KINDS.get(kind, (ndarray, None))
        if type(value) is not expected:
            raise TypeError(f"{expression}: argument {position} is {type(value)}, the parameter is {expected}")
        if kind == "p":
            if not value.flags.c_contiguous:
                raise TypeError(f"{expression}: argument {position} is not contiguous")
            converted.append(ctypes.c_void_p(value.data.ptr))
        else:
            converted.append(ctype(value))
    _capture.run(functools.partial(_start, program, expression, grid, block, arguments, converted, shared_mem),
                 *arguments)


def _start(program, expression, grid, block, arguments, converted, shared_mem):
    launches[expression] = launches.get(expression, 0) + 1
    program.launch(expression, grid, block, converted, int(os.environ.get("CUDA_ON_CPU_ORDER", "0")), shared_mem)
    blocks = guarded.blocks()  # of which a kernel may know more than it is given, by address
    for block_of in blocks if len(blocks) <= FEW else filter(None, map(_block, arguments)):
        if not block_of.intact():
            raise cuda_on_cpu.KernelError(f"{expression}: wrote past the end of an array, or before its start")


def _block(value):
    """The guarded block an array lives in."""
    host = getattr(value, "host", None)
    while isinstance(getattr(host, "base", None), np.ndarray):
        host = host.base
    return getattr(getattr(host, "base", None), "block", None)
