"""The fast path of `rmsprop.clipped_rmsprop_update`.

Formula: rmsprop.py. How tensors are cut into blocks: updates.py. Test: fast_numpy/test_rmsprop.py.
"""

from collections.abc import Sequence

import numpy

from ..rmsprop import clipped_rmsprop_update as clipped_rmsprop_update_formula
from .updates import Tensors, updated


@clipped_rmsprop_update_formula.fast_path("numpy")
def clipped_rmsprop_update(params: list[numpy.ndarray], grads: list[numpy.ndarray],
                           square_averages: list[numpy.ndarray], velocities: list[numpy.ndarray], *, lr: float,
                           decay: float = 0.9, momentum: float = 0.9, epsilon: float = 1e-3,
                           weight_decays: Sequence[float], clippings: Sequence[float | None], eps: float = 1e-3,
                           inverse_scale: numpy.ndarray | None = None, proceed: numpy.ndarray | None = None
                           ) -> tuple[list[numpy.ndarray] | numpy.ndarray, ...]:
    """Mean square, momentum and the step in eleven passes over a block."""
    def rule(block: Tensors, grad: numpy.ndarray, change: numpy.ndarray) -> None:
        (square_average, velocity), (new_square_average, new_velocity) = block.state, block.new_state
        numpy.multiply(grad, grad, out=change)
        change *= 1.0 - decay
        numpy.multiply(square_average, decay, out=new_square_average)
        new_square_average += change
        numpy.add(new_square_average, epsilon, out=change)
        numpy.sqrt(change, out=change)
        numpy.multiply(grad, lr, out=block.new_param)
        numpy.divide(block.new_param, change, out=change)
        numpy.multiply(velocity, momentum, out=new_velocity)
        new_velocity += change
        numpy.subtract(block.param, new_velocity, out=block.new_param)

    return updated(rule, params, grads, square_averages, velocities, numbers=[lr, decay, momentum, epsilon],
                   weight_decays=weight_decays, clippings=clippings, eps=eps,
                   is_scaled=inverse_scale is not None or proceed is not None)
