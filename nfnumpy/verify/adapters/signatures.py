"""The signature of a target, and the binding of its parameters by their names."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import InputError

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Parameters = Mapping[str, inspect.Parameter]


def parameters_of(target: Any) -> Parameters | None:
    """A dict name -> inspect.Parameter; None for a callable without signature (built-in functions)."""
    try:
        found = dict(inspect.signature(target).parameters)
        if isinstance(target, type) and {each.kind for each in found.values()}.issuperset(VARIADIC):  # of __new__
            found = dict(list(inspect.signature(target.__init__).parameters.items())[1:])  # type: ignore[misc]
        return found
    except (TypeError, ValueError):
        return None


def parameter_names(target: Any) -> list[str]:
    """The names that a callable takes, in order, without *args and **kwargs; none where it has no signature."""
    return [name for name, parameter in (parameters_of(target) or {}).items() if parameter.kind not in VARIADIC]


def required(parameters: Parameters | None) -> list[str]:
    """The names that must be given."""
    return [name for name, parameter in (parameters or {}).items()
            if parameter.default is parameter.empty and parameter.kind not in VARIADIC]


def takes_any_keyword(parameters: Parameters | None) -> bool:
    """Whether there is a **kwargs."""
    return any(parameter.kind == parameter.VAR_KEYWORD for parameter in (parameters or {}).values())


def first_named(parameters: Iterable[str] | None, names: Iterable[str]) -> str | None:
    """The first of `parameters` (names, or a dict of them) that is one of `names`, in any case, or None."""
    return next((name for name in parameters or () if name.lower() in names), None)


def unusable(check: str, target: Any, expected: str) -> InputError:
    """An InputError that names the target and what was expected of it."""
    signature = parameters_of(target)
    shown = "" if signature is None else f" with the parameters ({', '.join(signature)})"
    title = getattr(target, "__qualname__", None) or f"an object of type {type(target).__name__}"
    return InputError(f"{check}: expected {expected}; the target is {title}{shown}")


def cannot_be_made(check: str, missing: Iterable[str], title: str = "the target") -> InputError:
    """An InputError that asks for arguments of unknown meaning by option."""
    flags = " ".join(f"--option {name}=…" for name in missing)
    return InputError(f"{check}: {title} cannot be made without {', '.join(missing)}: give {flags}")


@dataclasses.dataclass(frozen=True)
class Role:
    """A setting that a target may take under several names.

    default: the value that the reference has where the target does not take it and no option gives it, or None for
    none; note: for the report in that case, with {name} and {value}; by_any_keyword: whether a **kwargs takes it.
    """

    names: tuple[str, ...]
    default: Any = None
    note: str = ""
    by_any_keyword: bool = False


@dataclasses.dataclass(frozen=True)
class Binding:
    """names: role -> the target's parameter, or None; fixed: role -> the only value that the check uses, or None where
    it may have any; passed: the options that go to the target; notes: for the report.
    """

    names: dict[str, str | None]
    fixed: dict[str, Any]
    passed: dict[str, Any]
    notes: tuple[str, ...]


def bind(parameters: Parameters, roles: Mapping[str, Role], options: Mapping[str, Any],
         note_if: Callable[[Any], bool] = lambda given: given is None) -> Binding:
    """The Binding of a target's `parameters`.

    options: as the user gives them; one that has a role's name and that the target does not take is for the reference
    alone; "means": {role: the target's name of it}. note_if(value given by an option, or None): whether a role that the
    target does not take is noted. InputError for means that do not fit.
    """
    names, fixed, passed, notes, anything = {}, {}, dict(options), [], takes_any_keyword(parameters)
    means = passed.pop("means", {})
    _check_means(means, roles, parameters)
    for role, known in roles.items():
        names[role] = means.get(role) or first_named([name for name in parameters if name not in means.values()],
                                                     known.names)
        given = first_named(passed, (*known.names, str(names[role]).lower()))
        fixed[role] = None if given is None else options[given]
        if given is not None and given not in parameters and not anything:
            del passed[given]
        if names[role] is None and anything and known.by_any_keyword:
            names[role] = known.names[0]
        if names[role] is None:
            value = known.default if fixed[role] is None else fixed[role]
            if known.note and note_if(fixed[role]):
                notes.append(known.note.format(name=role, value=value))
            fixed[role] = value
    return Binding(names, fixed, passed, tuple(notes))


def _check_means(means, roles, parameters):
    for role, name in means.items():
        if role not in roles:
            raise InputError(f"--means {role}={name}: expected one of {', '.join(roles)}")
        if name not in parameters:
            raise InputError(f"--means {role}={name}: the target has no parameter {name!r}; it has "
                             f"({', '.join(parameters)})")
