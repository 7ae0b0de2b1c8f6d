"""Keeping Python's garbage collector out of a stretch of code.

Used by: cuda_graph.py, bench/gpu/. Test: reference_tests/backend/test_collector.py.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Context in which Python does not look for cyclic garbage; it does once before."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
