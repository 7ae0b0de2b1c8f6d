"""Operation: a formula on arrays, joined with its vector-Jacobian products, as a function on Tensors.

The signature of a product says what the tape keeps for it, by name: an input, `INPUT_shape`, `INPUT_dtype`, `output`;
keyword-only parameters are the operation's options. The annotations of a formula's inputs say what they may be: `Array`
an array only, `FullPrecisionArray` one that is of float32 beside half precision, `Array | float` also a Python number,
which takes the dtype of the arrays beside it; an input whose default is None may be left out. Inputs without
annotations are passed on as they are.
"""

import functools
import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, get_args

from .. import backend
from ..backend.arrays import Array, FullPrecisionArray
from ..errors import InputError, first_line
from ..functional.checks import shown
from .tape import Node, hooks, recording
from .tensor import Tensor, graph_parent

FLOAT32 = backend.get("numpy").dtype("float32")


class _Needed(NamedTuple):
    """One value that a product needs: its name, and what of which input it is (kind: array, shape, dtype, output)."""

    name: str
    kind: str
    position: int  # of the input; -1: of all inputs of a variadic formula


class _NamedVjp:
    """A vector-Jacobian product of an operation, called with what its signature names."""

    def __init__(self, function: Callable[..., Any], position: int | None, inputs: Sequence[str],
                 variadic: bool) -> None:
        self.function = function
        self.position = position
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self.takes_options = any(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters)
        names = [p.name for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
        self.needed = [_needed(function, name, inputs, variadic) for name in names]
        self.names = tuple(names)

    def __call__(self, cotangent: Array, saved: Mapping[str, Any],
                 options: Mapping[str, Any]) -> Sequence[Array | None]:
        arguments = [saved[name] for name in self.names]
        if self.takes_options:
            found = self.function(cotangent, *arguments, **options)
        else:
            found = self.function(cotangent, *arguments)
        if self.position is None or isinstance(found, (tuple, list)):
            return found
        return (found,)

    def save(self, saved: dict[str, Any], arrays: Sequence[Any], output: Array) -> None:
        """Add to `saved` what this product needs of the raw inputs and the output."""
        for name, kind, position in self.needed:
            if kind == "output":
                saved[name] = output
            elif kind == "array":
                saved[name] = arrays[position] if position < len(arrays) else None
            elif position < 0:
                saved[name] = tuple(_fact(array, kind) for array in arrays)
            else:
                saved[name] = _fact(arrays[position], kind)


def _fact(array: Any, kind: str) -> Any:
    """The shape or dtype of an input, which may be a number."""
    if kind == "shape":
        return tuple(getattr(array, "shape", ()))
    return getattr(array, "dtype", None)


def _needed(function: Callable[..., Any], name: str, inputs: Sequence[str], variadic: bool) -> _Needed:
    """What a parameter of a product means; TypeError if it means nothing."""
    if name == "output":
        return _Needed(name, "output", 0)
    if name in inputs and not variadic:
        return _Needed(name, "array", inputs.index(name))
    for kind in ("shape", "dtype"):
        owner = name.removesuffix(f"_{kind}")
        if owner != name and owner in inputs:
            return _Needed(name, kind, -1 if variadic else inputs.index(owner))
    raise TypeError(f"{function.__name__} needs {name!r}, which is neither `output`, an input, nor its shape or dtype")


class _Input(NamedTuple):
    """An input of a formula: what it may be."""

    name: str
    is_checked: bool  # whether it is annotated
    takes_number: bool
    takes_none: bool
    is_required: bool
    is_full_precision: bool = False  # float32 where the other inputs are of half precision


def _inputs_of(parameters: Sequence[inspect.Parameter]) -> list[_Input]:
    inputs = []
    for p in parameters:
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL):
            is_checked = p.annotation is not p.empty
            takes_number = not is_checked or float in get_args(p.annotation)
            is_required = p.default is p.empty and p.kind is not p.VAR_POSITIONAL
            is_full = FullPrecisionArray in (p.annotation, *get_args(p.annotation))
            inputs.append(_Input(p.name, is_checked, takes_number, not is_checked or p.default is None, is_required,
                                 is_full))
    return inputs


class Operation:
    """A formula and its products: called with Tensors, arrays and numbers, it returns a Tensor and records a Node."""

    def __init__(self, formula: Callable[..., Array], joint: Callable[..., Any] | None,
                 separate: Mapping[str, Callable[..., Any]]) -> None:
        self.formula = formula
        self.name = formula.__name__
        parameters = list(inspect.signature(formula).parameters.values())
        self.inputs = _inputs_of(parameters)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.required_inputs = sum(one.is_required for one in self.inputs)
        options = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.options = frozenset(p.name for p in options)
        self.required_options = frozenset(p.name for p in options if p.default is p.empty)
        names = [one.name for one in self.inputs]
        unknown = separate.keys() - set(names)
        if unknown:
            raise TypeError(f"{self.name} has no input {', '.join(sorted(unknown))}")
        self.vjps: tuple[_NamedVjp, ...]
        self.is_joint = joint is not None
        if joint is not None:
            self.vjps = (_NamedVjp(joint, None, names, self.variadic),)
        else:
            self.vjps = tuple(_NamedVjp(separate[name], position, names, self.variadic)
                              for position, name in enumerate(names) if name in separate)

    def __call__(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        """The formula of these inputs and options, recorded; InputError, in one line, for what it does not take."""
        inputs = self._bound(inputs, options)
        arrays, floating = self._arrays(inputs)
        output = self._compute(arrays, floating, options)
        for callback in hooks.get():
            callback(self.name, arrays, output, options)
        result = Tensor(output)
        if self.vjps and recording.get():
            result.node = self._node(inputs, arrays, result.data, options)
        return result

    def _bound(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """All inputs, those given by keyword taken out of `options`, None for those left out; InputError if some that
        are required are missing or some are unknown.
        """
        if self.variadic:
            if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
                inputs = tuple(inputs[0])
            if not inputs:
                raise InputError(f"{self.name}: expected at least one array")
        else:
            while len(inputs) < len(self.inputs) and self.inputs[len(inputs)].name in options:
                inputs = (*inputs, options.pop(self.inputs[len(inputs)].name))
            if not self.required_inputs <= len(inputs) <= len(self.inputs):
                raise InputError(f"{self.name}: expected {self._usage()}, got {len(inputs)} inputs")
            inputs = (*inputs, *[None] * (len(self.inputs) - len(inputs)))
        if not self.required_options <= options.keys() <= self.options:
            given = ", ".join(options) or "no options"
            raise InputError(f"{self.name}: expected {self._usage()}, got {given}")
        return inputs

    def _usage(self) -> str:
        """The inputs and options, in words."""
        inputs = ", ".join(one.name for one in self.inputs)
        options = ", ".join(sorted(self.options))
        return f"inputs {inputs} and options {options}" if options else f"inputs {inputs} and no options"

    def _arrays(self, inputs: tuple[Any, ...]) -> tuple[list[Any], set[Any]]:
        """The raw arrays of the inputs, and the set of their floating dtypes; numbers become Python numbers.

        InputError when an input is of a kind that the formula does not take, and when floating dtypes differ. Those of
        `FullPrecisionArray`s are in the set only where no other array is.
        """
        arrays: list[Any] = []
        floating: set[Any] = set()
        full_precision: set[Any] = set()
        for position, value in enumerate(inputs):
            if isinstance(value, Tensor):
                value = value.data
            elif value is None or isinstance(value, numbers.Real):
                value = self._number(value, self.inputs[0 if self.variadic else position])
            else:
                value = self._converted(value, position)
            dtype = getattr(value, "dtype", None)
            if dtype is not None and (dtype.kind == "f" or backend.is_floating(dtype)):
                is_full = not self.variadic and self.inputs[position].is_full_precision
                (full_precision if is_full else floating).add(dtype)
            arrays.append(value)
        is_mixed = any(dtype != _full_precision(other) for dtype in full_precision for other in floating)
        if is_mixed or len(floating or full_precision) > 1:
            raise InputError(f"{self.name}: inputs of {' and '.join(sorted(map(str, floating | full_precision)))}; "
                             f"nothing is cast silently, convert one of them")
        return arrays, floating or full_precision

    def _number(self, value: Any, one: _Input) -> Any:
        """None, or a real number of any kind as a Python number or (a NumPy scalar) an array, where it is taken."""
        if value is None and one.takes_none:
            return None
        if value is not None and one.takes_number:
            try:
                return int(value) if isinstance(value, numbers.Integral) else float(value)
            except OverflowError:
                raise InputError(f"{self.name}: {one.name} is a number beyond those of floating arrays") from None
        if value is None or not hasattr(value, "dtype"):
            raise InputError(f"{self.name}: expected an array for {one.name}, got {shown(value)}")
        return Tensor(value).data

    def _converted(self, value: Any, position: int) -> Array:
        """Lists and the like as an array; InputError that names the input where they are none."""
        try:
            return Tensor(value).data
        except InputError as error:
            name = self.inputs[0 if self.variadic else position].name
            raise InputError(f"{self.name}: {name}: {str(error).removeprefix('Tensor: ')}") from error

    def _compute(self, arrays: list[Any], floating: set[Any], options: dict[str, Any]) -> Array:
        """The formula's result; InputError where it rejects its inputs, or would make float64 of an integer array.

        Of other exceptions only a TypeError about integers or booleans without the formula's arithmetic is bad input.
        """
        try:
            output = self.formula(*arrays, **options)
        except InputError as error:
            if str(error).startswith(self.name):
                raise
            raise InputError(f"{self.name}: {error}") from error
        except (ValueError, IndexError, OverflowError) as error:
            raise self._rejected(arrays, error) from error
        except TypeError as error:
            if all(array is None or not hasattr(array, "dtype") or array.dtype in floating for array in arrays):
                raise
            raise self._rejected(arrays, error) from error
        is_mixed = floating and len(arrays) > 1 and len(floating) < _count_dtypes(arrays)
        if is_mixed and backend.is_floating(output.dtype) and output.dtype not in floating:
            raise InputError(f"{self.name}: an integer array would turn {floating.pop()} into {output.dtype}; "
                             f"nothing is cast silently, convert it")
        return output

    def _rejected(self, arrays: list[Any], error: Exception) -> InputError:
        given = ", ".join(_described(array) for array in arrays)
        return InputError(f"{self.name} of {given}: {first_line(error)}")

    def _node(self, inputs: tuple[Any, ...], arrays: list[Any], output: Array, options: dict[str, Any]) -> Node | None:
        """What the backward pass needs; None if no input wants a gradient."""
        parents = [graph_parent(value) for value in inputs]
        wanted = {number for number, parent in enumerate(parents) if parent is not None}
        vjps = self.vjps
        if not self.is_joint:
            vjps = tuple(vjp for vjp in vjps if vjp.position in wanted)
        if not vjps or not wanted:
            return None
        saved: dict[str, Any] = {}
        for vjp in vjps:
            vjp.save(saved, arrays, output)
        if not self.is_joint and len(vjps) < len(wanted):
            reached = {vjp.position for vjp in vjps}
            parents = [parent if number in reached else None for number, parent in enumerate(parents)]
        # A function among the options may have effects, such as messages between devices, whose order has to be the
        # same every time: not in a parallel backward pass.
        is_pure = not any(callable(option) and not isinstance(option, type) for option in options.values())
        return Node(self.name, parents, saved, vjps, options, is_pure=is_pure)


def _full_precision(dtype: Any) -> Any:
    """The dtype of `FullPrecisionArray`s beside arrays of `dtype`."""
    return FLOAT32 if dtype.itemsize == 2 else dtype


def _described(array: Any) -> str:
    """An input in an error message: its shape, with the dtype where that is not floating, or its value."""
    if not hasattr(array, "dtype"):
        return shown(array)
    shape = str(tuple(array.shape))
    return shape if backend.is_floating(array.dtype) else f"{shape} of {array.dtype}"


def _count_dtypes(arrays: list[Any]) -> int:
    """How many dtypes these inputs have."""
    return len({array.dtype for array in arrays if hasattr(array, "dtype")})


class DifferentiableFunction(Protocol):
    """What `differentiable` returns: a function on Tensors, with the formula on arrays that it records."""

    __name__: str
    formula: Callable[..., Array]
    operation: Operation

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        """The operation of Tensors, arrays or numbers."""


def differentiable(formula: Callable[..., Array], joint: Callable[..., Any] | None = None,
                   **separate: Callable[..., Any]) -> DifferentiableFunction:
    """Join `formula(*arrays, **options)` and its derivatives to the tape: the result works on Tensors.

    joint: one vector-Jacobian product that returns the cotangents of all inputs, a tuple; or, by input name, one
    product each (inputs without one, such as labels and masks, get no gradient; without any the operation is never
    recorded). A product is called as vjp(cotangent, *what it names, **options): inputs, `INPUT_shape`, `INPUT_dtype`,
    `output`. Nothing else is kept. TypeError for a product that names something else.
    """
    operation = Operation(formula, joint, separate)

    @functools.wraps(formula)
    def operate(*inputs: Any, **options: Any) -> Tensor:
        return operation(inputs, options)

    result = cast(DifferentiableFunction, operate)
    result.formula, result.operation = formula, operation
    return result
