"""Normalizations: modules and their factories, and functions of x, gamma and beta."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, framework_of
from . import Adapter
from .guarded_call import guarded, guarding
from .norm_runs import GROUPS, ROLES, RUNNING, FunctionRuns, ModuleRuns, kind_of
from .signatures import cannot_be_made, first_named, parameter_names, parameters_of, required, unusable

CHANNELS = ("num_features", "num_channels", "channels", "normalized_shape", "n_channels", "features", "c", "dim")


def norm_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """The Adapter; InputError for anything that is neither a module or its factory nor a function of x.

    fixed: has_affine, takes_groups, and for a module that exists already its channels, and pixels (N, H, W) or None.
    """
    framework, options = framework_of(target, wish), dict(options)
    if not callable(target) and not framework.is_module(target):
        raise InputError(f"norm: expected something to call, got {target!r}")
    layout = options.pop("layout", None)
    if layout not in (None, "NHWC", "NCHW"):
        raise InputError(f"norm: layout={layout!r}: expected NHWC or NCHW")
    first = layout == "NCHW" if layout else framework.channels_first
    names = parameter_names(target)
    is_module = framework.has_modules and framework.is_module(target)
    if not is_module and not isinstance(target, type) and names[:1] and names[0].lower() in ROLES["x"]:
        run = FunctionRuns(target, framework, options, first)
        fixed = {"has_affine": run.roles["gamma"] is not None or run.roles["beta"] is not None,
                 "takes_groups": run.groups is not None}
        return Adapter(guarding("norm", run), framework, fixed)
    if not framework.has_modules:
        raise unusable("norm", target, "a function whose first parameter is x, or a module or its factory in a "
                       "framework that has modules")
    return _of_module(target, framework, options, layout, is_module)


def _of_module(target, framework, options, layout, is_module):
    """The Adapter of a module, or of a class or factory."""
    made, fixed, takes_groups = target, {}, False
    factory = None
    if not is_module:
        options = {**framework.further_arguments(target), **options}
        factory = _Factory(target, options, framework)
        takes_groups = factory.groups is not None
        if factory.channels is None and not takes_groups:
            made = guarded("norm", framework.made, target, **options)
        else:
            made = guarded("norm", factory, 64, 32)
        if not framework.is_module(made):
            raise InputError(f"norm: expected a module, the target made {kind_of(made)}")
        if factory.channels is None and not takes_groups and not framework.has_layers:
            factory = None
    run = ModuleRuns(factory or (lambda channels, groups: made), framework, layout, owned=factory is not None)
    handle = framework.module(made)
    guarded("norm", handle.build, np.zeros((2, 3, 3, 64), np.float32))
    shapes = run.leaves_of(handle)
    if factory is None:
        fixed = _fixed(shapes, made)
    return Adapter(guarding("norm", run), framework,
                   {"has_affine": "gamma" in shapes or "beta" in shapes, "takes_groups": takes_groups, **fixed},
                   notes=_notes(fixed))


def _notes(fixed):
    if not fixed:
        return ()
    return (f"the module has {fixed['channels']} channels",)


def _fixed(shapes, module):
    """The channels, and the pixels where parameters depend on them, of a module that exists already."""
    shape = next((shape for role in ("gamma", "beta", *RUNNING) if (shape := shapes.get(role, (None, ()))[1])), None)
    channels = next((size for size in shape if size != 1), 1) if shape else getattr(
        module, "num_features", getattr(module, "num_channels", 64))
    large = shape is not None and sum(size != 1 for size in shape) > 1
    return {"channels": int(channels), "pixels": (3, *shape[-2:]) if large and len(shape) == 3 else None}


class _Factory:
    """A class or function that makes a module of (channels) or (groups, channels), told by the parameters' names."""

    def __init__(self, target: Callable, options: Mapping[str, Any], framework: Framework):
        self.target, self.options, self.framework = target, options, framework
        names = [name for name in parameter_names(target) if name not in options]
        self.groups = first_named(names, GROUPS)
        self.channels = first_named(names, CHANNELS)
        needed = [name for name in required(parameters_of(target)) if name not in options and name != self.groups]
        if self.channels is None and needed:
            self.channels = needed[0]
        missing = [name for name in needed if name != self.channels]
        if missing:
            raise cannot_be_made("norm", missing)

    def __call__(self, channels: int, groups: int) -> Any:
        given = {self.channels: channels, self.groups: groups}
        return self.framework.made(self.target, **{name: value for name, value in given.items() if name is not None},
                                   **self.options)
