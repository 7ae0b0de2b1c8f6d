"""The processor, the libraries and the number of threads of a measurement."""

import os
import platform
from typing import Any

import threadpoolctl

from ...backend import blas_threads
from .. import versions


def facts() -> dict[str, Any]:
    """A dict of names, numbers and versions; None for what is not there."""
    return {"processor": _processor(), "cores": os.cpu_count(), "threads": blas_threads.thread_count(), "blas": _blas(),
            "memory_bytes": _memory(), "load": busy(), **versions.facts()}


def summary(machine: dict[str, Any]) -> str:
    """One line."""
    known = ", ".join(f"{name} {machine[key] or 'not installed'}" for name, key in (
        ("NumPy", "numpy"), ("PyTorch", "torch"), ("timm", "timm"), ("JAX", "jax")))
    blas = ", ".join(f"{library['name']} {library['version']} with its {library['kernels']} kernels"
                     for library in machine["blas"]) or "a BLAS without a name"
    plural = "s" if machine["threads"] > 1 else ""
    return f"{machine['processor']}, {machine['threads']} thread{plural} of {machine['cores']} cores; {blas}; {known}"


def busy() -> float | None:
    """How many cores were busy on average over the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            found = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        found = []
    return found[0] if found else platform.processor() or platform.machine()


def _blas():
    return [{"name": library.get("internal_api"), "version": library.get("version"),
             "kernels": library.get("architecture"), "threads": library.get("num_threads"),
             "threading": library.get("threading_layer")}
            for library in threadpoolctl.threadpool_info() if library.get("user_api") == "blas"]


def _memory():
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
