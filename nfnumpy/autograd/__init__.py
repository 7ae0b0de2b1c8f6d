"""The tape: reverse-mode differentiation over arrays of any backend. It knows nothing of networks.

An operation is a function on arrays with, for each input, its vector-Jacobian product: the function from the cotangent
of the output to that of the input. `differentiable` joins them. When the operation runs on Tensors it records a Node:
where its inputs came from and the few arrays that the backward pass needs. `Tensor.backward` goes through the nodes in
reverse topological order, calls the products of each, adds up what they return, and frees the node's arrays at once.

tape.py: nodes and what is recorded; backward.py: the backward pass, with parallel_backward.py, its fast path;
tensor.py: Tensor; operation.py: from formulas to operations; checkpoint.py: recomputation.
"""

from . import parallel_backward  # registers the fast path of backward_pass
from .backward import backward_pass, reverse_topological_order
from .checkpoint import checkpoint
from .operation import DifferentiableFunction, Operation, differentiable
from .tape import GraphError, Node, is_recomputing, no_grad, record_operations, trust_saved_arrays
from .tensor import Tensor

__all__ = ["DifferentiableFunction", "GraphError", "Node", "Operation", "Tensor", "backward_pass", "checkpoint",
           "differentiable", "is_recomputing", "no_grad", "parallel_backward", "record_operations",
           "reverse_topological_order", "trust_saved_arrays"]
