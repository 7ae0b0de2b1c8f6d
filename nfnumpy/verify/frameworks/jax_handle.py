"""Modules of JAX's libraries by their names and arrays: calls, gradients, observation."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np

from ...errors import InputError
from .base import Host, ModuleHandle, expect_array

CHANNELS = 64  # of the input of a module that says no number


class Form:
    """A module as a function of its arrays; each library has one or two.

    parameters, buffers: {name: something with shape and dtype}, in order, once it is started.
    """

    parameters: dict[str, Any]
    buffers: dict[str, Any]
    is_started = False

    def start(self, x: Any) -> None:
        """Find out which arrays the module has, from the shape and dtype of an input."""
        raise NotImplementedError

    def initial(self, names: set[str]) -> dict[str, Any]:
        """The arrays called so that the module makes."""
        raise NotImplementedError

    def completed(self, arrays: dict[str, Any], loaded: set[str]) -> dict[str, Any]:
        """All arrays, after some were loaded, with those that depend on them."""
        return arrays

    def run(self, arrays: Mapping[str, Any], x: Any, key: Any, training: bool | str, options: Mapping[str, Any],
            watch: "Watch") -> tuple[Any, dict[str, Any]]:
        """(the output, {name: array} of those that the call changed); key: of all random numbers.

        training: see ModuleHandle.call.
        """
        raise NotImplementedError

    @property
    def strides(self) -> list[Any]:
        """What the module and those inside it have as strides, as far as that is known before a call."""
        return []


class Watch:
    """What is to be seen of the modules inside; parts: {path: part}, seen: {("input" or "output", part): array}."""

    def __init__(self, observed: Mapping[str, str]):
        self.parts = {path: part for part, path in observed.items()}
        self.seen: dict[tuple[str, str], Any] = {}


class JaxHandle(ModuleHandle):
    """A Form with its arrays; what it is made from is never changed.

    A call is compiled once for each shape. `_calls` seeds the random numbers: no two calls have the same.
    """

    def __init__(self, framework: Any, form: Form) -> None:
        self.framework, self.jax, self.form = framework, framework.jax, form
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.calls, self.watches = 0, True
        self._arrays: dict[str, Any] = {}
        self._compiled: dict[Any, tuple[Callable, Callable]] = {}

    def build(self, x: Any) -> None:
        """Let it say which arrays it has; nothing is computed."""
        if self.form.is_started:
            return
        errors = []
        for dtype in dict.fromkeys((str(x.dtype), "float32", "float64")):  # parameters may be made in one of them alone
            try:
                self.form.start(self.jax.ShapeDtypeStruct(x.shape, dtype))
                break
            except Exception as error:
                errors.append(error)
        else:
            raise errors[0]
        self.form.is_started = True

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(leaf.shape) for name, leaf in self._started().parameters.items()}

    def _started(self):
        """The form; one that has to be called is started with images that suit most modules."""
        if not self.form.is_started:
            self.build(self.framework.images(np.zeros((1, 8, 8, CHANNELS), np.float32)))
        return self.form

    def value(self, name: str) -> Host:
        return np.array(self._current({name})[name])

    @property
    def buffers(self) -> dict[str, Host]:
        names = list(self._started().buffers)
        current = self._current(set(names))
        return {name: np.array(current[name]) for name in names}

    @property
    def strides(self) -> list[int]:
        firsts = [stride[0] if isinstance(stride, (tuple, list)) and stride else stride for stride in self.form.strides]
        return [stride for stride in firsts if isinstance(stride, int)]

    def load(self, arrays: Mapping[str, Host], dtype: str) -> None:
        form = self._started()
        shapes = {**form.parameters, **form.buffers}
        unknown = [name for name in arrays if name not in shapes]
        if unknown:
            raise InputError(f"the module has no array {unknown[0]}")
        given = {name: np.asarray(array).reshape(shapes[name].shape).astype(shapes[name].dtype)
                 if np.dtype(shapes[name].dtype).kind != "f" else np.asarray(array).reshape(shapes[name].shape)
                 for name, array in arrays.items()}
        self._arrays |= form.completed(self._current(shapes.keys() - given.keys()) | given, set(given))
        self._arrays = {name: self._cast(array, dtype) for name, array in self._arrays.items()}

    def _cast(self, array, dtype):
        array = self.jax.numpy.asarray(array)
        return array.astype(dtype) if self.jax.numpy.issubdtype(array.dtype, self.jax.numpy.floating) else array

    def _current(self, names):
        """The arrays called so, and all others that are known; the module makes those that are not."""
        missing = {name for name in names if name not in self._arrays}
        if missing:
            with self.framework.compiling_fast():
                self._arrays = {**self.form.initial(missing), **self._arrays}
        return dict(self._arrays)

    def call(self, x: Host, training: bool | str, *, observed: Mapping[str, str] | None = None,
             with_gradients: bool = True, with_input_gradient: bool = True, **options: Any) -> Any:
        output, seen, _ = self._run(x, training, observed or {}, options, with_input_gradient)
        hosts = {place: self.framework.host(array) for place, array in seen.items()}
        self.inputs = {part: array for (kind, part), array in hosts.items() if kind == "input"}
        self.outputs = {part: array for (kind, part), array in hosts.items() if kind == "output"}
        return output

    def call_and_watch(self, x: Host, training: bool) -> tuple[Any, Host | None]:
        """(the output, the weight of the first convolution that was called, as the framework has them)."""
        output, _, weights = self._run(x, training, {}, {}, True)
        return output, self.framework.host(weights[0]) if weights else None

    def gradients(self, output: Any, cotangent: Host) -> tuple[Host | None, dict[str, Host | None]]:
        x_grad, grads = self._backward(*self._given, self.jax.numpy.asarray(cotangent).astype(output.dtype))
        hosts = {name: self.framework.host(grads[name]) for name in self.parameters}
        return None if x_grad is None else self.framework.host(x_grad), hosts

    def _run(self, x, training, observed, options, by_x):
        """(output, what was observed, the weights of convolutions)."""
        x = self.jax.numpy.asarray(x)
        self.build(x)
        arrays = self._current({*self.form.parameters, *self.form.buffers})
        parameters = {name: arrays.pop(name) for name in self.form.parameters}
        key, self.calls = self.jax.random.PRNGKey(self.calls), self.calls + 1
        self._given = x, parameters, arrays, key
        try:
            forward, self._backward = self._functions(training, observed, options, by_x)
            output, (seen, changed, weights) = forward(*self._given)
        except self.jax.errors.UnexpectedTracerError:  # the module compiles its convolution by itself
            if not self.watches:
                raise
            self.watches = False
            return self._run(x, training, observed, options, by_x)
        self._arrays |= changed
        return output, seen, weights

    def _functions(self, training, observed, options, by_x):
        """Two compiled functions: (x, parameters, other arrays, key) -> (output, (seen, changed arrays, weights)), and
        the derivatives by x, or None, and by the parameters, with a cotangent as a further argument.
        """
        def forward(x, parameters, others, key, watches=self.watches):
            watch = Watch(observed)
            with watching(self.jax, self.framework.channels_first) if watches else contextlib.nullcontext([]) as found:
                output, changed = self.form.run({**parameters, **others}, x, key, training, options, watch)
            return _array_in(output), (watch.seen, changed, found[:1])

        def backward(x, parameters, others, key, cotangent):
            def output(x, parameters):
                return forward(x, parameters, others, key, watches=False)[0]

            if by_x:
                return self.jax.vjp(output, x, parameters)[1](cotangent)
            return None, *self.jax.vjp(functools.partial(output, x), parameters)[1](cotangent)

        which = training, repr(observed), repr(options), self.watches, by_x
        if which not in self._compiled:
            self._compiled[which] = self.framework.compiled(forward), self.framework.compiled(backward)
        return self._compiled[which]

    def __call__(self, x: Any) -> Any:
        """The output in training, as a function that can be differentiated; with the arrays that it has."""
        self.build(x)
        arrays = self._current({*self.form.parameters, *self.form.buffers})
        arrays = {name: self._cast(array, x.dtype) for name, array in arrays.items()}
        return self.form.run(arrays, x, self.jax.random.PRNGKey(0), True, {}, Watch({}))[0]


def _array_in(output: Any) -> Any:
    """The array that a module returns, in a dict called "logits", or the first of several."""
    if isinstance(output, dict):
        output = output.get("logits", next(iter(output.values()), None))
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return expect_array(getattr(output, "logits", output))


@contextlib.contextmanager
def watching(jax: Any, outputs_first: bool) -> Iterator[list[Any]]:
    """The weights of the convolutions that are called inside, OIHW or HWIO, whatever layout each is called with."""
    weights: list[Any] = []
    primitive = jax.lax.conv_general_dilated_p
    bind = primitive.bind

    def watched(images, weight, *further, **options):
        order = options["dimension_numbers"].rhs_spec  # the axes of outputs, inputs and pixels
        weight_first = weight.transpose(order)
        weights.append(weight_first if outputs_first else weight_first.transpose(*range(2, weight.ndim), 1, 0))
        return bind(images, weight, *further, **options)

    with mock.patch.object(primitive, "bind", watched):
        yield weights
