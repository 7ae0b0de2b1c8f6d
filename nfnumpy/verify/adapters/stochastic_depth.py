"""Stochastic depth: functions of (x, rate, training) and modules made for a rate, distinguished by their names."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework, framework_of
from . import Adapter
from .guarded_call import guarding
from .signatures import parameter_names

RATES = ("rate", "drop_rate", "drop_prob", "drop_path_rate", "drop_path", "drop", "prob", "p", "dropout_rate",
         "stochdepth_rate", "stochastic_depth_rate", "stochastic_depth_prob", "probability", "drop_connect_rate",
         "drop_connect_prob", "drop_connect", "drop_path_prob")
KEEPS = ("keep_prob", "keep", "keep_rate", "survival_prob", "survival_rate", "survival_probability", "keep_probability")
TRAININGS = ("training", "train", "is_training")
DETERMINISTICS = ("deterministic", "eval", "inference", "test")
SEEDS = ("seed",)
RANDOMS = ("rng", "key", "rng_key", "prng_key", "generator", "random", "random_state")


def stochastic_depth_adapter(target: Any, wish: str, options: Mapping[str, Any]) -> Adapter:
    """An Adapter with run(x, rate, training, draw) -> (output, gradient of its sum weighed by x, or None).

    x: a host array (N, H, W, C); draw: a whole number that seeds random targets without a state of their own.
    """
    framework = framework_of(target, wish)
    if not callable(target):
        raise InputError(f"stochastic_depth: expected something to call, got {target!r}")
    names = [name for name in parameter_names(target) if name not in options]
    takes_x = bool(names) and not isinstance(target, type) and names[0] not in (*RATES, *KEEPS)
    if not set(names) & {*RATES, *KEEPS}:
        raise InputError("stochastic_depth: expected a function of (x, rate, training) or a module of (rate), the rate "
                         f"by a name such as {', '.join(RATES[:3])} or {KEEPS[0]}; got parameters "
                         f"({', '.join(names) or 'none'})")

    if framework.has_transformations and framework.has_modules:
        transformed = _Transformed(target, framework, options, names, takes_x)
        return Adapter(guarding("stochastic_depth", transformed), framework)

    layers: dict[tuple[float, str], Any] = {}  # a layer may count its draws, so that one is used again

    def made_for(x, rate, training, draw):
        if not framework.has_layers:
            return target(**options, **_arguments(names, rate, training, draw, framework))
        key = rate, str(x.dtype)
        if key not in layers:
            layers[key] = target(**options, **_arguments(names, rate, training, draw, framework))
        return layers[key]

    def called(x, rate, training, draw):
        if takes_x:
            return target(x, **options, **_arguments(names[1:], rate, training, draw, framework))
        made = made_for(x, rate, training, draw)
        if hasattr(made, "train") and hasattr(made, "eval"):
            (made.train if training else made.eval)()
        inner = parameter_names(framework.unbound_call(made))[1:]
        return made(x, **_arguments(inner, rate, training, draw, framework))

    def run(x, rate, training, draw):
        value, grads = framework.value_and_vjp(lambda x: called(x, rate, training, draw), [framework.array(x)], x)
        if grads is None:
            return value, None
        return value, np.zeros(x.shape) if grads[0] is None else grads[0]

    return Adapter(guarding("stochastic_depth", run), framework)


class _Transformed:
    """A module, or a function of x, whose random numbers come from keys; one for every rate."""

    def __init__(self, target: Any, framework: Framework, options: Mapping[str, Any], names: Sequence[str],
                 takes_x: bool):
        self.target, self.framework, self.options, self.names = target, framework, options, names
        self.takes_x, self.modules = takes_x, dict[tuple[float, str], Any]()

    def _module(self, rate):
        known = {name: value for name, value in _arguments(self.names, rate, True, 0, self.framework).items()
                 if name in (*RATES, *KEEPS)}
        if self.takes_x:
            made = self.framework.built(functools.partial(self.target, **known, **self.options), ())
        else:
            given = {**self.framework.further_arguments(self.target), **known, **self.options}
            made = self.framework.made(self.target, **given)
        return self.framework.module(made)

    def __call__(self, x: np.ndarray, rate: float, training: bool, draw: int) -> tuple[np.ndarray, np.ndarray | None]:
        """See stochastic_depth_adapter."""
        key = rate, str(x.dtype)
        if key not in self.modules:
            self.modules[key] = self._module(rate)
        module = self.modules[key]
        module.calls = draw
        out = module.call(x, training)
        value = self.framework.host(out)
        return value, module.gradients(out, x)[0]


def _arguments(names: Sequence[str], rate: float, training: bool, draw: int, framework: Framework) -> dict[str, Any]:
    """The values of the parameters called `names`, as far as the names are known."""
    meanings = ((RATES, rate), (KEEPS, 1.0 - rate), (TRAININGS, training), (DETERMINISTICS, not training),
                (SEEDS, draw))
    given = {name: value for known, value in meanings for name in names if name in known}
    return given | {name: framework.rng(draw) for name in names if name in RANDOMS}
