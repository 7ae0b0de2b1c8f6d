"""Modules as networks, with the inputs and outputs of the modules that contain a block's parameters."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework
from .guarded_call import guarded

Trace = dict[str, np.ndarray]
USUAL_SHAPE = (64, 64, 3)
INPUT_OF = {"blocks.0": "stem", "linear": "pooled features"}  # the part whose output is the input of these


class ModuleModel:
    """A module of a framework; a copy of it is run."""

    can_train = True

    def __init__(self, module: Any, framework: Framework, options: Mapping[str, Any]):
        self.framework, self.options = framework, options
        self.module = guarded("model", framework.module, module)
        self.image_size: int | None = None  # that it is made for, if it takes no other
        if framework.has_layers:
            shape, self.image_size = image_shape(module)
            guarded("model", self.module.build, framework.images(np.zeros((1, *shape), np.float32)))
        self.shapes = {**self.module.parameters, **{name: array.shape for name, array in self.module.buffers.items()
                                                    if array.ndim and array.dtype.kind == "f"}}
        if not self.module.parameters:
            raise InputError(f"model: {type(module).__name__} has no parameters")
        self.outputs_first, self.channels_first = framework.channels_first, framework.channels_first
        self.places: dict[str, str] = {}
        self.channels_last: bool | None = None

    def attach(self, names: Mapping[str, str]) -> None:
        """Find the modules of blocks and head; names: their parameter's name -> ours."""
        owned: dict[str, list[str]] = {}
        for name, our in names.items():
            part = ".".join(our.split(".")[:2]) if our.startswith("blocks.") else our.split(".")[0]
            owned.setdefault(part, []).append(name)
        for part, own in owned.items():
            path = _common_path(own)
            inside = [name for name in names if name.startswith((f"{path}.", f"{path}/"))]
            if path and len(inside) == len(own) and (part.startswith("blocks.") or part == "linear"):
                self.places[part] = _widened(path, own, names) if part.startswith("blocks.") else path

    def run(self, arrays: Mapping[str, np.ndarray], images: np.ndarray,
            cotangent_of: Callable[[np.ndarray], np.ndarray] | None,
            dtype: str, training: bool = False) -> tuple[Trace, dict[str, np.ndarray] | None]:
        """(trace, gradients) in evaluation mode; see adapters/model.py.

        training: whether modules with running statistics, and those alone, are in training mode.
        """
        with self.framework.computing_in(dtype):
            guarded("model", self.module.load, arrays, dtype)
            return guarded("model", self._run, images, cotangent_of, dtype, "statistics" if training else False)

    def statistics(self) -> Mapping[str, np.ndarray]:
        """The target's buffers after the last run, by its names."""
        return self.module.buffers

    def run_in_training(self, arrays: Mapping[str, np.ndarray], images: np.ndarray, dtype: str) -> Trace:
        """The trace in training mode, with the input of each block: "input of blocks.K"."""
        with self.framework.computing_in(dtype):
            guarded("model", self.module.load, arrays, dtype)
            trace, _ = guarded("model", self._run, images, None, dtype, training=True)
        return trace

    def _run(self, images, cotangent_of, dtype, training=False):
        logits = self._logits(images, dtype, training, with_gradients=cotangent_of is not None)
        trace = {}
        for part in self.places:
            entering = self.module.inputs.get(part)
            if entering is not None:
                if part in INPUT_OF:
                    trace.setdefault(INPUT_OF[part], entering)
                if training is True and part != "linear":
                    trace.setdefault(f"input of {part}", entering)
            if part != "linear" and part in self.module.outputs:
                trace.setdefault(part, self.module.outputs[part])
        trace["logits"] = self.framework.host(logits)
        if cotangent_of is None:
            return trace, None
        _, grads = self.module.gradients(logits, cotangent_of(trace["logits"]))
        return trace, {name: np.zeros(self.shapes[name]) if grad is None else grad for name, grad in grads.items()}

    def _logits(self, images, dtype, training, with_gradients):
        """The logits of images (N, H, W, C), in the framework's layout, or in ours if the module takes no other."""
        def logits(channels_last):
            given = images if channels_last else self.framework.images(images)
            out = self.module.call(np.ascontiguousarray(given).astype(dtype), training, observed=self.places,
                                   with_gradients=with_gradients, with_input_gradient=False, **self.options)
            return logits_of(out)

        if self.channels_last is not None:
            return logits(self.channels_last)
        try:
            result = logits(False)
        except (Exception, SystemExit) as usual:  # of the two errors, that of the usual layout is more informative
            try:
                result = logits(True)
            except (Exception, SystemExit):
                raise usual from None
            self.channels_last = True
            return result
        self.channels_last = False
        return result


def image_shape(module: Any) -> tuple[tuple[int, int, int], int | None]:
    """((H, W, C) of images that a network of Keras's takes, H if it takes no other)."""
    shape = getattr(module, "input_shape", None) if getattr(module, "inputs", None) else None
    height, width, channels = shape[1:] if isinstance(shape, tuple) and len(shape) == 4 else (None, None, None)
    return (height or USUAL_SHAPE[0], width or USUAL_SHAPE[1], channels or USUAL_SHAPE[2]), height


def _common_path(names: Sequence[str]) -> str:
    """The path of the innermost module that contains all these parameters; Haiku's have slashes, and "~"."""
    paths = [re.split(r"([./])", name)[:-2] for name in names]
    common = paths[0]
    for path in paths[1:]:
        length = min(len(common), len(path))
        common = common[:next((k for k in range(length) if common[k] != path[k]), length)]
    return "".join(common).rstrip("./~")


def _widened(path: str, own: Collection[str], names: Iterable[str]) -> str:
    """The path of the module around a part that has all of a block's parameters, such as the sequence of its branch.

    The shortcut is added there. A module with a number for a name is in a sequence, which adds nothing.
    """
    others = [name for name in names if name not in own]
    while not path.rpartition(".")[2].isdigit():
        around = path.rpartition(".")[0]
        if not around or any(name.startswith(f"{around}.") for name in others):
            break
        path = around
    return path


def logits_of(out: Any) -> Any:
    """The logits in a network's result: an array, the first of a tuple, or the entry or attribute `logits`."""
    if isinstance(out, dict):
        out = out["logits"]
    elif hasattr(out, "logits"):
        out = out.logits
    elif isinstance(out, (tuple, list)) and out:
        out = out[0]
    if not hasattr(out, "shape"):
        raise InputError(f"model: the target returned {'None' if out is None else type(out).__name__}, expected logits")
    return out
