"""Where arrays live: one small object each for NumPy and CuPy, and the one place where fast paths are chosen."""

from . import crew, memory, threads
from .arrays import as_array, fingerprint, is_array, is_floating, namespace
from .cublas import tf32
from .dispatch import fast_path, fast_paths, formula, reference
from .philox import Randomness
from .registry import backend_of, get, to_host

__all__ = ["Randomness", "as_array", "backend_of", "crew", "fast_path", "fast_paths", "fingerprint", "formula", "get",
           "is_array", "is_floating", "memory", "namespace", "reference", "tf32", "threads", "to_host"]
