"""`--backend cupy` where CuPy cannot be used: one line names what is missing and how to install it."""

import builtins
import sys
import types

import pytest

from nfnumpy import InputError, backend, train
from nfnumpy.backend.cupy_backend import CupyBackend
from reference_tests.helpers.command_line import run_command

INSTALL = "pip install 'nfnumpy[cupy]'"
BANNER = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX or cupy-rocm-X-X), make sure that the package matches.

Original error:
  ImportError: libnvrtc.so.13: cannot open shared object file: No such file or directory
================================================================
"""
LISTING = """Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13
  listdir("/usr/lib"):
    libc.so"""
HEADERS = """/tmp/kern.cu(1): catastrophic error: cannot open source file "cuda_fp16.h"
  #include <cuda_fp16.h>
                        ^
1 catastrophic error detected in the compilation of "/tmp/kern.cu"."""


class CUDARuntimeError(RuntimeError):
    """Like CuPy's."""


class CompileException(Exception):
    """Like CuPy's: not a RuntimeError."""


def raising(error):
    def function(*arguments, **options):
        raise error
    return function


def cupy_with(devices=lambda: 1, module=lambda **options: types.SimpleNamespace(get_function=lambda name: None),
              ones=lambda *arguments, **options: None, cublas=lambda: 1):
    """A module with the part of CuPy that the backend tries before it computes anything."""
    cupy = types.ModuleType("cupy")
    cupy.RawModule, cupy.ones = module, ones
    cupy.cuda = types.SimpleNamespace(device=types.SimpleNamespace(get_cublas_handle=cublas),
                                      runtime=types.SimpleNamespace(getDeviceCount=devices,
                                                                    CUDARuntimeError=CUDARuntimeError))
    return cupy


NO_DRIVER = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime")
NO_DEVICE = CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
NO_NVRTC = RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot open shared object file")

BROKEN = {  # the module that `import cupy` gives, or the error that it raises; a part of the line
    "not installed": (ModuleNotFoundError("No module named 'cupy'", name="cupy"), "CuPy is not installed;"),
    "without a package it needs": (ModuleNotFoundError("No module named 'cuda.pathfinder'", name="cuda.pathfinder"),
                                   "not whole (No module named 'cuda.pathfinder')"),
    "without a library": (ImportError(BANNER), "does not import (ImportError: libnvrtc.so.13: cannot open"),
    "of another NumPy": (AttributeError("module 'numpy' has no attribute 'bool8'"), "no attribute 'bool8')"),
    "no driver": (cupy_with(devices=raising(NO_DRIVER)), "no usable GPU (cudaErrorInsufficientDriver"),
    "no device": (cupy_with(devices=raising(NO_DEVICE)), "no usable GPU (cudaErrorNoDevice"),
    "no device, and no error": (cupy_with(devices=lambda: 0), "no NVIDIA GPU"),
    "no NVRTC": (cupy_with(module=raising(NO_NVRTC)), "cannot compile kernels (CuPy failed to load libnvrtc.so.13"),
    "no headers": (cupy_with(ones=raising(CompileException(HEADERS))), 'cannot open source file "cuda_fp16.h")'),
    "no cuBLAS": (cupy_with(cublas=raising(ImportError(LISTING))), 'multiply matrices (Failure finding "libcublasLt'),
    "an error without a text": (cupy_with(ones=raising(MemoryError())), "cannot fill an array (MemoryError)"),
}


@pytest.fixture
def importing(monkeypatch):
    """importing(x): from now on `import cupy` gives the module x, or raises the exception x."""
    def prepare(found):
        original = builtins.__import__

        def import_(name, *arguments, **options):
            if name == "cupy" and isinstance(found, Exception):
                raise found
            return original(name, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", import_)
        monkeypatch.setitem(sys.modules, "cupy", found)
    backend.get.cache_clear()
    yield prepare
    backend.get.cache_clear()


@pytest.mark.parametrize("how", BROKEN)
def test_the_command_names_what_is_missing_in_one_line(capsys, monkeypatch, importing, tmp_path, how):
    found, said = BROKEN[how]
    importing(found)
    status, printed, error = run_command(train.main, capsys, monkeypatch, "--backend", "cupy", "--epochs", 1, "--out",
                                         tmp_path / "run")
    assert status == 2 and printed == ""
    assert error.startswith("error: backend cupy: ") and error.count("\n") == 1 and len(error) < 400
    assert said in error and error.rstrip().endswith(INSTALL)
    assert not (tmp_path / "run").exists()


def test_numpy_trains_with_a_cuda_graph_wanted_and_no_cupy(importing, few_digits, tmp_path):
    """The option is the cupy backend's; a run that changes backends keeps it."""
    importing(BROKEN["not installed"][0])
    entries = train.train({"data": f"idx:{few_digits}", "epochs": 1, "batch_size": 12, "cuda_graph": "on",
                           "out": str(tmp_path / "run")})
    assert len(entries) == 1


@pytest.mark.parametrize("how", BROKEN)
def test_every_call_in_python_is_an_input_error(importing, how):
    found, said = BROKEN[how]
    importing(found)
    for _ in range(2):
        with pytest.raises(InputError) as raised:
            backend.get("cupy")
        assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_complete_cupy_is_used(importing):
    found = cupy_with()
    importing(found)
    assert CupyBackend().xp is found
