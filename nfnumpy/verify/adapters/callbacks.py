"""Callbacks of trainers that clip gradients: called with what they use of a trainer and a model.

Lightning: a hook between the backward pass and the optimizer's step gets (trainer, module) or (trainer, module,
optimizer). Composer: an algorithm has match(event, state) and apply(event, state, logger), and state.model.
Transformers: a hook gets (args, state, control) and, by name, model and optimizer.
"""

import enum
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .agc_functions import FROZEN, SHARES, SUFFIXES, clipped, start_again
from .agc_target import ClippingTarget
from .signatures import parameter_names

EACH_PASS = "on_after_backward"  # is called after every backward pass, the others before the optimizer's step
EVENT = "AFTER_TRAIN_BATCH"  # of Composer
TRANSFORMERS = "on_pre_optimizer_step"
HOOKS = ("on_before_optimizer_step", EACH_PASS, "on_before_zero_grad", TRANSFORMERS)


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

        def call():
            given, named = _arguments(known, called, hook, leaves)
            called(*given, **named)

        if use == "accumulated":
            _in_two_passes(known, case, leaves, call if hook == EACH_PASS else lambda: None)
        if use == "second":
            call()
            start_again(known, case, leaves)
        call()
        suffix = "" if use == "plain" else SUFFIXES[use]
        return {clipped(name, suffix): known.from_target(leaf.grad) for name, leaf in leaves.items()
                if leaf.grad is not None}
    return run


def _in_two_passes(known, case, leaves, between):
    """Let gradients be added up over two backward passes, with a call between them."""
    grads = {name: grad for name, (_, grad) in known.pairs(case).items()}
    for name, leaf in leaves.items():
        leaf.grad = SHARES[0] * grads[name]
    between()
    for name, leaf in leaves.items():
        leaf.grad = leaf.grad + SHARES[1] * grads[name]


def _arguments(known, called, hook, leaves):
    """(positional arguments, keywords) of a hook."""
    model = known.model(leaves)
    if hook == "apply":
        return (_event_of(called), _State(model=model), None), {}
    optimizer = known.framework.sgd(list(leaves.values()), lr=0.1)
    if hook == TRANSFORMERS:
        return (types.SimpleNamespace(),) * 3, {"model": model, "optimizer": optimizer}
    given = (types.SimpleNamespace(optimizers=[optimizer], model=model), model, optimizer)
    return given[:len(parameter_names(called))], {}


class _State(types.SimpleNamespace):
    """Composer's state, as far as it is known; None for the rest."""

    def __getattr__(self, name: str) -> None:
        return None


def _event_of(apply):
    """The member AFTER_TRAIN_BATCH of the enumeration that the algorithm's own file knows, or what has its name."""
    known = vars(inspect.getmodule(apply) or types.SimpleNamespace()).values()
    enumerations = (each for each in known if isinstance(each, type) and issubclass(each, enum.Enum))
    return next((each[EVENT] for each in enumerations if EVENT in each.__members__), types.SimpleNamespace(name=EVENT))
