"""The reference's answer to a Question, and the optimizer step that any gradients lead to."""

import numpy as np

from ... import ops
from ...autograd import Tensor, no_grad
from ...optim import clipped_by_default, clipped_update, is_decayed
from .forward import forward, part
from .plans import plan_of

STEP = dict(lr=0.1, momentum=0.9, nesterov=True, eps=1e-3)
CLIPPING, WEIGHT_DECAY = 0.01, 2e-5


def trace(question, config, rules):
    """{part: array}: what every part puts out, and "loss"."""
    with no_grad():
        parts = forward({name: Tensor(array) for name, array in question.parameters.items()}, question.images,
                        plan_of(config, rules), rules)
        loss = ops.softmax_cross_entropy(parts["logits"], question.labels)
    return {**{name: tensor.data for name, tensor in parts.items()}, "loss": np.asarray(loss.data)}


def full_answer(question, config, rules, with_step):
    """(answer, sums). answer: the trace, and "gradient of NAME" and, if asked for, "step of NAME" of all parameters,
    from the last to the first; sums: how large the sums are that the gradients of skip gains are what is left of.
    """
    leaves = {name: Tensor(array, requires_grad=True) for name, array in question.parameters.items()}
    plan, x, branches, entering, leaving = plan_of(config, rules), Tensor(question.images), {}, {}, {}
    for name in plan.parts:
        entering[name] = Tensor(x.data, requires_grad=name != plan.parts[0])
        leaving[name] = x = part(leaves, name, entering[name], plan, rules, branches)
    answer = {name: tensor.data for name, tensor in leaving.items()}
    logits = Tensor(answer["logits"], requires_grad=True)
    loss = ops.softmax_cross_entropy(logits, question.labels)
    answer["loss"] = np.asarray(loss.data)
    loss.backward()
    cotangent = logits.grad
    for name in reversed(plan.parts):
        if name in branches:
            branches[name] *= float(np.linalg.norm(cotangent))
        leaving.pop(name).backward(cotangent)
        cotangent = entering.pop(name).grad
    grads = {name: np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    answer |= gradients_and_steps(grads, question.parameters, with_step)
    return answer, {f"gradient of {name}.skip_gain": size for name, size in branches.items()}


def gradients_and_steps(grads, parameters, with_step):
    """{"gradient of NAME": …, "step of NAME": …}, backwards, for gradients by name."""
    grads = {name: grads[name] for name in reversed(parameters) if name in grads}
    after = stepped(grads, parameters) if with_step else {}
    return {**{f"gradient of {name}": grad for name, grad in grads.items()},
            **{f"step of {name}": param for name, param in after.items()}}


def stepped(grads, parameters):
    """{name: parameter} after one step of the papers' optimizer: clip unit by unit, decay the weights, momentum.

    In float64, whatever the gradients are in: what is compared is what they lead to.
    """
    after, is_clipped = {}, clipped_by_default(parameters)
    for name, grad in grads.items():
        param, grad = parameters[name].astype(np.float64), grad.astype(np.float64)
        (after[name],), _, _ = clipped_update(
            [param], [grad], [np.zeros_like(param)], weight_decays=[WEIGHT_DECAY if is_decayed(name) else 0.0],
            clippings=[CLIPPING if is_clipped(name) else None], **STEP)
    return after
