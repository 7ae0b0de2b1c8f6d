"""Functions of (model or parameters, a function that computes the loss, …) that do a step's two passes.

They leave the gradients of the second pass for an optimizer, or make its step where they get the optimizer.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks import Framework
from .layer_sam import STEPS
from .signatures import Parameters, first_named

CLOSURE = ("closure", "loss_of", "loss_fn", "loss_func", "loss_closure", "compute_loss", "loss_function", "objective",
           "forward_backward", "forward_fn", "get_loss")


class SAMFunction:
    """own: what the target calls the model or the parameters, the loss's function, the optimizer and rho, or None."""

    def __init__(self, target: Callable, framework: Framework, own: Mapping[str, str | None],
                 options: Mapping[str, Any]):
        self.target, self.framework, self.own, self.options = target, framework, own, options
        self.modes = ("backward", "loss") if "closure" in str(own["closure"]) else ("loss", "backward")

    @classmethod
    def of(cls, target: Callable, framework: Framework, parameters: Parameters, names: Mapping[str, Iterable[str]],
           rho: str | None, options: Mapping[str, Any]) -> "SAMFunction | None":
        """The form of a function of these parameters; names: role -> names; None for any other."""
        own = {"closure": first_named(parameters, CLOSURE), "rho": rho,
               **{role: first_named(parameters, known) for role, known in names.items()}}
        fits = own["closure"] and (own["model"] or own["parameters"]) and not isinstance(target, type)
        return cls(target, framework, own, options) if fits else None

    def run(self, case: Any, names: Iterable[str]) -> dict[str, np.ndarray]:
        """All weights as one vector: where the last gradient was computed, and after each of two steps."""
        for mode in self.modes:
            found = self._run(case, names, mode)
            if found is not None:
                return found
        raise InputError("sam: the function left no gradients, and moved no weights")

    def _run(self, case, names, mode):
        """The results with a function that returns the loss, or also makes its backward pass; None for no effect."""
        framework, outputs = self.framework, {}
        leaves = {name: framework.parameter(framework.array(case.arrays[name])) for name in names}
        mixing, offset = (framework.array(case.arrays[name]) for name in ("mixing", "offset"))
        optimizer = framework.sgd(list(leaves.values()), **{name: case.options[name]
                                                            for name in ("lr", "momentum", "nesterov")})
        seen = []

        def weights():
            return np.concatenate([np.ravel(framework.host(leaf)) for leaf in leaves.values()])

        def closure():
            seen.append(weights())
            for leaf in leaves.values():
                leaf.grad = None if mode == "backward" else leaf.grad
            loss = framework.softplus_loss(mixing, offset, list(leaves.values()))
            if mode == "backward":
                loss.backward()
            return loss

        for step in range(1, STEPS + 1):
            optimizer.zero_grad()
            self._call(case, leaves, closure, optimizer)
            if self.own["optimizer"] is None:
                if all(leaf.grad is None for leaf in leaves.values()):
                    return None
                optimizer.step()
            outputs.setdefault("weights after the ascent", seen[-1] if seen else weights())
            outputs[f"weights after step {step}"] = weights()
        return outputs

    def _call(self, case, leaves, closure, optimizer):
        values = {"closure": closure, "rho": case.options["rho"], "parameters": list(leaves.values()),
                  "model": self.framework.container(leaves), "optimizer": optimizer}
        self.target(**{name: values[role] for role, name in self.own.items() if name is not None}, **self.options)
