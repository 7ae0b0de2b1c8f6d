"""Stochastic gradient descent: clip, then decay, then momentum, each for the parameters that it is meant for.

Source of the order and the groups: Brock et al. (2021b), section 4 and the authors' released code; of the form of
Nesterov momentum: Sutskever et al. (2013), as in most frameworks.
"""

import math

from ..backend import as_array, formula, buffer_pool, namespace
from ..errors import InputError
from .agc import clip_factor, unit_count
from .chunks import parts


def is_decayed(name):
    """Whether weight decay touches a parameter: weights, not biases, gains and skip gains."""
    return name.rpartition(".")[2] == "weight"


def is_clipped(name):
    """Whether AGC touches a parameter: all but the weight of the final linear layer."""
    return name != "linear.weight"


@formula
def sgd_update(param, grad, velocity, *, lr, momentum=0.9, nesterov=True, weight_decay=0.0):
    """One step; four arrays of one shape in, the new (param, velocity) out.

    g ← g + weight_decay·w;  v ← momentum·v + g;  w ← w - lr·(g + momentum·v), or w - lr·v without Nesterov.
    """
    if weight_decay:
        grad = grad + weight_decay * param
    velocity = momentum * velocity + grad
    param = param - lr * (grad + momentum * velocity if nesterov else velocity)
    return as_array(param), as_array(velocity)


@formula
def clipped_update(params, grads, velocities, *, lr, momentum=0.9, nesterov=True, weight_decays, clippings, eps=1e-3,
                   inverse_scale=None, proceed=None):
    """One step of a whole model: (list of new params, list of new velocities, how many units AGC clipped, an array ()).

    params, grads, velocities: lists of arrays of one dtype; weight_decays, clippings: a number for each, clippings
    None where AGC does not apply. inverse_scale: an array () that gradients are multiplied by first, the inverse of
    what their loss was multiplied by; proceed: an array () of bool: where False, all stays bit for bit as it was.
    """
    xp = namespace(params[0])
    new_params, new_velocities, clipped_units = [], [], xp.zeros((), dtype=xp.int64)
    for param, grad, velocity, weight_decay, clipping in zip(params, grads, velocities, weight_decays, clippings,
                                                             strict=True):
        if inverse_scale is not None:
            grad = grad * inverse_scale
        if clipping is not None:
            factor = clip_factor(grad, param, clipping=clipping, eps=eps)
            clipped_units = clipped_units + xp.sum(xp.astype(factor < 1.0, xp.int64))
            grad = grad * factor
        new_param, new_velocity = sgd_update(param, grad, velocity, lr=lr, momentum=momentum, nesterov=nesterov,
                                             weight_decay=weight_decay)
        if proceed is not None:
            new_param, new_velocity = xp.where(proceed, new_param, param), xp.where(proceed, new_velocity, velocity)
        new_params.append(as_array(new_param))
        new_velocities.append(as_array(new_velocity))
    return new_params, new_velocities, as_array(clipped_units)


class SGD:
    """SGD with AGC on the parameters of `model` (or a dict name -> Tensor).

    lr: a number, to be changed between steps by a schedule; clipping: AGC's lambda, None for no clipping; eps: AGC's
    floor on ‖W‖. Parameters whose `requires_grad` is False stay as they are. `step()` reads the others' `.grad` and
    advances the model's randomness to its next step; with a dict, pass the `randomness` that dropout and stochastic
    depth draw from, if there is any. loss_scale: the LossScale that the gradients were computed with, if any; a step
    whose gradients overflowed then changes nothing but it. After a step `clipped_units`, an array () where the
    parameters are, says how many of the `units` (a number) that AGC looks at it shortened.
    """

    def __init__(self, model, *, lr, momentum=0.9, nesterov=True, weight_decay=2e-5, clipping=0.01, eps=1e-3,
                 randomness=None, loss_scale=None):
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise InputError(f"SGD: {name}={value!r}: expected a number that is not negative")
        if clipping is not None and not 0.0 < clipping < math.inf or not 0.0 < eps < math.inf:
            raise InputError(f"SGD: clipping={clipping!r}, eps={eps!r}: expected positive numbers")
        self.parameters = dict(model) if isinstance(model, dict) else model.parameters()
        self.randomness = getattr(model, "randomness", randomness)
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay
        self.clipping, self.eps = clipping, eps
        self.velocity = {name: buffer_pool.copy_into_pool(namespace(p.data).zeros_like(p.data)) for name, p in self.parameters.items()}
        self.loss_scale = loss_scale
        self.clipped_units, self.units = None, 0

    def step(self):
        """Change every parameter by its gradient and forget the gradients; InputError if one has none.

        Parameters of large models change part by part: who interrupts it has some of them changed, and others not.
        """
        trained = {name: parameter for name, parameter in self.parameters.items() if parameter.requires_grad}
        for name, parameter in trained.items():
            grad = parameter.grad
            if grad is None:
                raise InputError(f"SGD: {name} has no gradient; call backward on a loss that depends on it")
            if tuple(grad.shape) != tuple(parameter.shape) or grad.dtype != parameter.dtype:
                raise InputError(f"SGD: the gradient of {name} is {tuple(grad.shape)} {grad.dtype}, expected "
                                 f"{tuple(parameter.shape)} {parameter.dtype}")
        clipped = {name for name in trained if self.clipping is not None and is_clipped(name)}
        self.units = sum(unit_count(trained[name].shape) for name in clipped)
        if trained:
            inverse_scale, proceed = None, None
            if self.loss_scale is not None:
                inverse_scale = self.loss_scale.inverse()
                proceed = self.loss_scale.finite([parameter.grad for parameter in trained.values()])
                self.loss_scale.update(proceed)
            counts = [self._change(part, clipped, inverse_scale, proceed) for part in parts(trained)]
            self.clipped_units = as_array(sum(counts[1:], start=counts[0]))
        if self.randomness is not None:
            self.randomness.step += 1

    def _change(self, part, clipped, inverse_scale, proceed):
        """Change the parameters and velocities of a part (name -> Tensor) and forget its gradients.

        clipped: the names that AGC looks at. Returns how many units it clipped, an array ().
        """
        params, velocities, count = clipped_update(
            [parameter.data for parameter in part.values()], [parameter.grad for parameter in part.values()],
            [self.velocity[name] for name in part], lr=self.lr, momentum=self.momentum, nesterov=self.nesterov,
            weight_decays=[self.weight_decay if is_decayed(name) else 0.0 for name in part],
            clippings=[self.clipping if name in clipped else None for name in part], eps=self.eps,
            inverse_scale=inverse_scale, proceed=proceed)
        self.velocity.update(zip(part, velocities))
        for parameter, param in zip(part.values(), params):
            parameter.data, parameter.grad = param, None
        return count

    def zero_grad(self):
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clipped_fraction(self):
        """The share, from 0 to 1, of units whose gradient AGC shortened in the last step."""
        return int(self.clipped_units) / self.units if self.units else 0.0
