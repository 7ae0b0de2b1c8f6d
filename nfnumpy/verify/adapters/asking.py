"""Finding out from a signature how a target wants to be asked."""

import inspect

import numpy as np

from ...errors import InputError
from .calling import asked

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters_of(target):
    """A dict name -> inspect.Parameter; None where a callable does not tell (built-in functions)."""
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return None


def parameter_names(target):
    """The names that a callable takes, in order, without *args and **kwargs; none where it does not tell."""
    return [name for name, parameter in (parameters_of(target) or {}).items() if parameter.kind not in VARIADIC]


def required(parameters):
    """The names that must be given."""
    return [name for name, parameter in (parameters or {}).items()
            if parameter.default is parameter.empty and parameter.kind not in VARIADIC]


def takes_any_keyword(parameters):
    """Whether there is a **kwargs."""
    return any(parameter.kind == parameter.VAR_KEYWORD for parameter in (parameters or {}).values())


def first_named(parameters, names):
    """The first of `parameters` (names, or a dict of them) that is one of `names`, or None."""
    return next((name for name in parameters or () if name.lower() in names), None)


def needs(kind, target, what):
    """An InputError that says what was expected of the target."""
    signature = parameters_of(target)
    shown = "" if signature is None else f" with the parameters ({', '.join(signature)})"
    return InputError(f"{kind}: expected {what}; the target is {_called(target)}{shown}")


def _called(target):
    return getattr(target, "__qualname__", None) or f"an object of type {type(target).__name__}"


def answering(kind, subject):
    """The subject, with NumPy's warnings switched off and the target's exceptions as one line."""
    def answer(problem):
        with np.errstate(all="ignore"):
            return asked(kind, subject, problem)
    return answer
