"""Every operation that PyTorch has too, on every input with which PyTorch tests it: values and gradients in float64.

Both compute the same formula in other orders. The samples hold at most 5·10·5 values of size up to 10, and a value is a
sum of at most 250 terms of these: 250 roundings of half an epsilon (2.8e-14), with a factor of 10 for sums that partly
cancel, lie below 1e-12 of the reference's norm. Where all of a sum cancels the inputs' norm counts instead.
"""

import collections

import numpy as np
import pytest
import torch

from nfnumpy import Tensor, ops
from reference_tests.helpers.pytorch_samples import (
    NO_GRADIENT,
    NOT_IN_PYTORCH,
    REASONS,
    TABLE,
    DoesNotApply,
    operators,
)

TOLERANCE = 1e-12
PAIRS = [(here, name) for here, functions in TABLE.items() for name in functions]


NOTHING_APPLIES = {"nn.functional.softplus"}  # all with a threshold, above which PyTorch's is a straight line


def norm(x):
    return float(np.linalg.norm(np.asarray(x, dtype=np.float64).ravel()))


def expect_close(got, expected, scale):
    """Equal where not finite, and close in norm elsewhere."""
    got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    assert norm(got[finite] - expected[finite]) <= TOLERANCE * max(norm(expected[finite]), scale)


def tensors_in(value):
    """Every torch tensor in the arguments of a call, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [found for item in value for found in tensors_in(item)] if isinstance(value, (list, tuple)) else []


def replaced(value, made):
    """The arguments with every torch tensor as an nfnumpy Tensor, or as an array where it is no floating one."""
    if isinstance(value, torch.Tensor):
        return made[id(value)]
    if isinstance(value, dict):
        return {key: replaced(item, made) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(replaced(item, made) for item in value)
    return value


def as_ours(tensor):
    if tensor.dtype == torch.float64:
        return Tensor(tensor.detach().numpy().copy(), requires_grad=tensor.requires_grad)
    return tensor.detach().numpy().copy()


def compare(name, function, sample):
    """One sample: both values, and both gradients of a random weighing of the values."""
    operator = operators()[name]
    call = (sample.input, list(sample.args), sample.kwargs)
    leaves = tensors_in(call)
    made = {id(leaf): as_ours(leaf) for leaf in leaves}
    first, args, kwargs = replaced(call, made)
    value = function(first, *args, **kwargs)
    reference = operator(sample.input, *sample.args, **sample.kwargs)
    reference = reference[0] if isinstance(reference, tuple) else reference
    assert tuple(value.shape) == tuple(reference.shape) and str(value.dtype) == str(reference.dtype)[len("torch."):]
    size = sum(norm(leaf.detach()) for leaf in leaves if leaf.dtype == torch.float64)
    expect_close(value.numpy(), reference.detach(), size)
    wanted = [leaf for k, leaf in enumerate(leaves) if leaf.requires_grad and k not in NO_GRADIENT.get(name, ())]
    if not (wanted and reference.requires_grad):
        assert value.node is None
        return
    cotangent = torch.from_numpy(np.asarray(np.random.default_rng(0).standard_normal(value.shape))).to(reference.dtype)
    slopes = torch.autograd.grad(reference, wanted, cotangent, allow_unused=True)
    value.backward(cotangent.numpy())
    for leaf, slope in zip(wanted, slopes, strict=True):
        got = made[id(leaf)].grad
        if slope is None or got is None:
            assert slope is None and got is None
            continue
        assert got.shape == tuple(leaf.shape) and got.dtype == np.float64
        expect_close(got, slope, norm(cotangent))


def run(here, name):
    """(samples compared, reason -> samples that do not apply) of an operator."""
    torch.manual_seed(0)
    compared, left_out = 0, collections.Counter()
    operator = operators()[name]
    samples = operator.sample_inputs(
        "cpu", torch.float64, requires_grad=operator.supports_autograd,
        set_seed=False)  # once above: PyTorch would seed anew for every sample, which takes longer than the comparison
    for sample in samples:
        try:
            compare(name, TABLE[here][name], sample)
        except DoesNotApply as difference:
            left_out[difference.args[0]] += 1
        else:
            compared += 1
    return compared, left_out


def test_every_operation_is_compared_or_is_not_in_pytorch():
    here = {name for name, value in vars(ops).items() if hasattr(value, "operation")}
    missing = sorted(here - set(TABLE) - NOT_IN_PYTORCH)
    assert not missing, f"operations that are not compared: {missing}. Add them to TABLE or to NOT_IN_PYTORCH in " \
                        "helpers/pytorch_samples.py"
    assert set(TABLE) | NOT_IN_PYTORCH == here and not set(TABLE) & NOT_IN_PYTORCH


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("here, name", PAIRS)
def test_operator_agrees_on_all_samples_that_apply(here, name):
    compared, left_out = run(here, name)
    assert left_out.keys() <= REASONS.keys()
    assert compared or name in NOTHING_APPLIES
