"""Stochastic gradient descent: clip, then decay, then momentum, each for the parameters that it is meant for.

Source of the order: Brock et al. (2021b), section 4 and the authors' released code; of the form of Nesterov momentum:
Sutskever et al. (2013), as in most frameworks.

Used by: training/trainer.py. What all optimizers share: optimizer.py. Fast paths of `clipped_update`:
fast_numpy/sgd.py, fast_cupy/updates.py. Kernel: backend/kernels/optimizer.cu. Tests: reference_tests/optim/test_sgd.py;
fast_numpy/test_optimizer.py and kernels/test_optimizer.py.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy

from ..autograd import Tensor
from ..backend import as_array, formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from ..nn import Module
from .groups import Factor, Predicate
from .loss_scale import LossScale
from .optimizer import Optimizer, scaled_and_clipped


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
        grad, count = scaled_and_clipped(grad, param, clipping, eps, inverse_scale)
        counts.append(count)
        new_param, new_velocity = sgd_update(param, grad, velocity, lr=lr, momentum=momentum, nesterov=nesterov,
                                             weight_decay=weight_decay)
        if proceed is not None:
            new_param = xp.where(proceed, new_param, param)
            new_velocity = xp.where(proceed, new_velocity, velocity)
        new_params.append(as_array(new_param))
        new_velocities.append(as_array(new_velocity))
    return new_params, new_velocities, xp.stack(counts)


class SGD(Optimizer):
    """SGD with AGC on the parameters of `model`, a Module or a dict name -> Tensor; all options as Optimizer has them.

    AGC and momentum do not depend on the learning rate.
    """

    INITIAL_STATE: ClassVar = {"velocity": 0.0}

    def __init__(self, model: Module | dict[str, Tensor], *, lr: float, momentum: float = 0.9, nesterov: bool = True,
                 weight_decay: float = 2e-5, clipping: float | None = 0.01, eps: float = 1e-3,
                 clipped: Predicate | None = None, decayed: Predicate | None = None, lr_factor: Factor | None = None,
                 loss_scale: LossScale | None = None):
        if not isinstance(nesterov, (bool, numpy.bool_)):
            raise InputError(f"SGD: nesterov={shown(nesterov)}: expected True or False")
        super().__init__(model, lr=lr, momentum=momentum, weight_decay=weight_decay, clipping=clipping, eps=eps,
                         clipped=clipped, decayed=decayed, lr_factor=lr_factor, loss_scale=loss_scale)
        self.nesterov = nesterov

    def update(self, params: list[Array], grads: list[Array], *state: list[Array],
               **options: Any) -> tuple[list[Array], ...]:
        """`clipped_update` with this optimizer's momentum."""
        return clipped_update(params, grads, *state, momentum=self.momentum, nesterov=self.nesterov, **options)
