"""Classification losses: sums over the classes, means over the batch.

Used by: ops.py, training/. Fast paths: fast_cupy/losses.py. Kernel: losses.cu.
Test: reference_tests/functional/test_operations_against_torch.py, kernels/test_losses.py.
"""

from numpy.typing import DTypeLike

from ..backend import formula, namespace
from ..backend.arrays import Array
from ..errors import InputError
from .activations import log_softmax, sigmoid, softplus
from .checks import Shape, real_number, shown


def target_distribution(labels: Array, logits_shape: Shape, dtype: DTypeLike,
                        label_smoothing: float = 0.0) -> Array:
    """Labels (N,) of whole numbers or (N, classes) of shares, as shares (N, classes) of `dtype`, smoothed.

    Smoothing by s: (1 - s)·share + s/classes (Szegedy et al., 2016, section 7). InputError for labels that do not fit.
    """
    xp, classes = namespace(labels), logits_shape[1]
    if are_whole_numbers(labels, logits_shape, dtype, label_smoothing):
        if labels.shape[0] and not (0 <= int(xp.min(labels)) and int(xp.max(labels)) < classes):
            raise InputError(f"labels: expected whole numbers from 0 to {classes - 1}, got "
                             f"{int(xp.min(labels))} … {int(xp.max(labels))}")
        shares = xp.astype(xp.astype(labels, xp.int64)[:, None] == xp.arange(classes, dtype=xp.int64)[None, :], dtype)
    else:
        shares = xp.astype(labels, dtype)
    return shares * (1.0 - label_smoothing) + label_smoothing / classes if label_smoothing else shares


def are_whole_numbers(labels: Array, logits_shape: Shape, dtype: DTypeLike, label_smoothing: float = 0.0) -> bool:
    """Whether the labels are whole numbers (N,), else they are shares (N, classes); InputError for any others."""
    if not hasattr(labels, "dtype"):
        raise InputError(f"labels: expected an array, got {shown(labels)}")
    xp, count = namespace(labels), logits_shape[0]
    if not 0.0 <= real_number(label_smoothing, "label_smoothing") <= 1.0:
        raise InputError(f"label_smoothing: expected a number from 0 to 1, got {shown(label_smoothing)}")
    if labels.ndim == 1 and labels.shape[0] == count and xp.isdtype(labels.dtype, "integral"):
        return True
    if tuple(labels.shape) == tuple(logits_shape) and (
            labels.dtype == dtype or xp.isdtype(labels.dtype, "real floating")):
        return False
    raise InputError(f"labels: expected {count} whole numbers or shares of shape {tuple(logits_shape)}, got "
                     f"{tuple(labels.shape)} of {labels.dtype}")


def check_logits(logits: Array) -> None:
    """InputError unless the logits are (N, classes)."""
    if logits.ndim != 2 or 0 in logits.shape:
        raise InputError(f"logits: expected (N, classes) with at least one of each, got {tuple(logits.shape)}")


@formula
def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    """-Σ_classes share·log softmax(logits), mean over the batch: logits (N, classes) -> ().

    labels: whole numbers (N,) or shares (N, classes) of the logits' kind, which need not sum to 1.
    """
    check_logits(logits)
    xp = namespace(logits)
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    return -xp.sum(shares * log_softmax(logits)) / logits.shape[0]


@formula
def softmax_cross_entropy_vjp(cotangent: Array, logits: Array, labels: Array, *,
                              label_smoothing: float = 0.0) -> Array:
    """(softmax·Σ shares - shares)/N, for the logits."""
    xp = namespace(logits)
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    total = xp.sum(shares, axis=-1, keepdims=True)
    return (xp.exp(log_softmax(logits)) * total - shares) * (cotangent / logits.shape[0])


def sigmoid_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    """-Σ_classes share·log σ(logit) + (1 - share)·log σ(-logit), mean over the batch: logits (N, classes) -> ()."""
    check_logits(logits)
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    return namespace(logits).sum(softplus(logits) - shares * logits) / logits.shape[0]


def sigmoid_cross_entropy_vjp(cotangent: Array, logits: Array, labels: Array, *,
                              label_smoothing: float = 0.0) -> Array:
    """(σ(logits) - shares)/N, for the logits."""
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    return (sigmoid(logits) - shares) * (cotangent / logits.shape[0])
