"""The frameworks that a target can be written in."""

import sys
from typing import Any

from ...errors import InputError
from .base import Framework, ModuleHandle
from .jax import Jax
from .keras import Keras
from .numpy import Numpy
from .tensorflow import TensorFlow
from .torch import Torch

FRAMEWORKS: dict[str, type[Framework]] = {framework.name: framework for framework in (
    Keras, TensorFlow, Torch, Jax, Numpy)}


def framework_of(target: Any, wish: str = "auto") -> Framework:
    """The Framework that `target` is written in, or the one called `wish`.

    It follows from the target's own type and bases, and from what its module imported. InputError for an unknown name
    or a framework that is not installed.
    """
    if wish != "auto" and wish not in FRAMEWORKS:
        raise InputError(f"--framework {wish}: expected auto, {', '.join(FRAMEWORKS)}")
    name = wish if wish != "auto" else _guess(target)
    try:
        return FRAMEWORKS[name]()
    except ImportError as error:
        raise InputError(f"--framework {name}: {error}") from None


def _guess(target):
    """The name of the framework whose packages the target, or else its module, names; numpy where there is none."""
    owner = target if isinstance(target, type) else type(target)
    roots = {_root(base) for base in owner.__mro__}
    function = getattr(target, "func", target)  # of a functools.partial
    function = getattr(function, "__wrapped__", function)
    roots.add((getattr(function, "__module__", None) or "").partition(".")[0])
    packages = {package for framework in FRAMEWORKS.values() for package in (*framework.packages, framework.name)}
    for names in _namespaces(function):
        found = {_root(value) for value in names.values() if hasattr(value, "__name__")}
        roots |= found
        if found & packages:
            break
    return next((name for name, framework in FRAMEWORKS.items() if roots & set(framework.packages)), Numpy.name)


def _namespaces(function):
    """What the function itself names, then what its module names."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    names = getattr(function, "__globals__", None) or vars(module or object)
    used = getattr(getattr(function, "__code__", None), "co_names", ())
    return {name: names[name] for name in used if name in names}, names


def _root(value):
    """The package that a class, function or module comes from."""
    return (getattr(value, "__module__", None) or getattr(value, "__name__", "") or "").partition(".")[0]


__all__ = ["FRAMEWORKS", "Framework", "Jax", "Keras", "ModuleHandle", "Numpy", "TensorFlow", "Torch", "framework_of"]
