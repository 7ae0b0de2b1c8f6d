"""A network as an ONNX file, for runtimes such as onnxruntime.

The graph is made from the operations that the network executes, recorded while an empty batch runs through it, so a
family needs no description of its own here. trace.py: what is recorded; layers.py, arithmetic.py, activations.py: the
ONNX nodes of each operation; graph.py, emitter.py: the graph under construction; model.py: the file; comparison.py:
the check by onnxruntime.
"""

from .comparison import compare_with_onnxruntime
from .model import OnnxOptions, onnx_model, save_onnx

__all__ = ["OnnxOptions", "compare_with_onnxruntime", "onnx_model", "save_onnx"]
