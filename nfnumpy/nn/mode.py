"""How a network runs one batch: training or evaluation, and the random numbers of the step.

Used by: nn/layers.py, models/. Test: reference_tests/nn/test_layers.py.
"""

import dataclasses

from ..backend import CounterRNG
from ..errors import InputError
from ..functional.normalization_inputs import JointSum


@dataclasses.dataclass(frozen=True)
class Mode:
    """What a layer needs in addition to its input.

    training: whether layers act as in training: dropout and stochastic depth drop values, and a normalization takes the
    statistics of the batch and updates its buffers. randomness: the random numbers of the current step; a layer draws
    under its own path, so that a block that is computed again draws the same numbers. update_statistics: whether a
    normalization in training updates its buffers; False for a pass that sees a batch again, as SAM's second one.
    batch_statistics: False makes a normalization that takes the statistics of the batch in training take the running
    ones there too, as on an empty batch, which has none.
    joint_sum: the sum over all devices of an array that each of them has, for statistics of their joint batch; None:
    each device has statistics of its own.
    """

    training: bool = False
    randomness: CounterRNG | None = None
    update_statistics: bool = True
    batch_statistics: bool = True
    joint_sum: JointSum | None = None

    @property
    def normalizes_by_batch(self) -> bool:
        """Whether a normalization over the batch takes the statistics of the batch, not the running ones."""
        return self.training and self.batch_statistics

    def require_randomness(self, path: str) -> CounterRNG:
        """`randomness`; InputError, naming the layer at `path`, when there is none."""
        if self.randomness is None:
            raise InputError(f"{path or 'layer'}: training draws random numbers; expected "
                             f"Mode(training=True, randomness=CounterRNG(seed))")
        return self.randomness


EVALUATION = Mode()
