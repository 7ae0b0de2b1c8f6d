"""The fast path of `sgd.clipped_update`.

Formula: sgd.py. How tensors are cut into blocks: updates.py. Test: fast_numpy/test_optimizer.py.
"""

from collections.abc import Sequence

import numpy

from ..sgd import clipped_update as clipped_update_formula
from .updates import Tensors, updated


@clipped_update_formula.fast_path("numpy")
def clipped_update(params: list[numpy.ndarray], grads: list[numpy.ndarray], velocities: list[numpy.ndarray], *,
                   lr: float, momentum: float = 0.9, nesterov: bool = True, weight_decays: Sequence[float],
                   clippings: Sequence[float | None], eps: float = 1e-3, inverse_scale: numpy.ndarray | None = None,
                   proceed: numpy.ndarray | None = None
                   ) -> tuple[list[numpy.ndarray] | numpy.ndarray, ...]:
    """Momentum and the step in up to seven passes over a block."""
    def rule(block: Tensors, grad: numpy.ndarray, change: numpy.ndarray) -> None:
        (velocity,), (new_velocity,) = block.state, block.new_state
        numpy.multiply(velocity, momentum, out=new_velocity)
        numpy.add(new_velocity, grad, out=new_velocity)
        if nesterov:
            numpy.multiply(new_velocity, momentum, out=change)
            change += grad
            change *= lr
        else:
            numpy.multiply(new_velocity, lr, out=change)
        numpy.subtract(block.param, change, out=block.new_param)

    return updated(rule, params, grads, velocities, numbers=[lr, momentum], weight_decays=weight_decays,
                   clippings=clippings, eps=eps, is_scaled=inverse_scale is not None or proceed is not None)
