"""The frameworks that a target can be written in."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from ...errors import InputError
from ..verdict import Verdict
from .base import Framework, ModuleHandle
from .equinox import Equinox
from .flax import Flax
from .haiku import Haiku
from .jax import Jax
from .keras import Keras
from .numpy import Numpy
from .tensorflow import TensorFlow
from .torch import Torch

FRAMEWORKS: dict[str, type[Framework]] = {framework.name: framework for framework in (
    Keras, TensorFlow, Torch, Haiku, Flax, Equinox, Jax, Numpy)}


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


def tries_frameworks(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """A check that runs a function or class, which raises in the framework that it seems to be of, in others.

    Those are the ones that its module imports, and NumPy: methods such as x.sum() do not say what x is.
    """
    @functools.wraps(check)
    def checked(target: Any, *, framework: str = "auto", **options: Any) -> Verdict:
        try:
            return check(target, framework=framework, **options)
        except InputError as error:
            is_own = inspect.isfunction(target) or inspect.isclass(target)
            if framework != "auto" or not is_own or "the target raised" not in str(error):
                raise
            for other in _others(target):
                with contextlib.suppress(InputError):
                    return check(target, framework=other, **options)
            raise
    return checked


def _others(function):
    """The names of further frameworks that a function may be written in."""
    module = sys.modules.get(function.__module__)
    roots = {_root(value) for value in vars(module or object).values() if hasattr(value, "__name__")}
    named = [name for name, framework in FRAMEWORKS.items() if roots & {*framework.packages, name}]
    return [name for name in (*named, Numpy.name) if name != _guess(function)]


def _guess(target):
    """The name of the framework whose packages the target, or else its module, names; numpy where there is none."""
    target = target[0] if type(target) is tuple and target else target  # a model and its state
    owner = target if isinstance(target, type) else type(target)
    roots = {_root(base) for base in owner.__mro__}
    for framework in (Haiku, Flax, Equinox):  # a file may import two of them
        if roots & set(framework.packages):
            return framework.name
    function = getattr(target, "func", target)  # of a functools.partial
    function = getattr(function, "__wrapped__", function)
    roots.add((getattr(function, "__module__", None) or "").partition(".")[0])
    packages = {package for framework in FRAMEWORKS.values() for package in (*framework.packages, framework.name)}
    for names in _namespaces(function):
        found = {root for value in names.values() if hasattr(value, "__name__") for root in _roots(value)}
        roots |= found
        if found & packages:
            break
    name = next((name for name, framework in FRAMEWORKS.items() if roots & set(framework.packages)), Numpy.name)
    if name == Jax.name:  # in a file that imports Equinox, functions of arrays have its layouts
        module = vars(sys.modules.get(getattr(function, "__module__", None) or "") or object)
        imported = {_root(value) for value in module.values() if hasattr(value, "__name__")}
        name = Equinox.name if imported & {*Haiku.packages, *Flax.packages, *Equinox.packages} == {"equinox"} else name
    return name


def _namespaces(function):
    """What the function itself names, what the functions of its module name that it calls, then what the module names.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    names = getattr(function, "__globals__", None) or vars(module or object)
    callers, known = [function], set()
    while callers:
        used = {name for caller in callers for name in _names_in(getattr(caller, "__code__", None))}
        space = {name: names[name] for name in used if name in names}
        yield space
        callers = [value for value in space.values() if inspect.isfunction(value) and value not in known
                   and value.__module__ == function.__module__]
        known |= set(callers)
    yield names


def _names_in(code):
    """The global names and attributes of a function's code, those of functions inside it too."""
    inner = [constant for constant in getattr(code, "co_consts", ()) if inspect.iscode(constant)]
    return {*getattr(code, "co_names", ()), *(name for part in inner for name in _names_in(part))}


def _roots(value):
    """The package that a function or module comes from, or those of a class and its bases."""
    return {_root(each) for each in (value.__mro__ if isinstance(value, type) else (value,))}


def _root(value):
    """The package that a class, function or module comes from."""
    return (getattr(value, "__module__", None) or getattr(value, "__name__", "") or "").partition(".")[0]


__all__ = ["FRAMEWORKS", "Equinox", "Flax", "Framework", "Haiku", "Jax", "Keras", "ModuleHandle", "Numpy",
           "TensorFlow", "Torch", "framework_of", "tries_frameworks"]
