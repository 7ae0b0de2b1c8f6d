"""Modules that own parameters and buffers: the layers of normalizer-free networks and their initialization."""

from .initialization import Initializer
from .layers import Conv2D, Dropout, Linear, Nonlinearity, SqueezeExcite, StochasticDepth, WSConv2D, cast_like
from .mode import EVALUATION, Mode
from .module import Module

__all__ = ["EVALUATION", "Conv2D", "Dropout", "Initializer", "Linear", "Mode", "Module", "Nonlinearity",
           "SqueezeExcite", "StochasticDepth", "WSConv2D", "cast_like"]
