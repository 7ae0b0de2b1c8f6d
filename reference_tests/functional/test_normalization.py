"""Normalizations where the table of operations does not look: half precision, joint batches, constant channels."""

import itertools
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError, Tensor, ops
from nfnumpy.functional.normalization import batch_moments
from nfnumpy.functional.switchable_normalization import switchable_moments
from reference_tests.helpers.strategies import seeds

HALF = [np.float16, ml_dtypes.bfloat16]


class Devices:
    """Threads that each have a part of a batch, and the sum over them: the parts are added in their order."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count)
        self.given = [None] * count

    def run(self, function):
        """[function(number, joint_sum) of every device]"""
        results = [None] * len(self.given)

        def work(number):
            results[number] = function(number, lambda array: self.sum(number, array))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(self.given))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def sum(self, number, array):
        self.given[number] = array
        self.barrier.wait(timeout=60)
        total = sum(self.given[1:], start=self.given[0])
        self.barrier.wait(timeout=60)
        return total


def batch_norm(x, gamma, beta, joint_sum):
    mean, variance, _ = batch_moments(x.data, joint_sum=joint_sum)
    return ops.batch_norm(x, gamma, beta, mean, variance, eps=1e-5, joint_sum=joint_sum)


def batch_norm_by_itself(x, gamma, beta, joint_sum):
    return ops.batch_norm(x, gamma, beta, eps=1e-5, joint_sum=joint_sum)


def activated_batch_norm(x, gamma, beta, joint_sum):
    mean, variance, _ = batch_moments(x.data, joint_sum=joint_sum)
    return ops.activated_batch_norm(x, gamma, beta, mean, variance, name="silu", eps=1e-5, joint_sum=joint_sum)


def switchable_norm(x, gamma, beta, joint_sum):
    weights = np.array([0.3, -0.5, 1.0]), np.array([0.1, 0.2, 0.7])
    return ops.switchable_norm(x, gamma, beta, *weights, unbiased=True, joint_sum=joint_sum)


def switchable_norm_of_moments(x, gamma, beta, joint_sum):
    weights = np.array([0.3, -0.5, 1.0]), np.array([0.1, 0.2, 0.7])
    batch, *instance = switchable_moments(x.data, unbiased=True, joint_sum=joint_sum)
    return ops.switchable_norm(x, gamma, beta, *weights, batch.mean, batch.variance, *instance, unbiased=True,
                               joint_sum=joint_sum)


def switchable_batch_moments(x, joint_sum):
    return switchable_moments(x, joint_sum=joint_sum).batch


@pytest.mark.parametrize("norm, moments", [(batch_norm, batch_moments), (batch_norm_by_itself, batch_moments),
                                           (activated_batch_norm, batch_moments),
                                           (switchable_norm, switchable_batch_moments),
                                           (switchable_norm_of_moments, switchable_batch_moments)])
@given(sizes=st.lists(st.integers(1, 3), min_size=2, max_size=3), seed=seeds)
def test_devices_with_parts_of_a_batch_compute_what_one_does_with_all_of_it(norm, moments, sizes, seed):
    """Bound: sums of at most 36 terms in two orders; values and factors are below 10, so 1e-11 is a hundred times that.
    """
    random = np.random.default_rng(seed)
    x, cotangent = random.normal(2.0, 1.0, (sum(sizes), 2, 2, 3)), random.normal(size=(sum(sizes), 2, 2, 3))
    gamma, beta = random.normal(size=3), random.normal(size=3)

    def results(x, cotangent, joint_sum=None):
        inputs = [Tensor(array, requires_grad=True) for array in (x, gamma, beta)]
        out = norm(*inputs, joint_sum)
        out.backward(cotangent)
        return out.data, *(tensor.grad for tensor in inputs), *moments(x, joint_sum=joint_sum)

    cuts = [0, *np.cumsum(sizes)]
    parts = [slice(*pair) for pair in itertools.pairwise(cuts)]
    found = Devices(len(sizes)).run(lambda number, joint_sum: results(x[parts[number]], cotangent[parts[number]],
                                                                      joint_sum))
    whole = results(x, cotangent)
    out, back_x, back_gamma, back_beta, *joint = zip(*found, strict=True)
    close = {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(np.concatenate(out), whole[0], **close)
    np.testing.assert_allclose(np.concatenate(back_x), whole[1], **close)
    np.testing.assert_allclose(sum(back_gamma), whole[2], **close)
    np.testing.assert_allclose(sum(back_beta), whole[3], **close)
    for values, own in zip(joint, whole[4:], strict=True):
        for each in values:
            np.testing.assert_allclose(each, own, **close)


@pytest.mark.parametrize("wrong", [lambda x: x[0], lambda x: x.astype("float32"), lambda x: None, lambda x: 3.0])
def test_a_joint_sum_of_another_kind_is_refused(wrong):
    with pytest.raises(InputError, match="joint_sum: expected the sum over devices"):
        batch_moments(np.ones((2, 3)), joint_sum=wrong)
    with pytest.raises(InputError, match="joint_sum: expected a function"):
        batch_moments(np.ones((2, 3)), joint_sum=3)


@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_the_float32_result_rounded(half, training):
    """Statistics, gamma and beta stay in float32; of what is computed only x's share is rounded, once."""
    random = np.random.default_rng(0)
    x, cotangent = (random.normal(3.0, 2.0, (4, 3, 3, 5)).astype(half) for _ in range(2))
    channels = [random.uniform(0.5, 2, 5).astype(np.float32) for _ in range(4)]

    def results(dtype):
        inputs = [Tensor(x.astype(dtype), requires_grad=True),
                  *(Tensor(array, requires_grad=True) for array in channels[:2])]
        out = ops.batch_norm(*inputs, eps=1e-5) if training else ops.normalize(*inputs, *channels[2:], eps=1e-5)
        out.backward(cotangent.astype(dtype))
        return out.data, *(tensor.grad for tensor in inputs)

    for found, expected, dtype in zip(results(half), results(np.float32), (half, half, "float32", "float32"),
                                      strict=True):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected.astype(dtype))


@pytest.mark.parametrize("x, gamma", [("float32", "float64"), ("float64", "float32"), ("float16", "float16"),
                                      ("float16", "float64"), ("int32", "float32")])
def test_parameters_of_another_precision_are_refused(x, gamma):
    with pytest.raises(InputError):
        ops.batch_norm(np.ones((2, 3), x), np.ones(3, gamma), np.ones(3, gamma), eps=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (4, 2, 2, 3)])
def test_a_channel_of_one_value_or_of_equal_ones_becomes_beta_with_a_finite_derivative(shape):
    x, gamma, beta = (Tensor(array, requires_grad=True) for array in (np.full(shape, 7.0), np.ones(3), np.arange(3.0)))
    cotangent = np.random.default_rng(0).normal(size=shape)
    out = ops.batch_norm(x, gamma, beta, eps=1e-5)
    out.backward(cotangent)
    np.testing.assert_array_equal(out.data, np.broadcast_to(np.arange(3.0), shape))
    np.testing.assert_allclose(x.grad, (cotangent - cotangent.mean(axis=(0, 1, 2))) / np.sqrt(1e-5), atol=1e-12)
    np.testing.assert_array_equal(gamma.grad, np.zeros(3))


def test_no_value_at_all_is_refused_where_moments_are_taken():
    for shape in ((0, 2, 2, 3), (1, 0, 2, 3), (2, 0)):
        with pytest.raises(InputError, match="at least one value"):
            ops.batch_norm(np.ones(shape), np.ones(shape[-1]), np.ones(shape[-1]), eps=1e-5)
    assert ops.normalize(np.ones((0, 2, 2, 3)), *[np.ones(3)] * 4, eps=1e-5).shape == (0, 2, 2, 3)


@pytest.mark.parametrize("norm, options", [("group_norm", {"groups": 1}), ("instance_norm", {}),
                                           ("layer_norm", {"over": "image"}), ("layer_norm", {"over": "channels"}),
                                           ("switchable_norm", {})])
@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 2, 3)])
def test_moments_of_each_image_need_no_image(norm, options, shape):
    x, gamma, beta = (Tensor(np.ones(size), requires_grad=True) for size in (shape, 3, 3))
    others = [np.ones(size) for size in (3, 3, 3, 3)] if norm == "switchable_norm" else []
    out = getattr(ops, norm)(x, gamma, beta, *others, **options)
    out.backward(np.ones(shape))
    assert out.shape == x.grad.shape == shape and not gamma.grad.any() and not beta.grad.any()
    if others:
        with pytest.raises(InputError, match="at least one value"):
            ops.switchable_norm(x, gamma, beta, *others[:2])


@pytest.mark.parametrize("unbiased", [True, False])
def test_switchable_norm_is_the_same_bit_for_bit_with_the_moments_of_x_given(unbiased):
    """They spare two passes over x, forward and backward; the derivative goes through them all the same."""
    random = np.random.default_rng(0)
    x, cotangent = random.normal(2.0, 1.0, (2, 4, 3, 2, 5))
    arrays = [x, random.normal(size=5), random.normal(size=5), random.normal(size=3), random.normal(size=3)]
    batch, *instance = switchable_moments(x, unbiased=unbiased)

    def results(*moments):
        inputs = [Tensor(array, requires_grad=True) for array in arrays]
        out = ops.switchable_norm(*inputs, *moments, unbiased=unbiased)
        out.backward(cotangent)
        return out.data, *(tensor.grad for tensor in inputs)

    for found, expected in zip(results(batch.mean, batch.variance, *instance), results(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for moments in ((None, None, *instance), (batch.mean, batch.variance, instance[0]),
                    (batch.mean, batch.variance, *(part[:1] for part in instance))):
        with pytest.raises(InputError, match=r"instance_variance \(4, 5\) beside"):
            ops.switchable_norm(*arrays, *moments)
