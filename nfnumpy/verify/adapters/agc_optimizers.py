"""Runs of optimizers that clip, and of wrappers around optimizers, as they are used in training.

The clipped gradients follow from the parameters' changes: the step is so large that w - lr·g, subtracted from w, is g
to the last bit. Those of an optimizer whose step is no multiple of the gradient, such as Adam, are what it leaves there
after a step. Gradients come from a backward pass, because some targets clip them in its hooks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from . import RECORDED
from .agc_functions import FROZEN, LARGE_STEP, SHARES, SUFFIXES, clipped
from .agc_target import ClippingTarget, weights_of
from .layer_factories import all_parameters
from .signatures import parameter_names, takes_any_keyword

PLAIN = dict(momentum=0.0, nesterov=False, dampening=0.0)
USES = ("second", "generator", "closure", "restored", "frozen", "accumulated", "groups")
CALLS = "calls of the closure"
LOSS = "loss returned by step(closure)"
A_LOSS = 3.0
HARDLY_ANY = 1e-300  # a momentum that is not 0 and changes no number
CHANGE_OF_FROZEN = "change of a parameter without a gradient"


def _arranged(leaves, use):
    """The parameters in the form of a use."""
    parameters = list(leaves.values())
    if use == "generator":
        return (parameter for parameter in parameters)
    if use == "groups":
        half = len(parameters) // 2
        return [{"params": parameters[:half]}, {"params": parameters[half:]}]
    return parameters


class OptimizerRun:
    """The function of an input case; parameters, model, optimizer: the target's own names of these, or None."""

    def __init__(self, target: ClippingTarget, parameters: str | None, model: str | None, optimizer: str | None):
        self.target, self.parameters, self.model, self.optimizer = target, parameters, model, optimizer
        self.known = all_parameters(target.target)
        self.is_adaptive = not optimizer and target.framework.is_adaptive(target.target)

    @property
    def notes(self) -> tuple[str, ...]:
        """For the report."""
        return ("its step is no multiple of the gradient: the gradients that it leaves after a step are compared, and "
                "without weight decay",) if self.is_adaptive else ()

    def __call__(self, case: Any) -> Mapping[str, np.ndarray]:
        """The clipped gradients, without and with weight decay, or those of one use."""
        use = case.options["use"]
        if use != "plain":
            return self._used(case, use)
        outputs: dict[str, np.ndarray] = {}
        decays = ((0.0, ""), (case.options["weight_decay"], " with weight decay"))
        for weight_decay, suffix in decays[:1] if self.is_adaptive else decays:
            leaves = self.target.leaves(case, with_gradients=False)
            optimizer = self._made(case, leaves, list(leaves.values()), weight_decay)
            if optimizer is not None:
                outputs |= self._changes(case, leaves, optimizer, suffix)
        return outputs

    def _used(self, case, use):
        leaves = self.target.leaves(case, with_gradients=False)
        optimizer = self._made(case, leaves, _arranged(leaves, use))
        if use == "closure":
            return self._by_closure(case, leaves, optimizer)
        if use == "restored":
            return self._restored(case, leaves, optimizer)
        if use in ("second", "generator"):
            self._changes(case, leaves, optimizer, "")
            self._reset(case, leaves)
        if use == "frozen":
            return self._beside_a_frozen_one(case, leaves, optimizer)
        return self._changes(case, leaves, optimizer, SUFFIXES[use], SHARES if use == "accumulated" else (1.0,))

    def _made(self, case: Any, leaves: Mapping[str, Any], given: Any, weight_decay: float = 0.0) -> Any:
        """The optimizer of the parameters, `given` in one form; None where it takes no weight decay but is to have one.
        """
        known, settings = self.target, self.target.settings(case)
        if self.optimizer is not None:
            own = given if isinstance(given, list) or self.parameters is None else list(leaves.values())
            settings[self.optimizer] = known.framework.sgd(own, lr=LARGE_STEP, weight_decay=weight_decay)
        else:
            anything = takes_any_keyword(self.known) and not self.is_adaptive
            own = {**PLAIN, "lr": LARGE_STEP, "weight_decay": weight_decay}
            settings |= {name: value for name, value in own.items() if name in self.known or anything}
            if weight_decay and "weight_decay" not in settings:
                return None
        if self.parameters is not None:
            settings[self.parameters] = given
        if self.model is not None and (case.options["model"] or self.parameters is None):
            settings[self.model] = known.model(leaves)
        try:
            return known.target(**settings)
        except ValueError:
            if "momentum" not in settings:
                raise
            return known.target(**{**settings, "momentum": HARDLY_ANY})  # it has Nesterov momentum, which must be one

    def _backward(self, case, leaves, shares=(1.0,), without=()):
        """Gradients by backward passes of Σ w·share·G, those before them forgotten."""
        framework = self.target.framework
        for leaf in leaves.values():
            leaf.grad = None
        pairs = self.target.pairs(case)
        for share in shares:
            framework.backward_of_products([(leaf, pairs[name][1] * share) for name, leaf in leaves.items()
                                            if name not in without])

    def _changes(self, case, leaves, optimizer, suffix, shares=(1.0,), without=()):
        """The clipped gradients that a step shows."""
        before = {name: self.target.framework.host(leaf).copy() for name, leaf in leaves.items()}
        self._backward(case, leaves, shares, without)
        optimizer.step()
        return self._clipped(leaves, before, suffix)

    def _clipped(self, leaves, before, suffix):
        framework, found = self.target.framework, {}
        for name, leaf in leaves.items():
            if self.is_adaptive and leaf.grad is not None:
                found[clipped(name, suffix)] = self.target.from_target(leaf.grad)
                continue
            change = (before[name] - framework.host(leaf)) / LARGE_STEP
            found[clipped(name, suffix)] = self.target.from_target(framework.array(change))
        return found

    def _reset(self, case, leaves):
        """The parameters that the second step starts from."""
        for name, (param, _) in self.target.pairs(case).items():
            self.target.framework.assign(leaves[name], weights_of(case.options["use"]) * param)

    def _by_closure(self, case, leaves, optimizer):
        if not parameter_names(optimizer.step):
            raise InputError("agc: its step takes no closure")
        before = {name: self.target.framework.host(leaf).copy() for name, leaf in leaves.items()}
        for leaf in leaves.values():
            leaf.grad = leaf.detach() * 0.0
        calls, recorded, framework = 0, True, self.target.framework

        def closure():
            nonlocal calls, recorded
            calls, recorded = calls + 1, recorded and framework.is_recording()
            with framework.recording():
                self._backward(case, leaves)
            return framework.array(np.asarray(A_LOSS))

        returned = optimizer.step(closure)
        after = {RECORDED: np.asarray(float(recorded)),
                 LOSS: framework.host(np.nan if returned is None else returned)} if calls else {}
        return {CALLS: np.asarray(float(calls)), **self._clipped(leaves, before, SUFFIXES["closure"]), **after}

    def _restored(self, case, leaves, optimizer):
        """A step of a new optimizer that got the state of one that has made a step."""
        if not hasattr(optimizer, "state_dict") or not hasattr(optimizer, "load_state_dict"):
            raise InputError("agc: it has no state_dict and load_state_dict")
        self._changes(case, leaves, optimizer, "")
        self._reset(case, leaves)
        state = optimizer.state_dict()
        again = self._made(case, leaves, list(leaves.values()))
        again.load_state_dict(state)
        return self._changes(case, leaves, again, SUFFIXES["restored"])

    def _beside_a_frozen_one(self, case, leaves, optimizer):
        found = self._changes(case, leaves, optimizer, SUFFIXES["frozen"], without=(FROZEN,))
        change = found.pop(clipped(FROZEN, SUFFIXES["frozen"]))
        return {CHANGE_OF_FROZEN: change, **found}
