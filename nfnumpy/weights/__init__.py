"""Reading and writing weights: our own safetensors files, and the names and layouts of other implementations."""

from .conversion import convert
from .files import read, save
from .haiku import from_haiku, to_haiku
from .loading import is_checkpoint, load
from .timm import from_timm, to_timm, with_timm_epsilon

__all__ = ["convert", "from_haiku", "from_timm", "is_checkpoint", "load", "read", "save", "to_haiku", "to_timm",
           "with_timm_epsilon"]
