"""NVIDIA's runtime compiler by itself, which needs no GPU: does a kernel compile, and what does it cost?"""

import ctypes
import functools
import glob
import hashlib
import importlib.util
import os
import re
import tempfile
from pathlib import Path

# The first three as CuPy compiles what cuda.KernelFile gives it; registers differ without them.
OPTIONS = ("--std=c++17", "--device-as-default-execution-space", "-ftz=true", "--ptxas-options=-v")


class CompilationFailed(RuntimeError):
    """The compiler's log says why."""


@functools.cache
def _library():
    (root,) = importlib.util.find_spec("nvidia").submodule_search_locations[:1]
    (path,) = glob.glob(os.path.join(root, "*", "lib", "libnvrtc.so.*"))
    return ctypes.CDLL(path)


def _call(name, *arguments):
    result = getattr(_library(), name)(*arguments)
    if result and name != "nvrtcCompileProgram":
        raise CompilationFailed(f"{name} returned {result}")
    return result


def _text(size_of, get, program):
    size = ctypes.c_size_t()
    _call(size_of, program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(get, program, buffer)
    return buffer.value.decode()


def compile_kernels(source, expressions, architecture):
    """The compiler's log for machine code of `architecture` ("sm_80"), with a line on each kernel's resources.

    Raises CompilationFailed with the log. Logs are kept in a folder for temporary files, by all that they depend on.
    """
    facts = "\n".join([_version(), architecture, *OPTIONS, *expressions, source])
    cache = Path(tempfile.gettempdir()) / f"nfnumpy-nvrtc-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    kept = cache / hashlib.sha256(facts.encode()).hexdigest()[:24]
    if not kept.exists():
        log = _compile(source, expressions, architecture)
        with tempfile.NamedTemporaryFile("w", dir=cache, delete=False) as unfinished:
            unfinished.write(log)
        os.replace(unfinished.name, kept)
    return kept.read_text()


def _version():
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value} {_library()._name}"


def _compile(source, expressions, architecture):
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    try:
        for expression in expressions:
            _call("nvrtcAddNameExpression", program, expression.encode())
        options = [option.encode() for option in (*OPTIONS, f"-arch={architecture}")]
        failed = _call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
        log = _text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog", program)
        if failed:
            raise CompilationFailed(log)
        return log
    finally:
        _call("nvrtcDestroyProgram", ctypes.byref(program))


def spilled_bytes(log):
    """A dict from mangled kernel name to the bytes its registers spill to memory (stores + loads), of those that do."""
    spills = {}
    for name, rest in re.findall(r"Function properties for (\S+)\n(.*)", log):
        stores, loads = map(int, re.findall(r"(\d+) bytes spill", rest))
        if stores + loads:
            spills[name] = stores + loads
    return spills
