"""Where arrays live: one small object each for NumPy and CuPy, and the one place where fast paths are chosen."""

from . import openblas  # first: it configures OpenBLAS before NumPy loads it
from . import thread_pool, buffer_pool, threads
from .arrays import as_array, fingerprint, is_array, is_floating, namespace
from .cublas import tf32
from .dispatch import formula, formulas, reference
from .random import CounterRNG
from .registry import backend_of, get, to_host

__all__ = ["CounterRNG", "as_array", "backend_of", "buffer_pool", "fingerprint", "formula", "formulas", "get",
           "is_array", "is_floating", "namespace", "openblas", "reference", "tf32", "thread_pool", "threads", "to_host"]
