"""Runs the .cu files of nfnumpy on the CPU: g++ compiles them against `cuda_on_cpu.h`.

A kernel's arrays are plain addresses. Whoever allocates them decides what surrounds them: `guarded.Memory` puts every
array before a page that nobody may touch.
"""

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-w", "-x", "c++")
ENTRIES = """
extern "C" const char* signature_{k}() {{ return harness::signature({expression}); }}
extern "C" const char* launch_{k}(const unsigned* g, int seed, void** arguments) {{
    return harness::launch({expression}, dim3{{g[0], g[1], g[2]}}, dim3{{g[3], g[4], g[5]}}, seed, arguments);
}}
"""


class KernelError(RuntimeError):
    """A kernel did what it must not: touched memory that is not its own, or left a barrier waiting."""


def compile_library(source, expressions):
    """The path of the shared library with an entry for every expression; compiled unless it was before."""
    text = f'#include "{HEADER}"\n{source}\n' + "".join(
        ENTRIES.format(k=k, expression=expression) for k, expression in enumerate(expressions))
    digest = hashlib.sha256((text + HEADER.read_text() + " ".join(FLAGS)).encode()).hexdigest()[:24]
    cache = Path(tempfile.gettempdir()) / f"nfnumpy-cuda-on-cpu-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    library = cache / f"{digest}.so"
    if not library.exists():
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".so", delete=False) as unfinished:
            compiled = subprocess.run(["g++", *FLAGS, "-", "-o", unfinished.name], input=text, text=True,
                                      capture_output=True)
        if compiled.returncode:
            os.unlink(unfinished.name)
            raise KernelError(f"g++: {compiled.stderr[:3000]}")
        os.replace(unfinished.name, library)
    return library


class Program:
    """The kernels of one source text, ready to run."""

    def __init__(self, source, expressions):
        self._library = ctypes.CDLL(str(compile_library(source, expressions)))
        self._entries = {expression: k for k, expression in enumerate(expressions)}

    @functools.cache
    def signature(self, expression):
        """One letter a parameter: p a pointer, f d floats, i q ? whole numbers and truth values."""
        entry = getattr(self._library, f"signature_{self._entries[expression]}")
        entry.restype = ctypes.c_char_p
        return entry().decode()

    def launch(self, expression, grid, block, arguments, seed=0):
        """Run the kernel. arguments: ctypes values, as `signature` says; seed: in which order threads take turns."""
        entry = getattr(self._library, f"launch_{self._entries[expression]}")
        entry.restype = ctypes.c_char_p
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        extent = (ctypes.c_uint * 6)(*grid, *(1,) * (3 - len(grid)), *block, *(1,) * (3 - len(block)))
        failure = entry(extent, seed, pointers)
        if failure:
            raise KernelError(f"{expression}: {failure.decode()}")
