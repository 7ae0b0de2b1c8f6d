"""RMSProp in TensorFlow's form: steps by hand, what distinguishes it from PyTorch's form, and its place beside SGD."""

import math

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.optim import (
    SAM,
    RMSProp,
    adaptive_gradient_clip,
    chunks,
    clip_factor,
    clipped_rmsprop_update,
    is_decayed,
    rmsprop_update,
)
from reference_tests.helpers.named_parameters import equal, normal, parameters_with_gradients, set_gradients, values

EPS = np.finfo(np.float64).eps
LR, DECAY, MOMENTUM, EPSILON, WEIGHT_DECAY = 0.3, 0.8, 0.7, 0.01, 0.1


def tensorflow_step(param, grad, square, velocity, lr):
    """ApplyRMSProp, in PyTorch's float64 arithmetic, after the derivative of an L2 penalty has been added."""
    grad = grad + WEIGHT_DECAY * param
    square = DECAY * square + (1 - DECAY) * grad.square()
    velocity = MOMENTUM * velocity + lr * grad * torch.rsqrt(square + EPSILON)
    return param - velocity, square, velocity


@pytest.mark.parametrize("factor", [None, lambda name: 0.1 if name.startswith("conv") else 1.0],
                         ids=["same", "by name"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_steps_are_those_of_tensorflows_operation(in_parts, factor, monkeypatch):
    """Five steps of some 12 roundings each; g/√(s + epsilon) is below 1/√(1 - decay) < 3 and so all is below 10."""
    if in_parts:
        monkeypatch.setattr(chunks, "PART_BYTES", 100)
    ours = parameters_with_gradients()
    optimizer = RMSProp(ours, lr=LR, decay=DECAY, momentum=MOMENTUM, epsilon=EPSILON, weight_decay=WEIGHT_DECAY,
                        decayed=lambda name: True, lr_factor=factor)
    theirs = {name: (torch.from_numpy(p.data.copy()), torch.ones(p.shape, dtype=torch.float64),
                     torch.zeros(p.shape, dtype=torch.float64)) for name, p in ours.items()}
    for step in range(5):
        set_gradients(ours, seed=200 + 10 * step)
        for name, (param, square, velocity) in theirs.items():
            lr = LR * (1.0 if factor is None else factor(name))
            grad = torch.from_numpy(ours[name].grad.copy())
            theirs[name] = tensorflow_step(param, grad, square, velocity, lr)
        optimizer.step()
    for name, (param, square, velocity) in theirs.items():
        for got, expected in ((ours[name].data, param), (optimizer.state["square_average"][name], square),
                              (optimizer.velocity[name], velocity)):
            assert isinstance(got, np.ndarray)
            np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=5 * 12 * 10 * EPS)


def test_with_epsilon_zero_and_one_rate_it_is_pytorchs_after_the_same_beginning():
    """There epsilon is outside the root, the mean square starts at 0 and the rate multiplies what momentum adds up.

    Without epsilon, with both started at the same mean square and at one rate, the two are the same: 5 steps of some
    12 roundings of numbers below 10.
    """
    ours = parameters_with_gradients()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(parameter.data.copy())) for name, parameter in ours.items()}
    our_optimizer = RMSProp(ours, lr=0.1, decay=0.9, momentum=0.8, epsilon=1e-300, weight_decay=0.0)
    torch_optimizer = torch.optim.RMSprop(theirs.values(), lr=0.1, alpha=0.9, eps=0.0, momentum=0.8)
    for step in range(5):
        set_gradients(ours, seed=200 + 10 * step)
        for name, parameter in ours.items():
            theirs[name].grad = torch.from_numpy(parameter.grad.copy())
            if step == 0:
                torch_optimizer.state[theirs[name]] = {
                    "step": torch.tensor(0.0), "square_avg": torch.ones_like(theirs[name].data),
                    "momentum_buffer": torch.zeros_like(theirs[name].data)}
        our_optimizer.step()
        torch_optimizer.step()
    for name, parameter in ours.items():
        np.testing.assert_allclose(parameter.data, theirs[name].detach().numpy(), rtol=0, atol=5 * 12 * 10 * EPS)


@given(g=st.floats(-1e3, 1e3), s=st.floats(0, 1e3), lr=st.floats(0, 1), decay=st.floats(0, 0.999),
       epsilon=st.floats(1e-6, 1))
def test_a_first_step_is_bounded_by_the_root_of_what_the_average_leaves_out(g, s, lr, decay, epsilon):
    """|g|/√(decay·s + (1 - decay)·g² + epsilon) ≤ 1/√(1 - decay), to 8 roundings."""
    w, _, v = rmsprop_update(np.asarray(0.0), np.asarray(g), np.asarray(s), np.asarray(0.0), lr=lr, decay=decay,
                             epsilon=epsilon)
    assert abs(v) <= lr / math.sqrt(1 - decay) * (1 + 8 * EPS) and w == -v


def test_a_step_clips_then_decays():
    """By AGC, as SGD; the last linear weight is not clipped, and what is no weight does not decay: 12 roundings."""
    parameters = parameters_with_gradients()
    optimizer = RMSProp(parameters, lr=LR, decay=DECAY, momentum=MOMENTUM, epsilon=EPSILON, weight_decay=WEIGHT_DECAY,
                        clipping=0.05)
    before, gradients = values(parameters), {name: p.grad.copy() for name, p in parameters.items()}
    optimizer.step()
    for name, w in before.items():
        g = gradients[name]
        if name != "linear.weight":
            g = adaptive_gradient_clip(g, w, clipping=0.05)
            assert not np.array_equal(g, gradients[name]), "nothing to clip"
        g = g + WEIGHT_DECAY * w * is_decayed(name)
        square = DECAY + (1 - DECAY) * g**2
        expected = w - LR * g / np.sqrt(square + EPSILON)
        np.testing.assert_allclose(parameters[name].data, expected, rtol=0, atol=12 * 10 * EPS)
    assert 0.0 < optimizer.clipped_fraction() <= 1.0 and all(p.grad is None for p in parameters.values())


def test_frozen_parameters_stay_as_they_are_and_need_no_gradient():
    parameters = parameters_with_gradients()
    parameters["conv.bias"].requires_grad, parameters["conv.bias"].grad = False, None
    before = values(parameters)
    RMSProp(parameters, lr=0.1).step()
    changed = {name for name, parameter in parameters.items() if not np.array_equal(parameter.data, before[name])}
    assert changed == set(parameters) - {"conv.bias"}


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_sam_steps_around_it(fraction):
    """The step is RMSProp's at w, with the gradient at w + e."""
    sharp, plain = parameters_with_gradients(), parameters_with_gradients()
    sam = SAM(RMSProp(sharp, lr=0.1, clipping=0.05), rho=0.5, ascent_fraction=fraction)

    def closure(seed):
        set_gradients(sharp, seed)
        return seed

    assert sam.step(lambda: closure(70), lambda: closure(60)) == 70
    set_gradients(plain, 70)
    RMSProp(plain, lr=0.1, clipping=0.05).step()
    assert equal(values(sharp), values(plain))


@pytest.mark.parametrize("value", [1.0, np.inf, np.nan])
def test_a_step_whose_gradients_overflow_changes_only_the_loss_scale(value):
    parameters = parameters_with_gradients()
    scale = nf.optim.LossScale(nf.backend.get("numpy"), initial=2.0**10)
    optimizer = RMSProp(parameters, lr=0.1, loss_scale=scale)
    before, state = values(parameters), {kind: dict(arrays) for kind, arrays in optimizer.state.items()}
    parameters["conv.bias"].grad[1] *= value
    with np.errstate(invalid="ignore"):  # of what is not taken over
        optimizer.step()
    is_kept = equal(values(parameters), before) and all(equal(optimizer.state[kind], state[kind]) for kind in state)
    assert is_kept == (value != 1.0) and float(scale.scale) == (2.0**10 if value == 1.0 else 2.0**9)


@pytest.mark.parametrize("options", [
    dict(lr=-1.0), dict(lr=math.nan), dict(lr=0.1, decay=1.0), dict(lr=0.1, decay=-0.1), dict(lr=0.1, decay=None),
    dict(lr=0.1, epsilon=0.0), dict(lr=0.1, epsilon=math.inf), dict(lr=0.1, epsilon="1e-3"),
    dict(lr=0.1, momentum=-0.1), dict(lr=0.1, weight_decay=-1e-5), dict(lr=0.1, clipping=0.0), dict(lr=0.1, eps=0.0),
    dict(lr=0.1, clipping=0.1, clipped="linear.weight"), dict(lr=0.1, lr_factor=0.1),
    dict(lr=0.1, loss_scale=2.0**16)], ids=str)
def test_invalid_options_are_refused_in_one_line_that_names_the_optimizer(options):
    with pytest.raises(InputError, match=r"^RMSProp: [^\n]*$"):
        RMSProp(parameters_with_gradients(), **options)


def update_arguments(dtype=np.float64):
    """Lists of three tensors, the second not clipped, and the options."""
    four = [[normal(shape, 10 * k + j).astype(dtype) for j, shape in enumerate([(3, 4), (4,), (2, 1, 3, 5)])]
            for k in range(4)]
    four[2] = [np.abs(array) for array in four[2]]
    return four, {"lr": 0.1, "decay": 0.8, "epsilon": 0.01, "weight_decays": [0.1, 0.0, 0.0],
                  "clippings": [0.1, None, 10.0]}


def test_an_update_is_clip_and_update_of_each_bit_for_bit():
    four, options = update_arguments()
    *new, counts = clipped_rmsprop_update.plain(*four, **options)
    expected_counts = []
    for k, (w, g, s, v) in enumerate(zip(*four, strict=True)):
        clipping = options["clippings"][k]
        factor = np.ones(()) if clipping is None else clip_factor(g, w, clipping=clipping)
        expected_counts.append(np.sum(factor < 1))
        expected = rmsprop_update(w, g * factor, s, v, lr=0.1, decay=0.8, epsilon=0.01,
                                  weight_decay=options["weight_decays"][k])
        assert all(np.array_equal(arrays[k], array) for arrays, array in zip(new, expected, strict=True))
    assert counts.tolist() == expected_counts and 0 < sum(expected_counts) < 4 + 5


@pytest.mark.parametrize("proceed", [None, True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_formula_needs_the_array_api_only(dtype, proceed):
    """array_api_strict computes with NumPy underneath: the same bits, unless it raises."""
    four, options = update_arguments(dtype)
    scalars = {"inverse_scale": np.asarray(0.5, dtype), "proceed": None if proceed is None else np.asarray(proceed)}
    strict_four = [list(map(strict.asarray, arrays)) for arrays in four]
    strict_scalars = {name: None if value is None else strict.asarray(value) for name, value in scalars.items()}
    *ours, our_counts = clipped_rmsprop_update(*strict_four, **options, **strict_scalars)
    *theirs, their_counts = clipped_rmsprop_update(*four, **options, **scalars)
    for one, other in zip(sum(ours, [our_counts]), sum(theirs, [their_counts]), strict=True):
        np.testing.assert_array_equal(np.asarray(one._array), other, strict=True)
