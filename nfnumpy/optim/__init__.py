"""From gradients to changed weights. The formulas work on arrays, the optimizers on named parameters."""

from . import fast_cupy, fast_numpy  # registers the fast paths
from .agc import adaptive_gradient_clip, clip_factor, unitwise_norm
from .ema import ExponentialMovingAverage, moving_average
from .global_norm import clip_by_global_norm, global_norm, scaled_global_norm
from .groups import clipped_by_default, final_linear_weight, is_decayed
from .loss_scale import LossScale
from .optimizer import Optimizer
from .rmsprop import RMSProp, clipped_rmsprop_update, rmsprop_update
from .sam import SAM, sam_perturb
from .schedules import constant, cosine, exponential_decay, step_decay, warmup_cosine
from .sgd import SGD, clipped_update, sgd_update

__all__ = ["SAM", "SGD", "ExponentialMovingAverage", "LossScale", "Optimizer", "RMSProp", "adaptive_gradient_clip",
           "clip_by_global_norm", "clip_factor", "clipped_by_default", "clipped_rmsprop_update", "clipped_update",
           "constant", "cosine", "exponential_decay", "fast_cupy", "fast_numpy", "final_linear_weight", "global_norm",
           "is_decayed", "moving_average", "rmsprop_update", "sam_perturb", "scaled_global_norm", "sgd_update",
           "step_decay", "unitwise_norm", "warmup_cosine"]
