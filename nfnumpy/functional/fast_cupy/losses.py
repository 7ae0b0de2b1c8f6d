"""The softmax cross entropy and the count of correct rows, without the host waiting.

A label outside of 0 … classes - 1, for which the formula raises InputError, makes the loss and its row of the gradient
NaN here: looking at labels before going on would make the host wait for the GPU in every step.

Kernels: backend/kernels/losses.cu. Test: reference_tests/kernels/test_losses.py.
"""

import numpy

from ...backend import backend_name_of, cuda
from ...backend.arrays import Array
from .. import losses as formulas, metrics
from ..losses import are_whole_numbers, check_logits

KINDS = ("whole_numbers", "shares")
KERNELS = cuda.KernelFile("losses", {
    "cross_entropy_of_rows": (cuda.FLOATING, KINDS), "softmax_cross_entropy_vjp": (cuda.FLOATING, KINDS),
    "mean_of_rows": (cuda.FLOATING,), "correct_rows": (cuda.FLOATING,), "sum_of_rows": (("int64",),)})


def _over_rows(kernel, parameters, logits, *arguments):
    """One block a row, no more threads than classes call for."""
    count, classes = logits.shape
    threads = min(cuda.THREADS, 32 * cuda.ceil_div(classes, 32))
    KERNELS.launch(kernel, parameters, count, threads, *arguments)


def _labels(labels, logits, label_smoothing):
    """(kind, labels as the kernels take them, factor of a share, what is added to it)."""
    whole = are_whole_numbers(labels, logits.shape, logits.dtype, label_smoothing)
    kind, dtype = (KINDS[0], numpy.int64) if whole else (KINDS[1], logits.dtype)
    wide = cuda.accumulator_type(logits.dtype)
    classes = logits.shape[1]
    return kind, labels.astype(dtype, copy=False), wide(1.0 - label_smoothing), wide(label_smoothing / classes)


def _together(*arrays):
    return all(backend_name_of(array) == "cupy" for array in arrays)


@formulas.softmax_cross_entropy.fast_path("cupy")
def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    """Two launches: a loss for every row, then their mean."""
    check_logits(logits)
    if not cuda.supports(logits) or not _together(labels):
        return NotImplemented
    kind, labels, keep, spread = _labels(labels, logits, label_smoothing)
    logits, labels = cuda.contiguous(logits, labels)
    count, classes = logits.shape
    rows = cuda.empty((count,), cuda.accumulator_type(logits.dtype))
    out = cuda.empty((), logits.dtype)
    _over_rows("cross_entropy_of_rows", (logits.dtype, kind), logits, logits, labels, rows, numpy.int64(classes), keep,
               spread)
    KERNELS.launch("mean_of_rows", (logits.dtype,), 1, cuda.THREADS, rows, out, numpy.int64(count))
    return out


@formulas.softmax_cross_entropy_vjp.fast_path("cupy")
def softmax_cross_entropy_vjp(cotangent: Array, logits: Array, labels: Array, *,
                              label_smoothing: float = 0.0) -> Array:
    """One launch, which computes the softmax again and reads the cotangent where it is."""
    if not _together(logits, labels) or not cuda.supports(cotangent, logits) or cotangent.shape or 0 in logits.shape:
        return NotImplemented
    kind, labels, keep, spread = _labels(labels, logits, label_smoothing)
    cotangent, logits, labels = cuda.contiguous(cotangent, logits, labels)
    back = cuda.empty_like(logits)
    _over_rows("softmax_cross_entropy_vjp", (logits.dtype, kind), logits, cotangent, logits, labels, back,
               numpy.int64(logits.shape[1]), keep, spread)
    return back


@metrics.count_correct.fast_path("cupy")
def count_correct(logits: Array, labels: Array) -> Array:
    """Two launches: whether each row is correct, then their sum. A label that is no class is never correct."""
    if not cuda.supports(logits) or not _together(labels):
        return NotImplemented
    logits, labels = cuda.contiguous(logits, labels.astype(numpy.int64, copy=False))
    count, classes = logits.shape
    rows = cuda.empty((count,), numpy.int64)
    out = cuda.empty((), numpy.int64)
    _over_rows("correct_rows", (logits.dtype,), logits, logits, labels, rows, numpy.int64(classes))
    KERNELS.launch("sum_of_rows", ("int64",), 1, cuda.THREADS, rows, out, numpy.int64(count))
    return out
