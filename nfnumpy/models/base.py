"""What the three families share: the run of a batch from stem to logits, and the bookkeeping of expected_std."""

import math

from .. import ops
from ..autograd import Tensor, checkpoint
from ..backend import CounterRNG
from ..errors import InputError
from ..nn import Initializer, Module, cast_like


HALF_PRECISION = ("float16", "bfloat16")


class NormalizerFreeNetwork(Module):
    """Stem, blocks, head. A subclass builds `blocks`, `dropout`, `linear` and says what `stem` and `features` are.

    config: its family's configuration; backend, dtype ("float32", "float64"), seed: of the parameters;
    shapes_only: parameters that take no memory and hold zeros, for counting.
    """

    def __init__(self, config, *, backend="numpy", dtype="float32", seed=0, shapes_only=False):
        self.config = config
        self.randomness = CounterRNG(seed)
        self.recompute_blocks = False
        self.build(Initializer(backend, dtype, seed, shapes_only=shapes_only))

    def load_state_dict(self, state, *, cast=False):
        """Take over `state` (name -> array); an InputError says which variant it does fit, if there is one."""
        try:
            super().load_state_dict(state, cast=cast)
        except InputError as error:
            from .identify import where_it_fits  # knows all families, which are built on this class
            raise InputError(f"{error}{where_it_fits(state, self.state_dict())}") from None

    def __call__(self, x, training=False):
        """Logits (N, num_classes) of images x (N, H, W, in_channels), an array or Tensor of the model's dtype.

        With images of float16 or bfloat16, a model of float32 computes in that: its weights enter rounded, their
        gradients come back in float32, and the logits have the images' dtype.
        training: dropout and stochastic depth act, drawn by `self.randomness` for its current step.
        """
        x, own = x if isinstance(x, Tensor) else Tensor(x), self.linear.weight.dtype
        fits = x.dtype == own or own.name == "float32" and x.dtype.name in HALF_PRECISION
        if x.ndim != 4 or x.shape[3] != self.config.in_channels or not fits:
            raise InputError(f"model: expected images (N, H, W, {self.config.in_channels}) of {own}, got "
                             f"{tuple(x.shape)} of {x.dtype}")
        randomness = self.randomness if training else None
        x = self.stem(x)
        for block in self.blocks:
            x = checkpoint(lambda x, block=block: block(x, randomness), x) if self.recompute_blocks \
                else block(x, randomness)
        return self.linear(self.dropout(ops.global_mean(self.features(x)), randomness))


class ResidualBlock(Module):
    """A block in two halves, so that both can be looked at: `branches`, which each family writes, and their sum.

    branches(x) returns (shortcut, residual), the residual as it is before stochastic depth, skip_gain and alpha.
    """

    def join(self, shortcut, residual, randomness=None):
        """shortcut + alpha·skip_gain·stochastic_depth(residual)."""
        return ops.skip_init(shortcut, self.stochastic_depth(residual, randomness), cast_like(self.skip_gain, residual),
                             alpha=self.alpha)

    def __call__(self, x, randomness=None):
        return self.join(*self.branches(x), randomness)


def block_schedule(depths, alpha, stochdepth_rate):
    """Yield (stage, position in stage, beta, drop rate) for every block in order.

    beta = 1/expected_std; after a block expected_std becomes √(expected_std² + alpha²), having first been reset to 1
    by a stage's first block, whose own beta still uses the std of the stage before. The drop rate grows linearly.
    Source: Brock, De, Smith (2021a), section 3, and the authors' released code.
    """
    expected_std, index, total = 1.0, 0, sum(depths)
    for stage, depth in enumerate(depths):
        for position in range(depth):
            yield stage, position, 1.0 / expected_std, stochdepth_rate * index / total
            expected_std = math.sqrt((1.0 if position == 0 else expected_std**2) + alpha**2)
            index += 1
