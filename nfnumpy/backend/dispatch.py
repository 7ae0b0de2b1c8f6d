"""The single point where a formula may be replaced by a fast path of the same signature.

A formula is marked with `@formula`. A fast path is registered on it with `@conv2d.fast_path("numpy")`; it takes the
same arguments and may return `NotImplemented` for those it does not cover. `with reference():`, or
`NFNUMPY_REFERENCE=1` in the environment, switches every fast path off.
"""

import contextvars
import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from .context import setting
from .registry import backend_name_of

_reference = contextvars.ContextVar("reference", default=os.environ.get("NFNUMPY_REFERENCE", "0") not in ("", "0"))
_formulas: list["Formula"] = []


class Formula(Protocol):
    """What `@formula` returns: see there."""

    __name__: str
    plain: Callable[..., Any]
    fast_path: Callable[[str], Callable[[Callable[..., Any]], Callable[..., Any]]]
    fast_paths: dict[str, Callable[..., Any]]

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        """The formula, or a fast path in its place."""


def reference() -> AbstractContextManager[None]:
    """Within this context every operation is its plain formula: no fast path runs."""
    return setting(_reference, True)


def is_reference() -> bool:
    """Whether every operation is its plain formula here."""
    return _reference.get()


def formula(function: Callable[..., Any] | None = None, *,
            check: Callable[..., None] | None = None) -> Any:
    """Decorator: `function` is a formula; run a fast path in its place where there is one and none is switched off.

    Its first argument, an array or a list of arrays, decides which backend's fast path runs. `check`, a function of the
    same signature, raises InputError for invalid arguments; it runs before the formula and its fast paths.
    The result has three attributes: `plain`, the undecorated function; `fast_path(backend)`, a decorator that registers
    a function of the same signature as the fast path on arrays of that backend; `fast_paths`, a dict from backend name
    to the function registered.
    """
    if function is None:
        return functools.partial(formula, check=check)
    registered: dict[str, Callable[..., Any]] = {}

    @functools.wraps(function)
    def dispatched(*arrays: Any, **options: Any) -> Any:
        if check is not None:
            check(*arrays, **options)
        if registered and not _reference.get():
            first = arrays[0] if arrays else next(iter(options.values()), None)
            first = first[0] if isinstance(first, list) and first else first
            chosen = registered.get(backend_name_of(first))
            if chosen is not None:
                found = chosen(*arrays, **options)
                if found is not NotImplemented:
                    return found
        return function(*arrays, **options)

    def fast_path(backend: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def register(fast: Callable[..., Any]) -> Callable[..., Any]:
            registered[backend] = fast
            return fast
        return register

    result = cast(Formula, dispatched)
    result.plain, result.fast_path, result.fast_paths = function, fast_path, registered
    _formulas.append(result)
    return result


def formulas() -> list["Formula"]:
    """All formulas that may have fast paths, in the order of their definition: a list of dispatched functions."""
    return list(_formulas)
