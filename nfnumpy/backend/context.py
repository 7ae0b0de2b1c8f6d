"""Settings that hold within a `with` block, on the thread and in the contexts that it starts.

Used by: dispatch.py, cublas.py, drawn_arrays.py, random.py, autograd/tape.py, functional/fast_cupy/.
Tests: those of the settings, such as reference_tests/fast_numpy/test_fast_paths.py.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def setting(variable: contextvars.ContextVar, value: Any) -> Iterator[None]:
    """Context in which the context variable has this value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
