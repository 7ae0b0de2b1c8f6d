"""From gradients to changed weights. The formulas work on arrays, the optimizers on named parameters."""

from . import fast_cupy, fast_numpy  # registers the fast paths
from .agc import adaptive_gradient_clip, clip_factor, unitwise_norm
from .ema import ExponentialMovingAverage, moving_average
from .global_norm import clip_by_global_norm, global_norm, scaled_global_norm
from .groups import clipped_by_default, final_linear_weight, is_decayed
from .loss_scale import LossScale
from .sam import SAM, sam_perturb
from .schedules import constant, cosine, step_decay, warmup_cosine
from .sgd import SGD, clipped_update, sgd_update

__all__ = ["SAM", "SGD", "ExponentialMovingAverage", "LossScale", "adaptive_gradient_clip", "clip_by_global_norm",
           "clip_factor", "clipped_by_default", "clipped_update", "constant", "cosine", "fast_cupy", "fast_numpy",
           "final_linear_weight", "global_norm", "is_decayed", "moving_average", "sam_perturb", "scaled_global_norm",
           "sgd_update", "step_decay", "unitwise_norm", "warmup_cosine"]
