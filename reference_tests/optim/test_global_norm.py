"""The norm over all gradients together, and clipping by it."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.optim import clip_by_global_norm, global_norm

EPS = np.finfo(np.float64).eps


@given(st.integers(0, 2**32), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_clipping_by_the_global_norm_equals_torch(seed, scale, max_norm):
    """torch divides by the norm + 1e-6, hence the tolerance; 26 numbers give (26 + 3)/2 epsilons on either side."""
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(scale * rng.standard_normal(shape)) for shape in [(3, 4), (5,), (), (2, 2, 2)]]
    tensors = [torch.nn.Parameter(torch.zeros(array.shape, dtype=torch.float64)) for array in arrays]
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.grad = torch.from_numpy(array.copy())
    norm = float(torch.nn.utils.clip_grad_norm_(tensors, max_norm))
    assert float(global_norm(arrays)) == pytest.approx(norm, rel=40 * EPS)
    clipped = clip_by_global_norm(arrays, max_norm)
    for array, ours, tensor in zip(arrays, clipped, tensors, strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-6 / norm + 40 * EPS, atol=0)
        if norm < max_norm * (1 - 40 * EPS):
            assert np.array_equal(ours, array)


def test_a_global_norm_of_zero_clips_nothing_silently():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not clip_by_global_norm([np.zeros(3), np.zeros(())], 1.0)[0].any()


@pytest.mark.parametrize("call", [lambda: global_norm([]), lambda: clip_by_global_norm([], 1.0),
                                  lambda: clip_by_global_norm([np.ones(2)], 0.0),
                                  lambda: clip_by_global_norm([np.ones(2)], "1"), lambda: global_norm([1.0])])
def test_invalid_arguments_are_refused(call):
    with pytest.raises(InputError):
        call()
