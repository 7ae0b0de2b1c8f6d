"""Where arrays live: one small object each for NumPy and CuPy, and the one place where fast paths are chosen."""

from . import openblas  # first: it configures OpenBLAS before NumPy loads it  # isort: skip
from . import blas_threads, buffer_pool, scratch, thread_pool
from .arrays import as_array, fingerprint, is_array, is_floating, namespace
from .cublas import tf32
from .dispatch import formula, formulas, reference
from .drawn_arrays import drawn_array
from .permutation import KeyedPermutation
from .random import CounterRNG, DrawnSteps, repeatable_steps
from .registry import backend_name_of, backend_of, get, to_host

__all__ = ["CounterRNG", "DrawnSteps", "KeyedPermutation", "as_array", "backend_name_of", "backend_of", "blas_threads",
           "buffer_pool", "drawn_array", "fingerprint", "formula", "formulas", "get", "is_array", "is_floating",
           "namespace", "openblas", "reference", "repeatable_steps", "scratch", "tf32", "thread_pool", "to_host"]
