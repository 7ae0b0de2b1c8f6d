"""Runs of functions that clip: of a gradient and a parameter or of lists of them, over parameters in place, and pairs
of functions (init, update).

A parameter is to stay as it is while its gradient is clipped, so its value after the call is a result too.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ..frameworks.base import expect_array
from .agc_target import ClippingTarget, weights_of

Run = Callable[[Any], Mapping[str, np.ndarray]]
IN_PLACE_USES = ("generator", "frozen", "second")
SHARES = (2.0, -1.0)  # of the gradient in two backward passes that are added up
FROZEN = "conv bias"  # in a case of the use "frozen"
AFTER = " after the call"
LARGE_STEP = 2.0**30  # a learning rate with which w - lr·g, subtracted from w, is g to the last bit


def clipped(name: str, suffix: str = "") -> str:
    """The name of a clipped gradient in the outputs."""
    return f"clipped gradient of {name}{suffix}"


def of_pairs(target: ClippingTarget, grad_name: str, param_name: str, plural: bool) -> Run:
    """The run of a function of a gradient and a parameter, or of lists or dicts of them; plural: lists come first.

    It returns the clipped gradients or changes them in place. The form of the first call that succeeds is kept.
    """
    forms = [_listed, _in_a_dict, _singly] if plural else [_singly, _listed, _in_a_dict]
    known: list[Callable] = []

    def run(case):
        failed = []
        for form in known or forms:
            pairs = target.pairs(case)

            def call(grads, params):
                return target.target(**{grad_name: grads, param_name: params}, **target.settings(case))

            try:
                results = form(call, pairs)
            except Exception as error:  # the error of the usual form is the one to be shown
                failed.append(error)
                continue
            known[:] = [form]
            return {**{clipped(name): target.from_target(result) for name, result in results.items()},
                    **{f"{name}{AFTER}": target.from_target(param) for name, (param, _) in pairs.items()}}
        raise failed[0]
    return run


def _singly(call, pairs):
    return {name: _result(call(grad, param), grad) for name, (param, grad) in pairs.items()}


def _result(returned, grad):
    """What was returned, or the gradient that was given where nothing was."""
    return grad if returned is None else expect_array(returned)


def _listed(call, pairs):
    grads, params = [grad for _, grad in pairs.values()], [param for param, _ in pairs.values()]
    returned = call(grads, params)
    if hasattr(returned, "shape"):
        raise InputError("agc: for a list of gradients the target returned one array")
    results = grads if returned is None else _as_list(returned)
    if len(results) != len(grads):
        raise InputError(f"agc: for {len(grads)} gradients the target returned {len(results)}")
    return {name: _result(result, grad) for name, result, grad in zip(pairs, results, grads, strict=True)}


def _as_list(returned: Any) -> list:
    """The gradients of a list, a tuple or an iterator, each an array or (array, parameter)."""
    if isinstance(returned, (str, bytes, Mapping)) or not isinstance(returned, Iterable):
        raise InputError(f"the target returned a {type(returned).__name__}, expected a list of arrays")
    return [item[0] if isinstance(item, tuple) else item for item in returned]


def _in_a_dict(call, pairs):
    grads = {name: grad for name, (_, grad) in pairs.items()}
    returned = call(grads, {name: param for name, (param, _) in pairs.items()})
    returned = grads if returned is None else returned
    if not isinstance(returned, Mapping) or returned.keys() != grads.keys():
        raise InputError("agc: for a dict of gradients the target returned no dict with the same keys")
    return dict(returned)


def of_parameters(target: ClippingTarget, arranged: Callable[[dict[str, Any]], Any]) -> Run:
    """The run of a function that changes gradients in place; arranged(leaves): its first argument."""
    def run(case):
        use, leaves = case.options["use"], target.leaves(case)
        if use == "frozen":
            leaves[FROZEN].grad = None
        if use == "second":
            target.target(arranged(leaves), **target.settings(case))
            start_again(target, case, leaves)
        given = arranged(leaves)
        if use == "generator":
            given = (item for item in given)
        target.target(given, **target.settings(case))
        suffix = "" if use == "plain" else SUFFIXES[use]
        found = {clipped(name, suffix): target.from_target(leaf.grad) for name, leaf in leaves.items()
                 if leaf.grad is not None}
        if use == "plain":
            found |= {f"{name}{AFTER}": target.from_target(leaf) for name, leaf in leaves.items()}
        return found
    return run


def start_again(target: ClippingTarget, case: Any, leaves: Mapping[str, Any]) -> None:
    """Give the parameters the weights and gradients of a second call."""
    for name, (param, grad) in target.pairs(case).items():
        target.framework.assign(leaves[name], weights_of("second") * param)
        leaves[name].grad = grad


def of_each_parameter(target: ClippingTarget) -> Run:
    """The run of a function of one parameter that changes its gradient in place."""
    def over_all(parameters, **settings):
        for parameter in parameters:
            if parameter.grad is not None:
                target.target(parameter, **settings)

    return of_parameters(dataclasses.replace(target, target=over_all), lambda leaves: list(leaves.values()))


def of_an_optimizer_given(target: ClippingTarget) -> Run:
    """The run of a function of an optimizer, which clips there and then, in a hook of its step, or returns another one.
    """
    def run(case):
        use, leaves = case.options["use"], target.leaves(case)
        if use == "frozen":
            leaves[FROZEN].grad = None
        optimizer = target.framework.sgd(list(leaves.values()), lr=LARGE_STEP)
        before = {name: target.framework.host(leaf).copy() for name, leaf in leaves.items()}
        returned = target.target(optimizer, **target.settings(case))
        (returned if hasattr(returned, "step") else optimizer).step()
        suffix = "" if use == "plain" else SUFFIXES[use]
        return {clipped(name, suffix): target.from_target(target.framework.array(
            (before[name] - target.framework.host(leaf)) / LARGE_STEP)) for name, leaf in leaves.items()
            if use == "plain" or name != FROZEN}
    return run


def of_a_transformation(target: ClippingTarget, make: Callable[[Any], Any]) -> Run:
    """The run of functions (init, update), as optax's; make(case) gives them."""
    def run(case):
        pairs, transformation = target.pairs(case), make(case)
        params = {name: param for name, (param, _) in pairs.items()}
        grads = {name: grad for name, (_, grad) in pairs.items()}
        updates, state = transformation.update(grads, transformation.init(params), params)
        use = case.options["use"]
        if use == "second":
            params = {name: weights_of(use) * param for name, param in params.items()}
            updates, _ = transformation.update(grads, state, params)
        suffix = "" if use == "plain" else SUFFIXES[use]
        return {clipped(name, suffix): target.from_target(update) for name, update in updates.items()}
    return run


SUFFIXES = {  # of the names of tensors, by how the target is used
    "generator": ", parameters given by a generator", "frozen": " beside a parameter without a gradient",
    "second": " in a second step", "closure": " by step(closure)", "restored": " after state_dict there and back",
    "accumulated": " added up over two backward passes", "groups": ", parameters given in groups"}
