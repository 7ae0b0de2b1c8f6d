"""Reading and writing weights: our own safetensors files, and the names and layouts of other implementations."""

from .conversion import convert
from .files import read, save
from .haiku import from_haiku, to_haiku
from .keras import from_keras, to_keras
from .loading import is_checkpoint, load
from .onnx_export import OnnxOptions, compare_with_onnxruntime, onnx_model, save_onnx
from .timm import from_timm, to_timm, with_timm_epsilon, without_timm_epsilon

__all__ = ["OnnxOptions", "compare_with_onnxruntime", "convert", "from_haiku", "from_keras", "from_timm",
           "is_checkpoint", "load", "onnx_model", "read", "save", "save_onnx", "to_haiku", "to_keras", "to_timm",
           "with_timm_epsilon", "without_timm_epsilon"]
