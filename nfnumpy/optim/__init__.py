"""From gradients to changed weights. The formulas work on arrays, the optimizers on named parameters."""

from . import fast_cupy, fast_numpy  # their fast paths announce themselves
from .agc import adaptive_gradient_clip, clip_factor, unitwise_norm
from .ema import ExponentialMovingAverage, moving_average
from .global_norm import clip_by_global_norm, global_norm
from .loss_scale import LossScale
from .sam import SAM, sam_perturb
from .schedules import constant, cosine, step_decay, warmup_cosine
from .sgd import SGD, clipped_update, is_clipped, is_decayed, sgd_update

__all__ = ["ExponentialMovingAverage", "LossScale", "SAM", "SGD", "adaptive_gradient_clip", "sam_perturb",
           "clip_by_global_norm", "clip_factor", "clipped_update", "constant", "cosine", "fast_cupy", "fast_numpy",
           "global_norm", "is_clipped", "is_decayed", "moving_average", "sgd_update", "step_decay", "unitwise_norm",
           "warmup_cosine"]
