"""The GPU and the versions of a measurement."""

import shutil
import subprocess
from typing import Any

import cupy

from .. import versions


def facts() -> dict[str, Any]:
    """A dict of names and versions; None for what is not there."""
    device = cupy.cuda.runtime.getDevice()
    properties = cupy.cuda.runtime.getDeviceProperties(device)
    return {"device": properties["name"].decode(), "multiprocessors": properties["multiProcessorCount"],
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "memory_bytes": properties["totalGlobalMem"], "driver": _driver(device),
            "cuda": _cuda_version(cupy.cuda.runtime.runtimeGetVersion()),
            "cuda_of_driver": _cuda_version(cupy.cuda.runtime.driverGetVersion()), "cupy": cupy.__version__,
            **versions.facts()}


def summary(machine: dict[str, Any]) -> str:
    """One line."""
    known = ", ".join(f"{name} {machine[key]}" for name, key in (
        ("driver", "driver"), ("CUDA", "cuda"), ("CuPy", "cupy"), ("PyTorch", "torch")) if machine[key])
    return f"{machine['device']}: {known}"


def _cuda_version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver(device):
    """The display driver's version, from nvidia-smi; None if it is not installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    done = subprocess.run([program, "--query-gpu=driver_version", "--format=csv,noheader", f"--id={device}"],
                          capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None
