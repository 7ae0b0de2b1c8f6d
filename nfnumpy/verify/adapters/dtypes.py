"""Runs in float64 where the target takes it, else in float32: TensorFlow casts nothing by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework


def in_a_dtype_that_works(run: Callable[..., Any], framework: Framework) -> Callable[..., Any]:
    """The function whose float64 arguments (arrays and input cases) are cast to float32 if float64 raises."""
    refuses_float64 = False

    def called(*arguments):
        nonlocal refuses_float64
        dtypes = {str(dtype) for argument in arguments for dtype in _dtypes(argument)}
        if "float64" not in dtypes:
            with framework.computing_in("float32"):
                return run(*arguments)
        if not refuses_float64:
            try:
                with framework.computing_in("float64"):
                    return run(*arguments)
            except InputError:
                pass
        with framework.computing_in("float32"):
            result = run(*(_in_float32(argument) for argument in arguments))
        refuses_float64 = True
        return result
    return called


def _dtypes(argument):
    if isinstance(argument, np.ndarray):
        return [argument.dtype]
    return [array.dtype for array in getattr(argument, "arrays", {}).values()]


def _in_float32(argument):
    if isinstance(argument, np.ndarray):
        return argument.astype(np.float32) if argument.dtype == np.float64 else argument
    return argument.cast(np.float32) if hasattr(argument, "cast") else argument
