"""nfnumpy: the executable specification of normalizer-free networks, on NumPy or CuPy."""

from . import blas  # the first of all: it speaks to OpenBLAS, which NumPy loads
from . import analysis, autograd, backend, datasets, functional, models, nn, ops, optim, training, verify, weights
from . import fast_walk  # a fast path, which announces itself
from .autograd import GraphError, Tensor, checkpoint, no_grad, trust_saved_arrays
from .backend import reference
from .errors import InputError

__version__ = "0.1.0"
__all__ = ["GraphError", "InputError", "Tensor", "analysis", "autograd", "backend", "blas", "checkpoint",
           "datasets", "fast_walk", "functional", "models", "nn", "no_grad", "ops", "optim", "reference", "training",
           "trust_saved_arrays", "verify", "weights"]
