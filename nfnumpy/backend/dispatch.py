"""The single point where a formula may be replaced by a fast path of the same signature.

A formula is marked with `@formula`. A backend offers a fast path with `@fast_path("numpy", "convolution.conv2d")`; it
is called with the same arguments and may return `NotImplemented` for those it does not cover. `with reference():`, or
`NFNUMPY_REFERENCE=1` in the environment, switches every fast path off.
"""

import contextlib
import contextvars
import functools
import os

from .registry import backend_name_of

_reference = contextvars.ContextVar("reference", default=os.environ.get("NFNUMPY_REFERENCE", "0") not in ("", "0"))
_fast_paths = {}


@contextlib.contextmanager
def reference():
    """Within this context every operation is its plain formula: no fast path runs."""
    token = _reference.set(True)
    try:
        yield
    finally:
        _reference.reset(token)


def fast_path(backend, formula_name):
    """Decorator: offer a function as the fast path of a formula ("file.function") on arrays of `backend`."""
    def register(function):
        _fast_paths[backend, formula_name] = function
        return function
    return register


def fast_paths():
    """The fast paths on offer: a dict (backend, "file.function") -> function."""
    return dict(_fast_paths)


def formula(function):
    """Decorator: `function` is a formula; run a fast path in its place where there is one and none is switched off.

    Its first argument, an array or a list of arrays, says whose fast path that is.

    The plain formula stays at hand as the attribute `.formula`; `.fast_paths()` is a dict backend -> function of what
    may stand in for it.
    """
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"

    @functools.wraps(function)
    def dispatched(*arrays, **options):
        if _fast_paths and not _reference.get():
            first = arrays[0] if arrays else next(iter(options.values()), None)
            first = first[0] if isinstance(first, list) and first else first
            chosen = _fast_paths.get((backend_name_of(first), name))
            if chosen is not None:
                result = chosen(*arrays, **options)
                if result is not NotImplemented:
                    return result
        return function(*arrays, **options)

    dispatched.formula = function
    dispatched.fast_paths = lambda: {backend: path for (backend, replaced), path in _fast_paths.items()
                                     if replaced == name}
    return dispatched
