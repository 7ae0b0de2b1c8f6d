"""Modules that own parameters."""

from .initialization import Initializer
from .layers import Conv2D, Dropout, Linear, Nonlinearity, SqueezeExcite, StochasticDepth, WSConv2D, cast_like
from .module import Module

__all__ = ["Conv2D", "Dropout", "Initializer", "Linear", "Module", "Nonlinearity", "SqueezeExcite", "StochasticDepth",
           "WSConv2D", "cast_like"]
