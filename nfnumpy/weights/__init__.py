"""Reading and writing weights: our own safetensors files, and the names other implementations use."""

from .files import load, read, save

__all__ = ["load", "read", "save"]
