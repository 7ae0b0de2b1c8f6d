"""Stochastic gradient descent: clip, then decay, then momentum, each for the parameters that it is meant for.

Source of the order and the groups: Brock et al. (2021b), section 4 and the authors' released code; of the form of
Nesterov momentum: Sutskever et al. (2013), as in most frameworks.

Used by: training/trainer.py, sam.py. Its clipping: agc.py. Fast paths of `clipped_update`: fast_numpy/sgd.py,
fast_cupy/multi_tensor.py. Kernel: backend/kernels/optimizer.cu. Tests: reference_tests/optim/test_sgd.py;
fast_numpy/test_optimizer.py and kernels/test_optimizer.py.
"""

from collections.abc import Sequence

import numpy

from ..autograd import Tensor
from ..backend import as_array, buffer_pool, formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from ..nn import Module
from .agc import adaptive_gradient_clip, unit_count
from .checks import is_finite_number
from .chunks import parameters_of, parts
from .groups import Factor, Predicate, by_factor, chosen, clipped_by_default, is_decayed, learning_rate_factors
from .loss_scale import LossScale


def sgd_update(param: Array, grad: Array, velocity: Array, *, lr: float, momentum: float = 0.9, nesterov: bool = True,
               weight_decay: float = 0.0) -> tuple[Array, Array]:
    """One step; three arrays of one shape in, the new (param, velocity) out.

    g ← g + weight_decay·w;  v ← momentum·v + g;  w ← w - lr·(g + momentum·v), or w - lr·v without Nesterov.
    """
    if weight_decay:
        grad = grad + weight_decay * param
    velocity = momentum * velocity + grad
    direction = grad + momentum * velocity if nesterov else velocity
    return as_array(param - lr * direction), as_array(velocity)


@formula
def clipped_update(params: list[Array], grads: list[Array], velocities: list[Array], *, lr: float,
                   momentum: float = 0.9, nesterov: bool = True, weight_decays: Sequence[float],
                   clippings: Sequence[float | None], eps: float = 1e-3, inverse_scale: Array | None = None,
                   proceed: Array | None = None) -> tuple[list[Array], list[Array], Array]:
    """One step of a whole model: (list of new params, list of new velocities, how many units AGC clipped of each).

    params, grads, velocities: lists of arrays of one dtype; the counts are one array of int64 in their order.
    weight_decays, clippings: a number for each, clippings None where AGC does not apply. inverse_scale: an array ()
    that gradients are multiplied by first, the inverse of what their loss was multiplied by; proceed: an array () of
    bool: where False, all stays bit for bit as it was.
    """
    xp = namespace(params[0])
    new_params, new_velocities = [], []
    counts = []
    for param, grad, velocity, weight_decay, clipping in zip(params, grads, velocities, weight_decays, clippings,
                                                             strict=True):
        if inverse_scale is not None:
            grad = grad * inverse_scale
        if clipping is None:
            counts.append(xp.zeros((), dtype=xp.int64))
        else:
            grad, clipped = adaptive_gradient_clip(grad, param, clipping, eps, return_clipped=True)
            counts.append(xp.sum(xp.astype(clipped, xp.int64)))
        new_param, new_velocity = sgd_update(param, grad, velocity, lr=lr, momentum=momentum, nesterov=nesterov,
                                             weight_decay=weight_decay)
        if proceed is not None:
            new_param = xp.where(proceed, new_param, param)
            new_velocity = xp.where(proceed, new_velocity, velocity)
        new_params.append(as_array(new_param))
        new_velocities.append(as_array(new_velocity))
    return new_params, new_velocities, xp.stack(counts)


class SGD:
    """SGD with AGC on the parameters of `model`, a Module or a dict name -> Tensor.

    lr: a number, to be changed between steps by a schedule; clipping: AGC's lambda, None for no clipping; eps: AGC's
    floor on ‖W‖; clipped, decayed: predicates of a parameter's name. By default AGC clips all but the weight of the
    final linear layer (see groups.final_linear_weight), and weight decay touches what is called "weight".
    lr_factor: a function of a parameter's name that returns what its learning rate is lr times, a number above 0; all
    have lr itself by default. AGC and momentum do not depend on it.
    loss_scale: the LossScale that the gradients were computed with, if any; a step whose gradients overflowed changes
    nothing but it.

    Parameters whose `requires_grad` is False stay as they are; `step()` reads the others' `.grad`. After a step
    `clipped_counts`, an array where the parameters are, has the number of units that AGC shortened in each parameter
    of `units_of`; `units` is how many it checked in all.
    """

    def __init__(self, model: Module | dict[str, Tensor], *, lr: float, momentum: float = 0.9, nesterov: bool = True,
                 weight_decay: float = 2e-5, clipping: float | None = 0.01, eps: float = 1e-3,
                 clipped: Predicate | None = None, decayed: Predicate | None = None, lr_factor: Factor | None = None,
                 loss_scale: LossScale | None = None):
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not (is_finite_number(value) and value >= 0.0):
                raise InputError(f"SGD: {name}={shown(value)}: expected a number that is not negative")
        if not (clipping is None or _is_positive(clipping)) or not _is_positive(eps):
            raise InputError(f"SGD: clipping={shown(clipping)}, eps={shown(eps)}: expected positive numbers")
        if not isinstance(nesterov, (bool, numpy.bool_)):
            raise InputError(f"SGD: nesterov={shown(nesterov)}: expected True or False")
        if not (loss_scale is None or isinstance(loss_scale, LossScale)):
            raise InputError(f"SGD: loss_scale={shown(loss_scale)}: expected a LossScale")
        self.parameters = parameters_of(model, "SGD")
        self.randomness = getattr(model, "randomness", None)
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.clipping = clipping
        self.eps = eps
        self.loss_scale = loss_scale
        names = list(self.parameters)
        self.decayed = chosen(is_decayed if decayed is None else decayed, names, "decayed")
        self.lr_factors = learning_rate_factors(lr_factor, names)
        self.clipped: set[str] = set()
        if clipping is not None:
            if clipped is None:
                clipped = clipped_by_default(model if isinstance(model, Module) else self.parameters)
            self.clipped = chosen(clipped, names, "clipped")
        self.velocity = {name: buffer_pool.copy_into_pool(namespace(parameter.data).zeros_like(parameter.data))
                         for name, parameter in self.parameters.items()}
        self.clipped_counts: Array | None = None
        self.units = 0

    def step(self) -> None:
        """Change every parameter by its gradient and forget the gradients; InputError if one has none.

        Parameters of large models change part by part: an interrupted step has changed some of them, and others not.
        """
        trained = self._trained()
        for name, parameter in trained.items():
            _check_gradient(name, parameter)
        self.clipped_counts, self.units = None, 0
        if not trained:
            return
        inverse_scale, proceed = None, None
        if self.loss_scale is not None:
            inverse_scale = self.loss_scale.inverse()
            proceed = self.loss_scale.finite([parameter.grad for parameter in trained.values()])
            self.loss_scale.update(proceed)
        changed = [(self.lr * factor, part) for factor, group in by_factor(trained, self.lr_factors).items()
                   for part in parts(group)]
        counts = [self._change(part, lr, inverse_scale, proceed) for lr, part in changed]
        self.clipped_counts = counts[0] if len(counts) == 1 else namespace(counts[0]).concat(counts)
        self.units = sum(self.units_of.values())

    def _change(self, part, lr, inverse_scale, proceed):
        """Change the parameters and velocities of a part (name -> Tensor) at learning rate lr; forget its gradients.

        Returns how many units AGC clipped of each.
        """
        params = [parameter.data for parameter in part.values()]
        grads = [parameter.grad for parameter in part.values()]
        velocities = [self.velocity[name] for name in part]
        weight_decays = [self.weight_decay if name in self.decayed else 0.0 for name in part]
        clippings = [self.clipping if name in self.clipped else None for name in part]
        new_params, new_velocities, counts = clipped_update(
            params, grads, velocities, lr=lr, momentum=self.momentum, nesterov=self.nesterov,
            weight_decays=weight_decays, clippings=clippings, eps=self.eps, inverse_scale=inverse_scale,
            proceed=proceed)
        self.velocity.update(zip(part, new_velocities, strict=True))
        for parameter, new_param in zip(part.values(), new_params, strict=True):
            parameter.data = new_param
            parameter.grad = None
        return counts

    def _trained(self):
        return {name: parameter for name, parameter in self.parameters.items() if parameter.requires_grad}

    @property
    def units_of(self) -> dict[str, int]:
        """name -> how many units of a trained parameter AGC checks, 0 where it does not apply; in the counts' order."""
        return {name: unit_count(parameter.shape) if name in self.clipped else 0
                for group in by_factor(self._trained(), self.lr_factors).values() for name, parameter in group.items()}

    @property
    def clipped_units(self) -> Array | None:
        """How many units AGC shortened in the last step, an array () where the parameters are; None before it."""
        return None if self.clipped_counts is None else as_array(self.clipped_counts.sum())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clipped_fraction(self) -> float:
        """The share, from 0 to 1, of units whose gradient AGC shortened in the last step."""
        if self.clipped_units is None or not self.units:
            return 0.0
        return int(self.clipped_units) / self.units


def _is_positive(value):
    return is_finite_number(value) and value > 0.0


def _check_gradient(name, parameter):
    """InputError if a parameter has no gradient, or one of another shape or dtype."""
    grad = parameter.grad
    if grad is None:
        raise InputError(f"SGD: {name} has no gradient; call backward on a loss that depends on it")
    if tuple(grad.shape) != tuple(parameter.shape) or grad.dtype != parameter.dtype:
        raise InputError(f"SGD: the gradient of {name} is {tuple(grad.shape)} {grad.dtype}, expected "
                         f"{tuple(parameter.shape)} {parameter.dtype}")
