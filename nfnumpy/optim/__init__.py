"""From gradients to changed weights. The formulas work on arrays, the optimizers on named parameters."""

from .agc import adaptive_gradient_clip, clip_factor, unitwise_norm
from .ema import ExponentialMovingAverage
from .global_norm import clip_by_global_norm, global_norm
from .sam import SAM
from .schedules import constant, cosine, step_decay, warmup_cosine
from .sgd import SGD, is_clipped, is_decayed, sgd_update

__all__ = ["ExponentialMovingAverage", "SAM", "SGD", "adaptive_gradient_clip", "clip_by_global_norm", "clip_factor",
           "constant", "cosine", "global_norm", "is_clipped", "is_decayed", "sgd_update", "step_decay",
           "unitwise_norm", "warmup_cosine"]
