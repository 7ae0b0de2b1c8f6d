"""The reference's results for NetworkInputs, and the optimizer step that any gradients lead to."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...autograd import Tensor, no_grad, trust_saved_arrays
from ...optim import clipped_by_default, clipped_update, is_decayed
from .architecture import Rules, architecture_of
from .baselines import is_buffer, running_statistics
from .forward import forward, part
from .inputs import NetworkInputs

STEP = dict(lr=0.1, momentum=0.9, nesterov=True, eps=1e-3)
CLIPPING, WEIGHT_DECAY = 0.01, 2e-5

Results = dict[str, np.ndarray]
MOST_REMEMBERED = 64  # runs for the same inputs
LARGE = 1_000_000  # parameters from which on gradients are not remembered
_remembered: weakref.WeakKeyDictionary[NetworkInputs, dict] = weakref.WeakKeyDictionary()


def _once(compute: Callable, inputs: NetworkInputs, *arguments: Any) -> Any:
    """compute(inputs, *arguments), which is remembered as long as the inputs live."""
    runs = _remembered.setdefault(inputs, {})
    key = (compute, *arguments)
    if key not in runs:
        if len(runs) >= MOST_REMEMBERED:
            del runs[next(iter(runs))]
        runs[key] = compute(inputs, *arguments)
    return runs[key]


def trace(inputs: NetworkInputs, config: Any, rules: Rules) -> Results:
    """{part: its output}, and "loss"; not to be changed."""
    return _once(_trace, inputs, config, rules)


def _trace(inputs, config, rules):
    leaves = {name: Tensor(array) for name, array in inputs.parameters.items()}
    with no_grad():
        parts = forward(leaves, inputs.images, architecture_of(config, rules), rules, inputs.training)
        loss = ops.softmax_cross_entropy(parts["logits"], inputs.labels)
    averages = running_statistics(config, rules) if inputs.training else {}
    return {**{name: tensor.data for name, tensor in parts.items()}, "loss": np.asarray(loss.data), **averages}


def trace_and_gradients(inputs: NetworkInputs, config: Any, rules: Rules,
                        with_step: bool) -> tuple[Results, dict[str, float]]:
    """(results, sums). results: the trace, and "gradient of NAME" and, where asked for, "step of NAME" of all
    parameters, from the last to the first; sums: by name, the size of the sums that the gradients of skip gains are
    what is left of. Not to be changed.
    """
    if inputs.size >= LARGE:
        return _trace_and_gradients(inputs, config, rules, with_step)
    return _once(_trace_and_gradients, inputs, config, rules, with_step)


def _trace_and_gradients(inputs, config, rules, with_step):
    with trust_saved_arrays():
        return _backward(inputs, config, rules, with_step)


def _backward(inputs, config, rules, with_step):
    leaves = {name: Tensor(array, requires_grad=not is_buffer(name)) for name, array in inputs.parameters.items()}
    architecture, x, branches, entering, leaving = architecture_of(config, rules), Tensor(inputs.images), {}, {}, {}
    for name in architecture.parts:
        entering[name] = Tensor(x.data, requires_grad=name != architecture.parts[0])
        leaving[name] = x = part(leaves, name, entering[name], architecture, rules, branches, inputs.training)
    results = {name: tensor.data for name, tensor in leaving.items()}
    logits = Tensor(results["logits"], requires_grad=True)
    loss = ops.softmax_cross_entropy(logits, inputs.labels)
    results["loss"] = np.asarray(loss.data)
    if inputs.training:
        results |= running_statistics(config, rules)
    loss.backward()
    cotangent = logits.grad
    for name in reversed(architecture.parts):
        if name in branches:
            branches[name] *= float(np.linalg.norm(cotangent))
        leaving.pop(name).backward(cotangent)
        cotangent = entering.pop(name).grad
    grads = {name: np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad
             for name, leaf in leaves.items() if not is_buffer(name)}
    results |= gradients_and_steps(grads, inputs.parameters, with_step)
    return results, {f"gradient of {name}.skip_gain": size for name, size in branches.items()}


def gradients_and_steps(grads: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray],
                        with_step: bool) -> Results:
    """{"gradient of NAME": …, "step of NAME": …}, backwards, for gradients by name."""
    grads = {name: grads[name] for name in reversed(list(parameters)) if name in grads}
    after = stepped(grads, parameters) if with_step else {}
    return {**{f"gradient of {name}": grad for name, grad in grads.items()},
            **{f"step of {name}": param for name, param in after.items()}}


def stepped(grads: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]) -> Results:
    """{name: parameter} after one step of the papers' optimizer: clip unit by unit, decay the weights, momentum.

    In float64 for gradients of any dtype: what is compared is the step that they lead to.
    """
    after, is_clipped = {}, clipped_by_default(parameters)
    for name, grad in grads.items():
        param, grad = parameters[name].astype(np.float64), grad.astype(np.float64)
        (after[name],), _, _ = clipped_update(
            [param], [grad], [np.zeros_like(param)], weight_decays=[WEIGHT_DECAY if is_decayed(name) else 0.0],
            clippings=[CLIPPING if is_clipped(name) else None], **STEP)
    return after
