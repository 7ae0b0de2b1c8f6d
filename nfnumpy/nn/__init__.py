"""Modules that own parameters and buffers: the layers of networks and their initialization."""

from .batch_norm import BatchNorm
from .conv_norm import ConvNorm, activated
from .initialization import Initializer
from .layers import Conv2D, Dropout, Linear, Nonlinearity, SqueezeExcite, StochasticDepth, WSConv2D, cast_like
from .mode import EVALUATION, Mode
from .module import Module
from .normalization import NORMS, GroupNorm, InstanceNorm, LayerNorm, NoNorm, create_norm
from .switchable_norm import SwitchableNorm
from .weight_standardized import WeightStandardizedConv2D

__all__ = ["EVALUATION", "NORMS", "BatchNorm", "Conv2D", "ConvNorm", "Dropout", "GroupNorm", "Initializer",
           "InstanceNorm", "LayerNorm", "Linear", "Mode", "Module", "NoNorm", "Nonlinearity", "SqueezeExcite",
           "StochasticDepth", "SwitchableNorm", "WSConv2D", "WeightStandardizedConv2D", "activated", "cast_like",
           "create_norm"]
