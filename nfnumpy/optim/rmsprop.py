"""RMSProp in TensorFlow's form: the gradient over the root of its running mean square, then momentum.

Differences from the form of most other frameworks, in which EfficientNet's recipe does not train as published: epsilon
is inside the root, the mean square starts at 1, and the learning rate is part of what momentum accumulates.

Source: Tieleman, Hinton (2012), lecture 6.5 of "Neural networks for machine learning", for the idea; TensorFlow's
`tf.compat.v1.train.RMSPropOptimizer` (operation ApplyRMSProp) for the form; the released code of Tan, Le (2019),
arXiv 1905.11946, for the numbers.

Used by: training/trainer.py. What all optimizers share: optimizer.py. Fast paths of `clipped_rmsprop_update`:
fast_numpy/rmsprop.py, fast_cupy/updates.py. Kernel: backend/kernels/optimizer.cu. Tests:
reference_tests/optim/test_rmsprop.py; fast_numpy/test_rmsprop.py and kernels/test_rmsprop.py.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from ..autograd import Tensor
from ..backend import as_array, formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from ..nn import Module
from .checks import is_finite_number
from .groups import Factor, Predicate
from .loss_scale import LossScale
from .optimizer import Optimizer, scaled_and_clipped


def rmsprop_update(param: Array, grad: Array, square_average: Array, velocity: Array, *, lr: float, decay: float = 0.9,
                   momentum: float = 0.9, epsilon: float = 1e-3,
                   weight_decay: float = 0.0) -> tuple[Array, Array, Array]:
    """One step; four arrays of one shape in, the new (param, square_average, velocity) out.

    g ← g + weight_decay·w;  s ← decay·s + (1 - decay)·g²;  v ← momentum·v + lr·g/√(s + epsilon);  w ← w - v.
    """
    xp = namespace(param)
    if weight_decay:
        grad = grad + weight_decay * param
    square_average = decay * square_average + (1.0 - decay) * (grad * grad)
    velocity = momentum * velocity + lr * grad / xp.sqrt(square_average + epsilon)
    return as_array(param - velocity), as_array(square_average), as_array(velocity)


@formula
def clipped_rmsprop_update(params: list[Array], grads: list[Array], square_averages: list[Array],
                           velocities: list[Array], *, lr: float, decay: float = 0.9, momentum: float = 0.9,
                           epsilon: float = 1e-3, weight_decays: Sequence[float], clippings: Sequence[float | None],
                           eps: float = 1e-3, inverse_scale: Array | None = None, proceed: Array | None = None
                           ) -> tuple[list[Array], list[Array], list[Array], Array]:
    """One step of a whole model: (new params, new square averages, new velocities, counts of clipped units).

    epsilon: of RMSProp; eps: AGC's floor on ‖W‖. The other arguments are those of sgd.clipped_update.
    """
    xp = namespace(params[0])
    new = []
    counts = []
    for param, grad, square_average, velocity, weight_decay, clipping in zip(
            params, grads, square_averages, velocities, weight_decays, clippings, strict=True):
        grad, count = scaled_and_clipped(grad, param, clipping, eps, inverse_scale)
        counts.append(count)
        old = param, square_average, velocity
        results = rmsprop_update(param, grad, square_average, velocity, lr=lr, decay=decay, momentum=momentum,
                                 epsilon=epsilon, weight_decay=weight_decay)
        if proceed is not None:
            results = tuple(as_array(xp.where(proceed, after, before))
                            for after, before in zip(results, old, strict=True))
        new.append(results)
    new_params, new_square_averages, new_velocities = map(list, zip(*new, strict=True))
    return new_params, new_square_averages, new_velocities, xp.stack(counts)


class RMSProp(Optimizer):
    """RMSProp with AGC on the parameters of `model`, a Module or a dict name -> Tensor.

    decay: of the running mean square, from 0 up to, not including, 1; epsilon: a number above 0 that is added to it;
    the other options as Optimizer has them. The defaults are EfficientNet's, which has no AGC. weight_decay is the
    derivative of an L2 penalty, so it is part of what is averaged.
    """

    INITIAL_STATE: ClassVar = {"square_average": 1.0, "velocity": 0.0}

    def __init__(self, model: Module | dict[str, Tensor], *, lr: float, decay: float = 0.9, momentum: float = 0.9,
                 epsilon: float = 1e-3, weight_decay: float = 1e-5, clipping: float | None = None, eps: float = 1e-3,
                 clipped: Predicate | None = None, decayed: Predicate | None = None, lr_factor: Factor | None = None,
                 loss_scale: LossScale | None = None):
        if not (is_finite_number(decay) and 0.0 <= decay < 1.0):
            raise InputError(f"RMSProp: decay={shown(decay)}: expected a number from 0 up to, not including, 1")
        if not (is_finite_number(epsilon) and epsilon > 0.0):
            raise InputError(f"RMSProp: epsilon={shown(epsilon)}: expected a number above 0")
        super().__init__(model, lr=lr, momentum=momentum, weight_decay=weight_decay, clipping=clipping, eps=eps,
                         clipped=clipped, decayed=decayed, lr_factor=lr_factor, loss_scale=loss_scale)
        self.decay = decay
        self.epsilon = epsilon

    def update(self, params: list[Array], grads: list[Array], *state: list[Array],
               **options: Any) -> tuple[list[Array], ...]:
        """`clipped_rmsprop_update` with this optimizer's decay, momentum and epsilon."""
        return clipped_rmsprop_update(params, grads, *state, decay=self.decay, momentum=self.momentum,
                                      epsilon=self.epsilon, **options)
