"""Layers and networks of Keras's and modules of TensorFlow's: variables by name, calls, gradients, observation."""

import contextlib
import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...errors import InputError
from .base import Host, ModuleHandle
from .layer_observation import calling, keeping, training_alone
from .layer_variables import Place, layers_of, places_of

TRAINING = ("training", "train", "is_training")
WEIGHT = "weight of the first convolution"
PLAIN_POLICIES = ("float64", "float32", "float16", "bfloat16")


class Derivatives(Protocol):
    """How a call is differentiated: see tape.py and layer_derivatives.py."""

    def run(self, call: Callable[[Any], tuple[Any, dict]], x: Host, parameters: Sequence[Any], buffers: Sequence[Any],
            with_gradients: bool) -> tuple[Any, dict]:
        """call(x), remembered for `gradients`."""

    def gradients(self, output: Any, cotangent: Host) -> list[Any | None]:
        """By x and by all parameters."""

    def watched_convolutions(self) -> contextlib.AbstractContextManager[list[Any]]:
        """The weights of the convolutions that are called inside."""


class LayerHandle(ModuleHandle):
    """A layer or network of Keras's, or a module of TensorFlow's.

    Layers cannot be copied in general. One that is not `owned` gets copies of its variables for as long as the handle
    exists, and its own ones afterwards.
    """

    def __init__(self, framework: Any, target: Any, owned: bool) -> None:
        self.framework, self.target, self.is_owned = framework, target, owned
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self._is_built = getattr(target, "built", False)

    def __call__(self, x: Any, **options: Any) -> Any:
        return self.target(x, **options)

    def build(self, x: Host) -> None:
        """Call it once, so that it makes its variables."""
        if not self._is_built:
            is_layer = isinstance(self.target, self.framework.keras.layers.Layer)  # which casts what it is given
            self._called(self.framework.first_input(x if is_layer else x.astype(self._dtype)), False, {})
            self._is_built = True

    @property
    def _places(self) -> dict[str, Place]:
        framework = self.framework
        return places_of(self.target, framework.is_variable, framework.is_module, framework.internal)

    @property
    def _dtype(self) -> str:
        """The dtype of the first floating variable."""
        dtypes = (str(self.framework.value_of(place.variable).dtype) for place in self._places.values())
        return next((dtype for dtype in dtypes if dtype in PLAIN_POLICIES), "float32")

    @property
    def _trainable(self) -> set[int]:
        """The ids of the variables that training changes."""
        if isinstance(self.target, self.framework.keras.layers.Layer):
            return {id(variable) for variable in self.target.trainable_variables}
        return {id(place.variable) for place in self._places.values() if place.variable.trainable}

    def _parts(self) -> tuple[dict[str, Place], dict[str, Place]]:
        """(parameters, buffers)."""
        trainable, places = self._trainable, self._places
        return ({name: place for name, place in places.items() if id(place.variable) in trainable},
                {name: place for name, place in places.items() if id(place.variable) not in trainable})

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(place.variable.shape) for name, place in self._parts()[0].items()}

    def value(self, name: str) -> Host:
        return self.framework.value_of(self._places[name].variable)

    @property
    def buffers(self) -> dict[str, Host]:
        return {name: self.framework.value_of(place.variable) for name, place in self._parts()[1].items()}

    @property
    def strides(self) -> list[int]:
        """The strides along the first axis of all layers that have one."""
        layers = self._layers().values()
        strides = [getattr(layer, "strides", None) or getattr(layer, "stride", None) for layer in layers]
        strides = [stride[0] if isinstance(stride, (tuple, list)) else stride for stride in strides]
        return [stride for stride in strides if isinstance(stride, int)]

    def to(self, dtype: str) -> None:
        """Bring layers and floating variables to `dtype`, but for layers that compute in two dtypes on purpose."""
        self._borrow()
        policy = self.framework.keras.DTypePolicy(dtype)
        for layer in self._layers().values():
            if getattr(getattr(layer, "dtype_policy", None), "name", None) in PLAIN_POLICIES:
                layer.dtype_policy = policy
        for place in self._places.values():
            self._convert(place, dtype)

    def _convert(self, place, dtype):
        now = self.framework.value_of(place.variable)
        if str(now.dtype) != dtype and str(now.dtype) in PLAIN_POLICIES:
            self._replace(place, now.astype(dtype))

    def _replace(self, place, value):
        """Give a variable another array, of any dtype."""
        variable = place.variable
        if isinstance(variable, self.framework.keras.Variable):
            variable._dtype = str(value.dtype)
            variable._initialize(self.framework.array(value))
        else:
            place.replace(type(variable)(value, trainable=variable.trainable, name=variable.name.partition(":")[0]))

    def _borrow(self):
        """Leave the target's own variables untouched from now on, and give them back when the handle is gone."""
        if self.is_owned:
            return
        self.is_owned, places = True, list(self._places.values())
        own = [(place.variable, vars(place.variable).get("_dtype"), vars(place.variable).get("_value"))
               for place in places]
        policies = [(layer, layer.dtype_policy) for layer in self._layers().values() if hasattr(layer, "dtype_policy")]
        for place in places:
            self._replace(place, self.framework.value_of(place.variable))
        weakref.finalize(self, _give_back, self.framework.keras.Variable, places, own, policies)

    def _layers(self):
        """{path: layer}; the target itself is ""."""
        return layers_of(self.target, self.framework.is_module, self.framework.internal)

    def load(self, arrays: Mapping[str, Host], dtype: str) -> None:
        self.to(dtype)
        places = self._places
        for name, array in arrays.items():
            variable = places[name].variable
            variable.assign(np.asarray(array).reshape(tuple(variable.shape)).astype(self.framework.value_of(variable).dtype))

    def call(self, x: Host, training: bool | str, *, observed: Mapping[str, str] | None = None,
             with_gradients: bool = True, with_input_gradient: bool = True, **options: Any) -> Any:
        output, seen = self._run(lambda given: self._observed(given, training, observed or {}, options), x,
                                 with_gradients)
        hosts = {place: self.framework.host(array) for place, array in seen.items()}
        self.inputs = {part: array for (kind, part), array in hosts.items() if kind == "input"}
        self.outputs = {part: array for (kind, part), array in hosts.items() if kind == "output"}
        return output

    def call_and_watch(self, x: Host, training: bool) -> tuple[Any, Host | None]:
        """(the output, the weight of the first convolution of the framework's that was called)."""
        def called(given):
            with self.framework.derivatives.watched_convolutions() as weights:
                output = self._called(given, training, {})
            return output, {WEIGHT: weights[0]} if weights else {}

        output, seen = self._run(called, x, True)
        return output, self.framework.host(seen[WEIGHT]) if seen else None

    def gradients(self, output: Any, cotangent: Host) -> tuple[Host | None, dict[str, Host | None]]:
        by_x, *grads = self.framework.derivatives.gradients(output, cotangent)
        hosts = [None if grad is None else self.framework.host(grad) for grad in (by_x, *grads)]
        return hosts[0], dict(zip(self._parts()[0], hosts[1:], strict=True))

    def _run(self, called, x, with_gradients):
        """(the output, {place: what was observed there}) of a function of the framework's array."""
        self.build(x)
        self._borrow()
        parameters = [place.variable for place in self._parts()[0].values()]
        of_layers = getattr(self.target, "variables", ())
        kept = {id(variable) for variable in parameters}
        others = [variable for variable in of_layers if id(variable) not in kept]
        return self.framework.derivatives.run(called, np.array(x), parameters, others, with_gradients)

    def _called(self, given, training, options):
        """The output of the target, with the flag for training as it calls it."""
        try:
            known = inspect.signature(self.framework.unbound_call(self.target)).parameters
        except (TypeError, ValueError):
            known = {}
        name = next((name for name in TRAINING if name in known), None)
        anything = isinstance(self.target, self.framework.keras.layers.Layer)
        flag = {name or "training": training is True} if name or anything else {}
        return self.target(given, **flag, **options)

    def _observed(self, given, training, observed, options):
        """(the output, {("input" or "output", part): array}) with the calls of some layers observed."""
        layers, seen = self._layers(), {}
        lost = [path for path in observed.values() if path not in layers]
        if lost:
            raise InputError(f"the target has no layer {lost[0]}")
        with contextlib.ExitStack() as stack:
            for part, path in observed.items():
                stack.enter_context(self._calling(layers[path], keeping(part, seen)))
            for layer in layers.values() if training == "statistics" else ():
                if self._has_statistics(layer):
                    stack.enter_context(self._calling(layer, training_alone))
            return self._called(given, training is True, options), seen

    def _calling(self, layer, changed):
        return calling(layer, changed, isinstance(layer, self.framework.keras.layers.Layer))

    def _has_statistics(self, layer):
        """Whether a layer has variables of its own that training changes without a gradient."""
        if "training" not in inspect.signature(self.framework.unbound_call(layer)).parameters:
            return False
        own = [value for value in vars(layer).values() if self.framework.is_variable(value)]
        return any(not value.trainable and len(value.shape) for value in own)


def _give_back(keras_variable: Any, places: Sequence[Place], own: Sequence[tuple], policies: Sequence[tuple]) -> None:
    """Put variables and dtypes back as they were."""
    for place, (variable, dtype, value) in zip(places, own, strict=True):
        if isinstance(variable, keras_variable):
            variable._dtype, variable._value = dtype, value
        else:
            place.replace(variable)
    for layer, policy in policies:
        layer.dtype_policy = policy
