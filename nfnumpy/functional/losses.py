"""Classification losses: sums over the classes, means over the batch."""

from ..backend import as_array, formula, namespace
from ..errors import InputError
from .activations import log_softmax, sigmoid, softplus


def target_distribution(labels, logits_shape, dtype, label_smoothing=0.0):
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


def are_whole_numbers(labels, logits_shape, dtype, label_smoothing=0.0):
    """Whether the labels are whole numbers (N,), else they are shares (N, classes); InputError for any others."""
    xp, count = namespace(labels), logits_shape[0]
    if not 0.0 <= label_smoothing <= 1.0:
        raise InputError(f"label_smoothing: expected a number from 0 to 1, got {label_smoothing!r}")
    if labels.ndim == 1 and labels.shape[0] == count and xp.isdtype(labels.dtype, "integral"):
        return True
    if tuple(labels.shape) == tuple(logits_shape) and (
            labels.dtype == dtype or xp.isdtype(labels.dtype, "real floating")):
        return False
    raise InputError(f"labels: expected {count} whole numbers or shares of shape {tuple(logits_shape)}, got "
                     f"{tuple(labels.shape)} of {labels.dtype}")


def check_logits(logits):
    """InputError unless the logits are (N, classes)."""
    if logits.ndim != 2 or 0 in logits.shape:
        raise InputError(f"logits: expected (N, classes) with at least one of each, got {tuple(logits.shape)}")


@formula
def softmax_cross_entropy(logits, labels, *, label_smoothing=0.0):
    """-Σ_classes share·log softmax(logits), mean over the batch: logits (N, classes) -> ().

    labels: whole numbers (N,) or shares (N, classes) of the logits' kind, which need not sum to 1.
    """
    check_logits(logits)
    xp = namespace(logits)
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    return -xp.sum(shares * log_softmax(logits)) / logits.shape[0]


@formula
def softmax_cross_entropy_vjp(cotangent, logits, labels, *, label_smoothing=0.0):
    """(softmax·Σ shares - shares)/N, for the logits."""
    xp = namespace(logits)
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    total = xp.sum(shares, axis=-1, keepdims=True)
    return (xp.exp(log_softmax(logits)) * total - shares) * (cotangent / logits.shape[0])


def sigmoid_cross_entropy(logits, labels, *, label_smoothing=0.0):
    """-Σ_classes share·log σ(logit) + (1 - share)·log σ(-logit), mean over the batch: logits (N, classes) -> ()."""
    check_logits(logits)
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    return namespace(logits).sum(softplus(logits) - shares * logits) / logits.shape[0]


def sigmoid_cross_entropy_vjp(cotangent, logits, labels, *, label_smoothing=0.0):
    """(σ(logits) - shares)/N, for the logits."""
    shares = target_distribution(labels, logits.shape, logits.dtype, label_smoothing)
    return (sigmoid(logits) - shares) * (cotangent / logits.shape[0])


def check_counted(logits, labels):
    """InputError unless the logits are (N, classes) and the labels whole numbers (N,)."""
    check_logits(logits)
    if not are_whole_numbers(labels, logits.shape, logits.dtype):
        raise InputError(f"labels: expected {logits.shape[0]} whole numbers, got shares {tuple(labels.shape)}")


@formula
def count_correct(logits, labels):
    """How many rows of the logits (N, classes) have their first maximum at the label: labels (N,) -> () of int64."""
    check_counted(logits, labels)
    xp = namespace(logits)
    hits = xp.argmax(logits, axis=1) == xp.astype(labels, xp.int64)
    return as_array(xp.sum(xp.astype(hits, xp.int64)))
