"""What the checks need of a framework: its arrays, derivatives, random numbers, modules and optimizers.

A Framework that is added needs one module in this folder and one line in `FRAMEWORKS` (`__init__.py`); the adapters
name none.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError

Host = np.ndarray
Cotangent = Host | Callable[[Host], Host] | None


def expect_array(value: Any) -> Any:
    """`value`, where it is an array or a number; else InputError, one line that says what the target returned."""
    if isinstance(value, (int, float, complex)) or (hasattr(value, "shape") and hasattr(value, "dtype")):
        return value
    raise InputError(f"the target returned {'None' if value is None else f'a {type(value).__name__}'}, expected an "
                     f"array")


class ModuleHandle:
    """A module: an object that has named parameters and computes an output."""

    @property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> shape, in order."""
        raise NotImplementedError

    def value(self, name: str) -> Host:
        """A copy of a parameter, in the module's layout."""
        raise NotImplementedError

    @property
    def buffers(self) -> Mapping[str, Host]:
        """Name -> host array of what is saved with the parameters and has no gradient, such as running statistics."""
        raise NotImplementedError

    def load(self, arrays: Mapping[str, Host], dtype: str) -> None:
        """Bring the module to `dtype` and set parameters and buffers, in the module's layout; those not named stay."""
        raise NotImplementedError

    def build(self, x: Host) -> None:
        """Let the module make the parameters that it makes at its first call, with this input."""

    inputs: Mapping[str, Host]
    outputs: Mapping[str, Host]

    @property
    def strides(self) -> list[int]:
        """The strides along the first axis of all submodules that have one."""
        raise NotImplementedError

    def call(self, x: Host, training: bool | str, *, observed: Mapping[str, str] | None = None,
             with_gradients: bool = True, with_input_gradient: bool = True, **options: Any) -> Any:
        """The framework's output for a host array in the module's layout; options go to the module.

        training: of the whole module, or "statistics" for the submodules that have running statistics alone.
        observed: {part: path of a submodule}; their inputs and outputs are then in `inputs` and `outputs`, by part.
        """
        raise NotImplementedError

    def call_and_watch(self, x: Host, training: bool) -> tuple[Any, Host | None]:
        """(the output, the weight that the first convolution of the framework's got)."""
        raise NotImplementedError

    def gradients(self, output: Any, cotangent: Host) -> tuple[Host | None, dict[str, Host | None]]:
        """The gradients of the last call by its input and by all parameters; None for those that have none."""
        raise NotImplementedError


class Framework:
    """Base class; each method is documented here, and a framework has those that its flags name.

    name: as in --framework; packages: an import of one of them identifies the framework; channels_first: whether images
    are NCHW, weights OIHW and (out, in); has_modules: whether objects have parameters and optimizers change them in
    place; has_transformations: whether optimizers are pairs of functions (init, update); has_layers: whether modules
    are layers that may make their parameters when first called, and optimizers get lists of gradients;
    rounds_constants: whether numbers in a target's code may become float32 on their way into float64. `seen` collects
    the names of the floating dtypes of all results.
    """

    name: str
    packages: tuple[str, ...] = ()
    channels_first = False
    has_modules = False
    has_transformations = False
    has_layers = False
    rounds_constants = False

    def __init__(self):
        self.seen: set[str] = set()

    @property
    def without_modules(self) -> "Framework":
        """The framework for what trains: another one where modules are not trained in place."""
        return self

    @property
    def layout(self) -> str:
        """The usual layout of a convolution's weight."""
        return "OIHW" if self.channels_first else "HWIO"

    # arrays

    def array(self, host: Host, precision: str | None = None) -> Any:
        """The framework's array of a host array, floating ones in `precision`."""
        raise NotImplementedError

    def host(self, array: Any) -> Host:
        """The host array of one of the framework's, or of a number; InputError (`expect_array`) for anything else."""
        raise NotImplementedError

    def value_and_vjp(self, function: Callable, arrays: Sequence[Any],
                      cotangent: Cotangent) -> tuple[Host, list[Host | None] | None]:
        """(the value, its vector-Jacobian product for every array, or None where the framework has no derivatives).

        A product is None for an array that the value does not depend on. cotangent: a host array, a function of the
        value, or None for the value alone.
        """
        raise NotImplementedError

    def rng(self, seed: int) -> Any:
        """The framework's source of random numbers."""
        raise NotImplementedError

    def images(self, array: Host) -> Host:
        """Images (N, H, W, C), or activations, in the framework's usual layout."""
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if self.channels_first else array

    def from_images(self, array: Host) -> Host:
        """The reverse of `images`."""
        return array.transpose(0, 2, 3, 1) if self.channels_first and array.ndim == 4 else array

    # modules

    def is_module(self, target: Any) -> bool:
        """Whether `target` is an object with parameters of its own."""
        return False

    def module(self, target: Any, owned: bool = False) -> ModuleHandle:
        """The handle of a module; the handle has a copy of it, unless the module is `owned`, made for the handle."""
        raise NotImplementedError

    def in_dtype(self, target: Any, dtype: str) -> Any:
        """`target`, where it is a module a copy in `dtype`."""
        return target

    def made(self, target: Callable, *arguments: Any, **options: Any) -> Any:
        """What a class or factory of modules makes."""
        return target(*arguments, **options)

    def kernel_sizes(self, parameter: Any, size: int) -> tuple[Any, ...]:
        """The forms in which a class or factory may take the size of a square kernel, the usual one first.

        parameter: of its signature.
        """
        return (size,)

    def further_arguments(self, target: Any) -> dict[str, Any]:
        """{name: value} of arguments of a class or factory of modules that say nothing about what it computes."""
        return {}

    def unbound_call(self, made: Any) -> Callable:
        """The function whose signature shows how the object `made` is called."""
        return made.__call__

    def built(self, function: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
        """The network that a function builds by calling layers on a tensor of `shape`, without examples (has_layers).
        """
        raise NotImplementedError

    def computing_in(self, dtype: str) -> contextlib.AbstractContextManager[None]:
        """Inside, what is made without a dtype has this one, where that is a setting of the framework's."""
        return contextlib.nullcontext()

    # optimizers in place (has_modules)

    def parameter(self, value: Any, gradient: Any = None) -> Any:
        """A trainable parameter, with its gradient."""
        raise NotImplementedError

    def freeze(self, parameter: Any) -> None:
        """Let a parameter get no gradient."""
        raise NotImplementedError

    def container(self, parameters: Mapping[str, Any]) -> Any:
        """A module that holds parameters by their paths, "layer.leaf"."""
        raise NotImplementedError

    def sgd(self, parameters: Sequence[Any], **settings: Any) -> Any:
        """An SGD optimizer with lr and, where given, momentum, nesterov, weight_decay."""
        raise NotImplementedError

    @property
    def sgd_class(self) -> type:
        """The class of what `sgd` returns."""
        raise NotImplementedError

    def assign(self, parameter: Any, value: Any) -> None:
        """Write a value into a parameter."""
        raise NotImplementedError

    def is_adaptive(self, target: Any) -> bool:
        """Whether `target` makes optimizers whose step is no multiple of the gradient, such as Adam."""
        return False

    def is_recording(self) -> bool:
        """Whether operations are recorded for a backward pass."""
        return True

    def recording(self) -> contextlib.AbstractContextManager[None]:
        """Inside, operations are recorded for a backward pass."""
        return contextlib.nullcontext()

    def backward_of_products(self, terms: Sequence[tuple[Any, Any]]) -> None:
        """Add to every parameter's gradient the array beside it, by the backward pass of the sum of their products."""
        raise NotImplementedError

    def softplus_loss(self, mixing: Any, offset: Any, weights: Sequence[Any]) -> Any:
        """Σ log(1 + exp(M·w - t)) + (w·w)²/4, w being all weights as one vector; also with has_transformations."""
        raise NotImplementedError

    # optimizers as functions (has_transformations)

    def sgd_transformation(self, **settings: Any) -> Any:
        """SGD as a transformation, with lr, momentum, nesterov."""
        raise NotImplementedError

    def normalized_transformation(self, length: float) -> Any:
        """A transformation whose updates have a given length, against the gradient."""
        raise NotImplementedError

    def apply_updates(self, parameters: Any, updates: Any) -> Any:
        """The parameters plus the updates, trees of arrays."""
        raise NotImplementedError

    def shapes_of(self, function: Callable) -> Any:
        """The result of a function as shapes and dtypes; nothing is computed."""
        raise NotImplementedError

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """An array of zeros."""
        raise NotImplementedError

    def gradient(self, loss: Callable, parameters: Any) -> Any:
        """The gradient of a function of a tree of arrays."""
        raise NotImplementedError
