"""The same work in nfnumpy, PyTorch and JAX; one class a file, made in a process of its own by the CPU's run.

The names are those of a report's rows.
"""

NFNUMPY, REFERENCE = "nfnumpy", "reference"  # with its fast paths, and in reference mode
GRAPH = "nfnumpy, graph"  # its training step and its inference as CUDA graphs
TORCH, NCHW, JAX = "PyTorch NHWC", "PyTorch NCHW", "JAX"  # channels last and channels first
IMPLICIT = "nfnumpy, graph, implicit"  # and its convolutions of many channels as implicit products
COMPILED = "PyTorch compiled"  # channels last, through torch.compile
EAGER, FUSED = "PyTorch", "PyTorch, fused SGD"  # of the update alone
