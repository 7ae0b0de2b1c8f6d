"""Runs the .cu files of nfnumpy on the CPU: g++ compiles them against `cuda_on_cpu.h`.

A kernel's arrays are plain addresses. Their allocator decides what surrounds them: `guarded.Memory` puts every array
before a page that must not be touched.
"""

import ctypes
import fcntl
import hashlib
import math
import os
import re
import subprocess
import tempfile
from pathlib import Path

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-w", "-x", "c++", "-fno-gnu-unique",
         "-fsanitize=alignment,bounds,shift,signed-integer-overflow", "-fsanitize-undefined-trap-on-error")
UNBOUNDED_THREADS = 256
MOST_BLOCKS, MOST_THREADS = (2**31 - 1, 65535, 65535), (1024, 1024, 64)  # along x, y, z
ENTRIES = """
extern "C" const char* signature_{k}() {{ return harness::signature({expression}); }}
extern "C" const char* launch_{k}(const unsigned* g, int seed, void** arguments) {{
    harness::dynamic_bytes = g[6];
    return harness::launch({expression}, dim3{{g[0], g[1], g[2]}}, dim3{{g[3], g[4], g[5]}}, seed, arguments);
}}
"""


class KernelError(RuntimeError):
    """A kernel accessed memory out of bounds, or not all threads of a block reached a barrier."""


def compile_library(source, expressions):
    """The path of the shared library with an entry for every expression; compiled unless it was before."""
    text = f'#include "{HEADER}"\n{source}\n' + "".join(
        ENTRIES.format(k=k, expression=expression) for k, expression in enumerate(expressions))
    headers = "".join(header.read_text() for header in sorted(HEADER.parent.glob("*.h")))
    digest = hashlib.sha256((text + headers + " ".join(FLAGS)).encode()).hexdigest()[:24]
    cache = Path(tempfile.gettempdir()) / f"nfnumpy-cuda-on-cpu-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    library = cache / f"{digest}.so"
    with open(cache / f"{digest}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be compiling the same source
        if not library.exists():
            _compile(text, library)
    return library


def _compile(text, library):
    with tempfile.NamedTemporaryFile(dir=library.parent, suffix=".so", delete=False) as unfinished:
        compiled = subprocess.run(["g++", *FLAGS, "-", "-o", unfinished.name], input=text, text=True,
                                  capture_output=True)
    if compiled.returncode:
        os.unlink(unfinished.name)
        raise KernelError(f"g++: {compiled.stderr[:3000]}")
    os.replace(unfinished.name, library)


class Program:
    """The kernels of one source text, ready to run."""

    def __init__(self, source, expressions):
        self._source = source
        self._library = ctypes.CDLL(str(compile_library(source, expressions)))
        self._entries = {expression: k for k, expression in enumerate(expressions)}
        self._signatures = {}

    def signature(self, expression):
        """One letter a parameter: p a pointer, f d floats, i q ? whole numbers and truth values."""
        if expression not in self._signatures:
            entry = getattr(self._library, f"signature_{self._entries[expression]}")
            entry.restype = ctypes.c_char_p
            self._signatures[expression] = entry().decode()
        return self._signatures[expression]

    def launch(self, expression, grid, block, arguments, seed=0, shared_mem=0):
        """Run the kernel. arguments: ctypes values, as `signature` says; seed: in which order threads take turns;
        shared_mem: the bytes of dynamic shared memory."""
        self._check_extent(expression, grid, block)
        entry = getattr(self._library, f"launch_{self._entries[expression]}")
        entry.restype = ctypes.c_char_p
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        extent = (ctypes.c_uint * 7)(*grid, *(1,) * (3 - len(grid)), *block, *(1,) * (3 - len(block)), shared_mem)
        failure = entry(extent, seed, pointers)
        if failure:
            raise KernelError(f"{expression}: {failure.decode()}")

    def _check_extent(self, expression, grid, block):
        """Raise KernelError for what CUDA does not launch, or might not: a thread may take 255 of 65536 registers."""
        kernel = expression.partition("<")[0]
        bound = re.search(rf"__launch_bounds__\((\d+)[^;{{]*\b{kernel}\(", self._source)
        for extent, most in ((grid, MOST_BLOCKS), (block, MOST_THREADS)):
            within = all(1 <= size <= limit for size, limit in zip(extent, most, strict=False))
            if not 1 <= len(extent) <= 3 or not within:
                raise KernelError(f"{expression}: cannot launch {grid} blocks of {block} threads")
        if math.prod(block) > (int(bound[1]) if bound else UNBOUNDED_THREADS):
            raise KernelError(f"{expression}: cannot launch {math.prod(block)} threads with "
                              f"{bound[0].partition(')')[0] + ')' if bound else 'no __launch_bounds__'}")
