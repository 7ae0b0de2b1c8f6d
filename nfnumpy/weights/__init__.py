"""Reading and writing weights: our own safetensors files, and the names and layouts other implementations use."""

from .files import load, read, save
from .haiku import from_haiku, to_haiku
from .timm import from_timm, to_timm

__all__ = ["from_haiku", "from_timm", "load", "read", "save", "to_haiku", "to_timm"]
