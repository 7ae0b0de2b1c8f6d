"""A target with some of its arguments given, so that the check sees the others alone."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .adapters.signatures import parameters_of, takes_any_keyword


def with_arguments(target: Any, given: Mapping[str, Any]) -> Any:
    """A class or function that has these arguments already, and no longer takes them; InputError where it cannot."""
    parameters = parameters_of(target) or {}
    unknown = [name for name in given if name not in parameters]
    if unknown and not takes_any_keyword(parameters):
        raise InputError(f"--option target.{unknown[0]}=…: the target takes no {unknown[0]!r}; it takes "
                         f"({', '.join(parameters)})")
    signature = inspect.Signature([parameter for name, parameter in parameters.items() if name not in given])
    return (_subclass if isinstance(target, type) else _function)(target, given, signature)


def _subclass(target, given, signature):
    def initialize(self, *arguments, **options):
        super(made, self).__init__(**_named(signature, arguments, options), **given)

    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    initialize.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[itself, *signature.parameters.values()])
    made = type(target.__name__, (target,), {"__init__": initialize, "__signature__": signature,
                                             "__module__": target.__module__})
    return made


def _function(target, given, signature):
    @functools.wraps(target)
    def called(*arguments, **options):
        return target(**_named(signature, arguments, options), **given)

    called.__signature__ = signature  # type: ignore[attr-defined]
    return called


def _named(signature, arguments, options):
    """All arguments of a call by name."""
    bound = signature.bind(*arguments, **options)
    further = [name for name, parameter in signature.parameters.items() if parameter.kind == parameter.VAR_KEYWORD]
    named = {name: value for name, value in bound.arguments.items() if name not in further}
    return {**named, **(bound.arguments.get(further[0], {}) if further else {})}
