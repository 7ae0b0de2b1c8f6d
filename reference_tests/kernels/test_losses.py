"""The kernels of the softmax cross entropy and of counting what is correct, beside their formulas in float64."""

import cupy
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError, ops, reference
from nfnumpy.backend import cuda
from nfnumpy.functional import losses, metrics
from reference_tests.helpers.on_gpu import ANY_DTYPE, DTYPES, bits_in_all_orders, launched, put, waits


def problem(count, classes, dtype, kind, seed=0, spread=3.0):
    """(logits of `dtype`, labels) on the host: whole numbers of the type `kind`, or shares where that floats."""
    random = np.random.default_rng([count, classes, seed])
    logits = (spread * random.standard_normal((count, classes))).astype(dtype)
    whole = np.dtype(kind).kind in "iu"
    labels = random.integers(0, min(classes, 100), count) if whole else random.random((count, classes))
    return logits, labels.astype(kind)


def wide(array):
    """On the host, in float64; whole numbers as they are."""
    array = array if isinstance(array, np.ndarray) else cupy.asnumpy(array)
    return array if array.dtype.kind in "iu" else array.astype(np.float64)


def in_formula(formula, *arrays, **options):
    """What the formula says in float64; labels of another precision are first rounded to that of the logits."""
    return np.asarray(formula.plain(*map(wide, arrays), **options))


def roundings(dtype):
    """(epsilon of what is computed with, epsilon and smallest number of the result)."""
    dtype = np.dtype(dtype)
    info = ml_dtypes.finfo(dtype)
    return float(np.finfo(cuda.accumulator_type(dtype)).eps), float(info.eps), float(info.smallest_subnormal)


def allowed_loss(logits, shares, loss):
    """How far rounding may take the loss.

    Of a term share·(x - max - log Σ): the difference errs by eps/2 of its parts, the sum by (classes + 4)·eps/2 of
    itself, the logarithm by 2 eps of itself, smoothing and products by eps. Adding the terms errs by (classes + rows)·
    eps/2 of all magnitudes. Twice that for the longest paths meeting; the result is rounded once more.
    """
    eps, narrow, smallest = roundings(logits.dtype)
    logits, (count, classes) = wide(logits), logits.shape
    parts = 1 + np.log(classes) + np.abs(logits) + np.max(np.abs(logits), axis=1, keepdims=True)
    return (count + 2 * classes + 16) * eps * np.sum(shares * parts) / count + narrow * np.abs(loss) + smallest


def allowed_gradient(logits, shares, scale):
    """The same for each (softmax·Σ shares - share)·scale: exp errs by |x - max|·eps/2 and 2 eps of itself."""
    eps, narrow, smallest = roundings(logits.dtype)
    logits = wide(logits)
    softmax = np.exp(losses.log_softmax(logits))
    exponent = np.max(logits, axis=1, keepdims=True) - logits
    parts = softmax * np.sum(shares, axis=1, keepdims=True) * (2 * logits.shape[1] + 16 + exponent) + 4 * shares
    return (eps * parts + narrow * (softmax * np.sum(shares, axis=1, keepdims=True) + shares)) * scale + smallest


def compare(logits, labels, cotangent=1.0, on_device=cupy.asarray, **options):
    """Hold the loss and its gradient on the GPU against the formulas in float64."""
    count, dtype = logits.shape[0], logits.dtype
    rounded = labels if labels.ndim == 1 else labels.astype(dtype)
    shares = losses.target_distribution(wide(rounded), logits.shape, np.float64, **options)
    device, held = on_device(logits), cupy.asarray(labels)
    loss = losses.softmax_cross_entropy(device, held, **options)
    expected = in_formula(losses.softmax_cross_entropy, logits, rounded, **options)
    assert loss.shape == () and loss.dtype == dtype
    assert abs(wide(loss) - expected) <= allowed_loss(logits, shares, expected)
    cotangent = np.asarray(cotangent, dtype=dtype)
    back = losses.softmax_cross_entropy_vjp(cupy.asarray(cotangent), device, held, **options)
    assert back.shape == logits.shape and back.dtype == dtype
    expected = in_formula(losses.softmax_cross_entropy_vjp, cotangent, logits, rounded, **options)
    assert np.all(np.abs(wide(back) - expected) <= allowed_gradient(logits, shares, abs(wide(cotangent)) / count))


KINDS = st.sampled_from([np.int64, np.int32, np.uint8, np.float32, np.float64, None])  # None: shares in the dtype


@given(count=st.integers(1, 9), classes=st.integers(1, 70), dtype=ANY_DTYPE, kind=KINDS,
       smoothing=st.sampled_from([0.0, 0.1, 1.0]), cotangent=st.sampled_from([1.0, -0.3, 1024.0]))
def test_loss_and_gradient_are_the_formulas(count, classes, dtype, kind, smoothing, cotangent):
    logits, labels = problem(count, classes, dtype, dtype if kind is None else kind)
    compare(logits, labels, cotangent, label_smoothing=smoothing)


@pytest.mark.parametrize("kind", [np.int64, np.float32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count, classes", [(3, 1000), (2, 257), (300, 3), (1, 256)])
def test_more_classes_or_rows_than_threads_give_the_formula(count, classes, dtype, kind):
    logits, labels = problem(count, classes, dtype, kind)
    compare(logits, labels, label_smoothing=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_that_are_not_contiguous_give_the_formula(dtype):
    logits, labels = problem(5, 33, dtype, np.int64)
    compare(logits, labels, on_device=lambda array: put(array, transposed=True))
    compare(logits, labels, on_device=lambda array: put(array, misaligned=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
def test_logits_far_from_zero_overflow_nowhere(dtype, offset):
    logits, labels = problem(3, 40, dtype, np.int64)
    compare((logits + np.asarray(offset, dtype)).astype(dtype), labels)
    logits[0] = 0
    logits[0, 7] = offset * 30
    compare(logits, labels)


def test_infinite_logits_are_as_in_the_formula():
    logits, labels = problem(4, 9, np.float32, np.float32)
    for value, row in ((np.inf, 0), (np.nan, 1), (-np.inf, 2)):
        logits[row] = value if value < 0 else logits[row]
        logits[row, 3] = value
    back = wide(losses.softmax_cross_entropy_vjp(cupy.ones(()).astype(np.float32), cupy.asarray(logits),
                                                 cupy.asarray(labels)))
    with np.errstate(invalid="ignore"):
        expected = in_formula(losses.softmax_cross_entropy_vjp, np.ones(()), logits, labels)
        loss = in_formula(losses.softmax_cross_entropy, logits, labels)
    assert np.array_equal(np.isnan(back), np.isnan(expected)) and np.isnan(expected[:3]).all()
    assert np.isnan(loss) and np.isnan(wide(losses.softmax_cross_entropy(cupy.asarray(logits), cupy.asarray(labels))))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind, wrong", [(np.int64, -1), (np.int64, 10), (np.int32, -2**31), (np.uint8, 255),
                                         (np.int64, 2**40)])
def test_a_label_that_is_no_class_makes_loss_and_gradient_nan(kind, wrong, smoothing):
    logits, labels = problem(5, 10, np.float32, kind)
    right = cupy.asarray(labels)
    labels[3] = wrong
    one, logits, labels = cupy.ones((), np.float32), cupy.asarray(logits), cupy.asarray(labels)
    assert np.isnan(wide(losses.softmax_cross_entropy(logits, labels, label_smoothing=smoothing)))
    back = wide(losses.softmax_cross_entropy_vjp(one, logits, labels, label_smoothing=smoothing))
    assert np.isnan(back[3]).all()
    unharmed = wide(losses.softmax_cross_entropy_vjp(one, logits, right, label_smoothing=smoothing))
    assert np.array_equal(np.delete(back, 3, axis=0), np.delete(unharmed, 3, axis=0))
    assert not np.isnan(unharmed).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [10, 1000])
def test_every_order_of_threads_gives_the_same_bits(classes, dtype):
    logits, labels = map(cupy.asarray, problem(40, classes, dtype, np.int64))
    cotangent = cupy.asarray(np.asarray(0.7, dtype))
    assert len(bits_in_all_orders(lambda: (
        losses.softmax_cross_entropy(logits, labels, label_smoothing=0.1),
        losses.softmax_cross_entropy_vjp(cotangent, logits, labels, label_smoothing=0.1),
        metrics.count_correct(logits, labels)))) == 1


# ---- counting

@given(count=st.integers(1, 300), classes=st.integers(1, 40), dtype=ANY_DTYPE,
       kind=st.sampled_from([np.int64, np.int32, np.uint8]), values=st.integers(1, 5))
def test_a_row_is_correct_where_its_first_maximum_is_the_label(count, classes, dtype, kind, values):
    """Of few different values, so that many rows have several maxima."""
    random = np.random.default_rng([count, classes, values])
    logits = random.integers(-values, values, (count, classes)).astype(dtype)
    labels = random.integers(0, min(classes, 3), count).astype(kind)
    counted = metrics.count_correct(cupy.asarray(logits), cupy.asarray(labels))
    assert counted.shape == () and counted.dtype == np.int64
    assert wide(counted) == np.sum(np.argmax(wide(logits), axis=1) == labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_nan_is_the_maximum_no_class_is_never_correct(dtype):
    logits = np.zeros((7, 300), dtype=dtype)
    logits[0, [5, 280]] = np.nan, np.nan
    logits[1, [5, 280]] = np.inf, np.nan
    logits[2, [280, 290]] = np.inf, np.inf
    logits[3] = -np.inf
    logits[4, 299] = 1
    labels = np.array([5, 280, 280, 0, 299, -1, 300])
    assert wide(metrics.count_correct(cupy.asarray(logits), cupy.asarray(labels))) == 5
    assert wide(metrics.count_correct(cupy.asarray(logits), cupy.asarray(labels + 1))) == 1  # row 5, then all zeros


def test_numpy_counts_in_an_array_too():
    counted = metrics.count_correct(np.eye(3), np.array([0, 1, 0]))
    assert isinstance(counted, np.ndarray) and counted.shape == () and counted.dtype == np.int64 and counted == 2


# ---- how they run

def test_a_loss_is_two_launches_its_gradient_one_without_waiting():
    logits, labels = map(cupy.asarray, problem(6, 10, np.float32, np.int64))
    shares, one = cupy.asarray(problem(6, 10, np.float32, np.float32)[1]), cupy.ones((), np.float32)
    loss = ["cross_entropy_of_rows", "mean_of_rows"]
    for kernels, run in ((loss, lambda: losses.softmax_cross_entropy(logits, labels, label_smoothing=0.1)),
                         (loss, lambda: losses.softmax_cross_entropy(logits, shares)),
                         (["softmax_cross_entropy_vjp"], lambda: losses.softmax_cross_entropy_vjp(one, logits, labels)),
                         (["correct_rows", "sum_of_rows"], lambda: metrics.count_correct(logits, labels))):
        assert launched(run) == kernels and waits(run) == 0


def test_in_reference_mode_the_formula_names_the_bad_label():
    logits, labels = cupy.zeros((2, 3)), cupy.asarray(np.array([0, 3]))
    with reference(), pytest.raises(InputError, match="from 0 to 2, got 0 … 3"):
        losses.softmax_cross_entropy(logits, labels)
    with reference():
        assert launched(lambda: losses.softmax_cross_entropy(logits, labels % 3)) == []


@pytest.mark.parametrize("logits, labels, smoothing, message", [
    (np.zeros((2, 3)), np.array([0]), 0.0, "2 whole numbers"),
    (np.zeros((2, 3)), np.zeros((3, 2)), 0.0, r"shares of shape \(2, 3\)"),
    (np.zeros((2, 3)), np.zeros(2), 0.0, "2 whole numbers"),
    (np.zeros((2, 3)), np.array([0, 1]), 1.5, "label_smoothing"),
    (np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 0.0, "at least one"),
    (np.zeros((2, 0)), np.zeros(2, dtype=np.int64), 0.0, "at least one"),
    (np.zeros(3), np.zeros(3, dtype=np.int64), 0.0, r"\(N, classes\)")])
def test_mistakes_are_the_formulas_errors(logits, labels, smoothing, message):
    for on_device in (np.asarray, cupy.asarray):
        with pytest.raises(InputError, match=message):
            losses.softmax_cross_entropy(on_device(logits), on_device(labels), label_smoothing=smoothing)
        if logits.ndim == 2 and 0 not in logits.shape:
            with pytest.raises(InputError, match=message):
                losses.softmax_cross_entropy_vjp(on_device(np.ones(())), on_device(logits), on_device(labels),
                                                 label_smoothing=smoothing)
        if not smoothing:
            with pytest.raises(InputError, match=message):
                metrics.count_correct(on_device(logits), on_device(labels))


def test_shares_cannot_be_counted():
    for on_device in (np.asarray, cupy.asarray):
        with pytest.raises(InputError, match="2 whole numbers, got shares"):
            metrics.count_correct(on_device(np.zeros((2, 3))), on_device(np.zeros((2, 3))))


def test_the_tape_pulls_the_same_gradient():
    logits, labels = problem(4, 6, np.float32, np.int64)
    host, device = (ops.Tensor(array, requires_grad=True) for array in (logits, cupy.asarray(logits)))
    ops.softmax_cross_entropy(host, labels).backward()
    ops.softmax_cross_entropy(device, cupy.asarray(labels)).backward()
    np.testing.assert_allclose(wide(device.grad), host.grad, rtol=1e-5, atol=1e-7)
