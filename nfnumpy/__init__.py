"""nfnumpy: the executable specification of normalizer-free networks, on NumPy or CuPy."""

from . import backend  # first: it configures OpenBLAS before NumPy loads it  # isort: skip
from . import (
    analysis,
    augment,
    autograd,
    datasets,
    evaluation,
    functional,
    models,
    nn,
    ops,
    optim,
    training,
    verify,
    weights,
)
from .autograd import GraphError, Tensor, checkpoint, no_grad, trust_saved_arrays
from .backend import reference
from .errors import InputError

__version__ = "0.2.0"
__all__ = ["GraphError", "InputError", "Tensor", "analysis", "augment", "autograd", "backend", "checkpoint",
           "datasets", "evaluation", "functional", "models", "nn", "no_grad", "ops", "optim", "reference", "training",
           "trust_saved_arrays", "verify", "weights"]
