"""Modules that own parameters and buffers: the layers of networks and their initialization."""

from .conv_norm import ConvNorm
from .initialization import Initializer
from .layers import Conv2D, Dropout, Linear, Nonlinearity, SqueezeExcite, StochasticDepth, WSConv2D, cast_like
from .mode import EVALUATION, Mode
from .module import Module
from .normalization import NORMS, BatchNorm, create_norm

__all__ = ["EVALUATION", "NORMS", "BatchNorm", "Conv2D", "ConvNorm", "Dropout", "Initializer", "Linear", "Mode",
           "Module", "Nonlinearity", "SqueezeExcite", "StochasticDepth", "WSConv2D", "cast_like", "create_norm"]
