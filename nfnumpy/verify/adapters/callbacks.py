"""Callbacks of trainers (Lightning, Composer) that clip gradients: called with what they use of a trainer and a model.

Lightning: a hook between the backward pass and the optimizer's step gets (trainer, module) or (trainer, module,
optimizer). Composer: an algorithm has match(event, state) and apply(event, state, logger), and state.model.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .agc_functions import FROZEN, SUFFIXES, clipped
from .agc_target import ClippingTarget
from .signatures import parameter_names

HOOKS = ("on_before_optimizer_step", "on_after_backward", "on_before_zero_grad")


def callback_of(target: Any) -> str | None:
    """The name of the method of a class or object that a trainer would call to clip, or None."""
    if inspect.isfunction(target) or inspect.ismodule(target):
        return None
    own = target if isinstance(target, type) else type(target)
    if hasattr(own, "match") and hasattr(own, "apply"):
        return "apply"
    for hook in HOOKS:
        defined = getattr(own, hook, None)
        if defined is not None and len(inspect.signature(defined).parameters) >= 3:  # self, trainer, module
            return hook
    return None


def of_a_callback(known: ClippingTarget, hook: str) -> Callable[[Any], Mapping[str, np.ndarray]]:
    """The run of a callback's class, which is made for every case, or of an object."""
    def run(case):
        use, leaves = case.options["use"], known.leaves(case)
        if use == "frozen":
            leaves[FROZEN].grad = None
        made = known.target(**known.settings(case)) if isinstance(known.target, type) else known.target
        called = getattr(made, hook)
        called(*_arguments(known, called, hook, leaves))
        suffix = "" if use == "plain" else SUFFIXES[use]
        return {clipped(name, suffix): known.from_target(leaf.grad) for name, leaf in leaves.items()
                if leaf.grad is not None}
    return run


def _arguments(known, called, hook, leaves):
    model = known.model(leaves)
    if hook == "apply":
        return types.SimpleNamespace(name="AFTER_TRAIN_BATCH"), types.SimpleNamespace(model=model), None
    optimizer = known.framework.sgd(list(leaves.values()), lr=0.1)
    return (types.SimpleNamespace(optimizers=[optimizer], model=model), model, optimizer)[:len(parameter_names(called))]
