"""Stochastic gradient descent: clip, then decay, then momentum, each for the parameters that it is meant for.

Source of the order and the groups: Brock et al. (2021b), section 4 and the authors' released code; of the form of
Nesterov momentum: Sutskever et al. (2013), as in most frameworks.
"""

import math

from ..backend import as_array, formula, namespace
from ..errors import InputError
from .agc import clip_factor


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


class SGD:
    """SGD with AGC on the parameters of `model` (or a dict name -> Tensor).

    lr: a number, to be changed between steps by a schedule; clipping: AGC's lambda, None for no clipping; eps: AGC's
    floor on ‖W‖. Parameters whose `requires_grad` is False stay as they are. `step()` reads the others' `.grad` and
    advances the model's randomness to its next step; with a dict, pass the `randomness` that dropout and stochastic
    depth draw from, if there is any.
    """

    def __init__(self, model, *, lr, momentum=0.9, nesterov=True, weight_decay=2e-5, clipping=0.01, eps=1e-3,
                 randomness=None):
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise InputError(f"SGD: {name}={value!r}: expected a number that is not negative")
        if clipping is not None and not 0.0 < clipping < math.inf or not 0.0 < eps < math.inf:
            raise InputError(f"SGD: clipping={clipping!r}, eps={eps!r}: expected positive numbers")
        self.parameters = dict(model) if isinstance(model, dict) else model.parameters()
        self.randomness = getattr(model, "randomness", randomness)
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay
        self.clipping, self.eps = clipping, eps
        self.velocity = {name: namespace(p.data).zeros_like(p.data) for name, p in self.parameters.items()}
        self.clip_factors = {}

    def step(self):
        """Change every parameter by its gradient and forget the gradients; InputError if one has none."""
        trained = {name: parameter for name, parameter in self.parameters.items() if parameter.requires_grad}
        for name, parameter in trained.items():
            grad = parameter.grad
            if grad is None:
                raise InputError(f"SGD: {name} has no gradient; call backward on a loss that depends on it")
            if tuple(grad.shape) != tuple(parameter.shape) or grad.dtype != parameter.dtype:
                raise InputError(f"SGD: the gradient of {name} is {tuple(grad.shape)} {grad.dtype}, expected "
                                 f"{tuple(parameter.shape)} {parameter.dtype}")
        for name, parameter in trained.items():
            grad = parameter.grad
            if self.clipping is not None and is_clipped(name):
                factor = clip_factor(grad, parameter.data, clipping=self.clipping, eps=self.eps)
                self.clip_factors[name] = factor
                grad = grad * factor
            parameter.data, self.velocity[name] = sgd_update(
                parameter.data, grad, self.velocity[name], lr=self.lr, momentum=self.momentum,
                nesterov=self.nesterov, weight_decay=self.weight_decay if is_decayed(name) else 0.0)
            parameter.grad = None
        if self.randomness is not None:
            self.randomness.step += 1

    def zero_grad(self):
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clipped_fraction(self):
        """The share, from 0 to 1, of units whose gradient AGC shortened in the last step."""
        units = sum(factor.size for factor in self.clip_factors.values())
        return float(sum((factor < 1.0).sum() for factor in self.clip_factors.values())) / units if units else 0.0
