"""What all modules share: parameters and buffers found by walking attributes, and their state as a dict of arrays.

Used by: nn/layers.py, models/, optim/ (parameters and averaged buffers), training/ (checkpoints).
Test: reference_tests/nn/test_module.py.
"""

import dataclasses
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import backend as backends
from ..autograd import Tensor
from ..backend.arrays import Array
from ..errors import InputError, first_line

PLAIN = (str, int, float, types.NoneType)  # most attributes; skipping them at once makes the walk fast
CODE = (types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType)  # not looked into


class Module:
    """A part of a network, with parameters and buffers.

    Its parameters are the Tensors among its attributes, and the parameters of the Modules among them. Attributes may
    also be lists, tuples and dicts of these, nested to any depth. A Tensor or Module that occurs several times is one
    parameter or module, under the first of its names.

    Its buffers are arrays that `register_buffer` names, such as running statistics: state that no gradient changes.
    """

    # (attribute of a convolution, attribute of the normalization that alone sees its output): models.folded makes one
    # convolution of both.
    FOLDABLE: ClassVar[tuple[tuple[str, str], ...]] = ()
    _buffer_names: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__dict__.get("__slots__"):
            raise InputError(f"{cls.__name__}: a Module has no __slots__, whose contents would not be trained or saved")

    def register_buffer(self, name: str, array: Array) -> None:
        """Make `array` the attribute `name` and part of the state. Assigning to the attribute replaces the array.

        InputError when `name` is no attribute name or is in use, or `array` is not an array of numbers.
        """
        if not name.isidentifier() or hasattr(self, name):
            raise InputError(f"{type(self).__name__}: buffer {name!r}: expected the name of a new attribute")
        _check_buffer(f"{type(self).__name__}.{name}", array)
        setattr(self, name, array)
        self._buffer_names = (*self._buffer_names, name)

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """(attribute path, module) of every module in this one, in order of creation; this one first, under ""."""
        return ((name, part) for name, part in _walk(self) if isinstance(part, Module))

    def modules(self) -> Iterator["Module"]:
        """Every module in this one, in order of creation, this one first."""
        return (module for _, module in self.named_modules())

    def parameters(self) -> dict[str, Tensor]:
        """name -> Tensor; names are attribute paths such as "blocks.3.conv1b.gain", in order of creation.

        InputError when two parameters have one name, or a Tensor is where it has none, such as in a set.
        """
        found: dict[str, Tensor] = {}
        for name, part in _walk(self):
            if isinstance(part, Tensor):
                _put(found, name, part)
        return found

    def buffers(self) -> dict[str, Array]:
        """name -> array, of the buffers of all modules in this one; names are attribute paths."""
        found = {}
        for name, (module, attribute) in self.buffer_owners().items():
            array = getattr(module, attribute)
            _check_buffer(name, array)
            found[name] = array
        return found

    def assign_buffers(self, arrays: Mapping[str, Array]) -> None:
        """Replace buffers by `arrays` (name -> array, some of the names of `buffers()`), without copies."""
        owners = self.buffer_owners()
        for name in arrays:
            if name not in owners:
                raise InputError(f"buffers: unknown name {name!r}; there are {', '.join(owners) or 'none'}")
            _check_buffer(name, arrays[name])
        for name, array in arrays.items():
            module, attribute = owners[name]
            setattr(module, attribute, array)

    def state_dict(self) -> dict[str, Array]:
        """name -> array: those of the parameters, then the buffers; the arrays themselves, not copies."""
        state = {name: parameter.data for name, parameter in self.parameters().items()}
        for name, array in self.buffers().items():
            _put(state, name, array)
        return state

    def load_state_dict(self, state: Mapping[str, Array], *, cast: bool = False) -> None:
        """Copy the values of `state` (name -> array of either backend) into the parameters and buffers.

        cast: whether arrays of another dtype than the parameter's are rounded to it. InputError, and nothing is
        loaded, when a name is unknown or missing, a shape differs, or a dtype differs and `cast` is False. Complex
        numbers and values that are no numbers are refused in both cases.
        """
        own = self.state_dict()
        _check_names(state, own)
        arrays = {name: _host_array(name, state[name]) for name in own}
        for name, array in own.items():
            _check_shape(name, arrays[name], array)
        for name, array in own.items():
            _check_dtype(name, arrays[name].dtype, array.dtype, cast)
        for name, array in own.items():
            # Always in C order: sums follow the order of memory, which decides their last bits.
            converted = arrays[name].astype(array.dtype, order="C", copy=True)
            arrays[name] = backends.backend_of(array).asarray(converted)
        parameters = self.parameters()
        for name, parameter in parameters.items():
            parameter.data = arrays[name]
        self.assign_buffers({name: array for name, array in arrays.items() if name not in parameters})

    def buffer_owners(self) -> dict[str, tuple["Module", str]]:
        """name -> (module, attribute) of every buffer in this module."""
        owners: dict[str, tuple[Module, str]] = {}
        for path, module in self.named_modules():
            for attribute in module._buffer_names:
                _put(owners, f"{path}.{attribute}".lstrip("."), (module, attribute))
        return owners


# ---- the walk through attributes


def _walk(root: Module) -> list[tuple[str, Any]]:
    """(name, part) for every Tensor and Module in `root`, depth first, each once under its first name.

    InputError for a Tensor or Module that is only in an object that gives it no name.
    """
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()
    unnamed: list[tuple[str, Any]] = []
    _visit(root, "", found, seen, unnamed)
    for name, container in unnamed:
        if _hides_parameters(container, seen):
            raise InputError(f"{type(root).__name__}.{name}: a Tensor or Module in a {type(container).__name__} has no "
                             f"name; expected lists, tuples, dicts and Modules of them")
    return found


def _visit(value: Any, name: str, found: list[tuple[str, Any]], seen: set[int], unnamed: list[tuple[str, Any]]) -> None:
    """The part of the walk that starts at `value`. Adds to `found`, `seen` (ids) and `unnamed` (objects without names).
    """
    if id(value) in seen:
        return
    if isinstance(value, (Tensor, Module)):
        found.append((name, value))
    seen.add(id(value))  # before its children: a list may contain itself
    children = _named_children(value)
    if children is None:
        if not isinstance(value, Tensor) and _contents(value):
            seen.discard(id(value))
            unnamed.append((name, value))
        return
    prefix = f"{name}." if name else ""
    for key, child in children:
        if not isinstance(child, PLAIN):
            _visit(child, f"{prefix}{key}", found, seen, unnamed)


def _named_children(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """(name, child) pairs of a Module, list, tuple or dict; None of anything else."""
    if isinstance(value, Module):
        return vars(value).items()
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    return None


def _contents(value: Any) -> list[Any]:
    """The items of a set, a deque or another mapping; of any other object, the values of its attributes."""
    if isinstance(value, (str, bytes, bytearray, range, type, *CODE)):
        return []
    if hasattr(value, "dtype"):
        return list(value.flat) if isinstance(value, np.ndarray) and value.dtype == object else []
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, Collection):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return list(vars(value).values()) if hasattr(value, "__dict__") else []


def _hides_parameters(value: Any, seen: set[int]) -> bool:
    """Whether `value` has a Tensor or Module in it, at any depth, that is not in `seen`; adds to `seen`."""
    stack = [value]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        if isinstance(value, (Tensor, Module)):
            return True
        children = _named_children(value)
        inside = _contents(value) if children is None else [child for _, child in children]
        if inside:
            seen.add(id(value))
            stack.extend(inside)
    return False


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """found[name] = value; InputError when the name is taken."""
    if name in found:
        raise InputError(f"module: two parameters or buffers have the name {name!r}; rename a dict's key")
    found[name] = value


# ---- checks of a state


def _check_buffer(name: str, array: Any) -> None:
    """InputError unless `array` is an array of real numbers."""
    if not backends.is_array(array) or not (backends.is_floating(array.dtype) or array.dtype.kind in "biu"):
        given = f"an array of {array.dtype}" if backends.is_array(array) else f"a {type(array).__name__}"
        raise InputError(f"buffer {name}: expected an array of real numbers, got {given}")


def _check_names(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """InputError unless both have the same names."""
    if not isinstance(state, Mapping):
        raise InputError(f"state: expected a dict of name -> array, got a {type(state).__name__}")
    differences = {"unknown": set(state) - set(own), "missing": set(own) - set(state)}
    for problem, names in differences.items():
        if names:
            expected = f"; expected names such as {next(iter(own))!r}" if own else ""
            raise InputError(f"state: {len(names)} {problem} of {len(own)} names, such as {min(names, key=str)!r}"
                             f"{expected}")


def _host_array(name: str, value: Any) -> Array:
    """`value`, an array of either backend, a Tensor or a NumPy scalar, as a host array; else InputError."""
    value = value.data if isinstance(value, Tensor) else value
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise InputError(f"state: {name} is a {type(value).__name__}, expected an array")
    try:
        return np.asarray(backends.to_host(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"state: {name} is a {type(value).__name__} of {value.dtype} that NumPy cannot read: "
                         f"{first_line(error)}") from None


def _check_shape(name: str, given: Array, own: Array) -> None:
    """InputError unless both arrays have one shape."""
    if tuple(given.shape) != tuple(own.shape):
        raise InputError(f"state: {name} has shape {tuple(given.shape)}, expected {tuple(own.shape)}")


def _check_dtype(name: str, given: Any, own: Any, cast: bool) -> None:
    """InputError unless `given` is `own` in any byte order or, with `cast`, a dtype of numbers that casts to it."""
    if given.newbyteorder("=") == own:
        return
    possible = (backends.is_floating(given) or given.kind in "biu") and \
        (backends.is_floating(own) or not backends.is_floating(given))
    if not possible:
        raise InputError(f"state: {name} is of {given}, expected {own}; it cannot be cast")
    if not cast:
        raise InputError(f"state: {name} is of {given}, expected {own}; nothing is cast silently, pass cast=True to "
                         f"round it")
