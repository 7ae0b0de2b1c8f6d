"""A step of SGD: clip, decay, momentum, in that order, on named parameters."""

import math

import array_api_strict as strict
import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.optim import (
    SGD,
    adaptive_gradient_clip,
    chunks,
    clip_factor,
    clipped_update,
    is_decayed,
    moving_average,
    sam_perturb,
    sgd_update,
)
from reference_tests.helpers.named_parameters import equal, normal, parameters_with_gradients, set_gradients, values

EPS = np.finfo(np.float64).eps


def test_a_step_clips_then_decays_then_adds_momentum():
    """Three steps by hand; a dozen roundings of numbers below 10."""
    lr, momentum, decay, clipping = 0.3, 0.9, 0.1, 0.05
    parameters = parameters_with_gradients()
    optimizer = SGD(parameters, lr=lr, momentum=momentum, weight_decay=decay, clipping=clipping)
    expected, velocity = values(parameters), dict.fromkeys(parameters, 0.0)
    for step in range(3):
        set_gradients(parameters, seed=60 + 10 * step)
        for name, parameter in parameters.items():
            grad = parameter.grad
            if name != "linear.weight":
                grad = adaptive_gradient_clip(grad, expected[name], clipping=clipping)
                assert not np.array_equal(grad, parameter.grad), "nothing to clip"
            if name.endswith("weight"):
                grad = grad + decay * expected[name]
            velocity[name] = momentum * velocity[name] + grad
            expected[name] = expected[name] - lr * (grad + momentum * velocity[name])
        optimizer.step()
        for name, parameter in parameters.items():
            assert isinstance(parameter.data, np.ndarray) and isinstance(optimizer.velocity[name], np.ndarray)
            np.testing.assert_allclose(parameter.data, expected[name], rtol=0, atol=12 * 10 * EPS)
    assert 0.0 < optimizer.clipped_fraction() <= 1.0


def take_the_same_steps(ours, theirs, our_sgd, torch_sgd):
    """Five steps of both optimizers with the same gradients."""
    for step in range(5):
        set_gradients(ours, seed=200 + 10 * step)
        for name, parameter in ours.items():
            theirs[name].grad = torch.from_numpy(parameter.grad.copy())
        our_sgd.step()
        torch_sgd.step()


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_without_clipping_steps_equal_those_of_torch(momentum, nesterov):
    ours = parameters_with_gradients()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(parameter.data.copy())) for name, parameter in ours.items()}
    groups = [{"params": [p for name, p in theirs.items() if is_decayed(name) == decayed],
               "weight_decay": 0.1 * decayed} for decayed in (True, False)]
    torch_sgd = torch.optim.SGD(groups, lr=0.2, momentum=momentum, nesterov=nesterov)
    our_sgd = SGD(ours, lr=0.2, momentum=momentum, nesterov=nesterov, weight_decay=0.1, clipping=None)
    take_the_same_steps(ours, theirs, our_sgd, torch_sgd)
    for name, parameter in ours.items():  # 5 steps of some 6 roundings of numbers below 10
        np.testing.assert_allclose(parameter.data, theirs[name].detach().numpy(), rtol=0, atol=30 * 10 * EPS)


def rate_factor(name):
    """A learning rate factor."""
    return 0.1 if name.startswith("conv") else 2.5 if name.endswith("bias") else 1.0


@pytest.mark.parametrize("in_parts", [False, True])
def test_learning_rate_factors_are_those_of_torchs_parameter_groups(in_parts, monkeypatch):
    """A group for each parameter, with its own rate. Roundings as above, and one for the rate."""
    if in_parts:
        monkeypatch.setattr(chunks, "PART_BYTES", 100)
    ours = parameters_with_gradients()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(parameter.data.copy())) for name, parameter in ours.items()}
    torch_sgd = torch.optim.SGD([{"params": [p], "weight_decay": 0.1 * is_decayed(name),
                                  "lr": 0.2 * rate_factor(name)} for name, p in theirs.items()],
                                momentum=0.9, nesterov=True)
    our_sgd = SGD(ours, lr=0.2, weight_decay=0.1, clipping=None, lr_factor=rate_factor)
    take_the_same_steps(ours, theirs, our_sgd, torch_sgd)
    for name, parameter in ours.items():
        np.testing.assert_allclose(parameter.data, theirs[name].detach().numpy(), rtol=0, atol=35 * 10 * EPS)


def test_learning_rate_factors_leave_clipping_and_momentum_alone():
    """The change of each parameter is its factor times the change at one rate for all: 4 roundings of numbers below 10.

    So are velocities, bit for bit, and the number of clipped units.
    """
    plain, scaled = parameters_with_gradients(), parameters_with_gradients()
    before = values(plain)
    options = {"lr": 0.2, "weight_decay": 0.1, "clipping": 0.05}
    one, other = SGD(plain, **options), SGD(scaled, **options, lr_factor=rate_factor)
    for optimizer in (one, other):
        optimizer.step()
    assert equal(one.velocity, other.velocity) and 0 < int(one.clipped_units) == int(other.clipped_units)
    for name, start in before.items():
        change = rate_factor(name) * (plain[name].data - start)
        assert np.any(change)
        np.testing.assert_allclose(scaled[name].data, start + change, rtol=0, atol=4 * 10 * EPS)


def test_a_factor_of_1_for_all_changes_no_bit():
    plain, scaled = parameters_with_gradients(), parameters_with_gradients()
    SGD(plain, lr=0.2).step()
    SGD(scaled, lr=0.2, lr_factor=lambda name: 1).step()
    assert equal(values(plain), values(scaled))


def test_a_step_forgets_the_gradients():
    parameters = parameters_with_gradients()
    optimizer = SGD(parameters, lr=0.1)
    optimizer.step()
    assert all(parameter.grad is None for parameter in parameters.values())
    before = values(parameters)
    with pytest.raises(InputError, match="has no gradient"):
        optimizer.step()
    assert equal(before, values(parameters))


@pytest.mark.parametrize("grad", [np.ones(3), np.ones((2, 2), np.float32)], ids=["shape", "dtype"])
def test_a_gradient_of_another_kind_is_refused(grad):
    parameters = {"linear.weight": nf.Tensor(np.ones((2, 2)), requires_grad=True)}
    parameters["linear.weight"].grad = grad
    with pytest.raises(InputError, match=r"the gradient of linear\.weight is"):
        SGD(parameters, lr=0.1).step()


def test_a_learning_rate_of_zero_changes_no_bit():
    parameters = parameters_with_gradients()
    before = values(parameters)
    SGD(parameters, lr=0.0, weight_decay=0.1).step()
    assert equal(before, values(parameters))


@pytest.mark.parametrize("options", [dict(lr=-1.0), dict(lr=math.nan), dict(lr=0.1, momentum=-0.1), dict(lr=math.inf),
                                     dict(lr=0.1, weight_decay=-1e-5), dict(lr=0.1, clipping=0.0), dict(lr="0.1"),
                                     dict(lr=0.1, clipping=-0.01), dict(lr=0.1, eps=0.0), dict(lr=None),
                                     dict(lr=0.1, eps=None), dict(lr=0.1, clipping="off"),
                                     dict(lr=0.1, clipped="linear.weight"), dict(lr=0.1, decayed=True)], ids=str)
def test_invalid_options_are_refused_in_one_line(options):
    with pytest.raises(InputError) as error:
        SGD(parameters_with_gradients(), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", [None, [1, 2], {"w": np.ones(3)}, 3.0], ids=["none", "list", "arrays", "number"])
def test_a_model_without_parameters_is_refused(model):
    with pytest.raises(InputError, match="expected a model or a dict"):
        SGD(model, lr=0.1)


def update_arguments(dtype=np.float64):
    """Lists of three tensors, the second not clipped, and the options."""
    three = [[normal(shape, 10 * k + j).astype(dtype) for j, shape in enumerate([(3, 4), (4,), (2, 1, 3, 5)])]
             for k in range(3)]
    return three, {"lr": 0.1, "weight_decays": [0.1, 0.0, 0.0], "clippings": [0.1, None, 10.0]}


def test_an_update_is_clip_and_update_of_each_bit_for_bit():
    three, options = update_arguments()
    new_params, new_velocities, counts = clipped_update(*three, **options)
    expected = []
    for k, (w, g, v) in enumerate(zip(*three, strict=True)):
        factor = np.ones(())
        if options["clippings"][k] is not None:
            factor = clip_factor(g, w, clipping=options["clippings"][k])
        g = g * factor
        expected.append(np.sum(factor < 1))
        w, v = sgd_update(w, g, v, lr=0.1, weight_decay=options["weight_decays"][k])
        assert np.array_equal(new_params[k], w) and np.array_equal(new_velocities[k], v)
    assert isinstance(counts, np.ndarray) and counts.tolist() == expected and 0 < sum(expected) < 4 + 5


def test_the_loss_scale_is_divided_out_before_clipping():
    """By a power of two, without rounding."""
    (params, grads, velocities), options = update_arguments()
    scaled = [np.asarray(grad * 2.0**12) for grad in grads]
    plain = clipped_update(params, grads, velocities, **options)
    got = clipped_update(params, scaled, velocities, **options, inverse_scale=np.asarray(2.0**-12))
    assert all(map(np.array_equal, got[0], plain[0]))
    assert all(map(np.array_equal, got[1], plain[1]))
    assert got[2].tolist() == plain[2].tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0])
def test_a_step_that_does_not_proceed_leaves_all_bit_for_bit(value):
    (params, grads, velocities), options = update_arguments()
    grads[1][2] = value
    new_params, new_velocities, _ = clipped_update(params, grads, velocities, **options, proceed=np.asarray(False))
    assert all(map(np.array_equal, new_params, params)) and all(map(np.array_equal, new_velocities, velocities))
    (new_params, *_), (expected, *_) = (clipped_update(params, grads, velocities, **options, **proceed)
                                        for proceed in ({"proceed": np.asarray(True)}, {}))
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(new_params, expected, strict=True))


def test_the_clipped_fraction_counts_units():
    """conv 6 units, its gain and bias 1 each, skip gain 1, fc0 3, the final bias 1, its weight none."""
    parameters = parameters_with_gradients()
    optimizer = SGD(parameters, lr=0.1, clipping=1e-3)
    assert optimizer.clipped_fraction() == 0.0
    optimizer.step()
    assert optimizer.units == 13 and optimizer.clipped_units == 13 and optimizer.clipped_fraction() == 1.0
    assert optimizer.clipped_counts.tolist() == list(optimizer.units_of.values())
    set_gradients(parameters, seed=0, scale=0.0)
    optimizer.step()
    assert optimizer.clipped_fraction() == 0.0 and type(optimizer.clipped_fraction()) is float
    for parameter in parameters.values():
        parameter.requires_grad = False
    optimizer.step()
    assert optimizer.clipped_fraction() == 0.0


@pytest.mark.parametrize("proceed", [None, True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas_over_lists_need_the_array_api_only(dtype, proceed):
    """array_api_strict computes with NumPy underneath: the same bits, unless it raises."""
    three, options = update_arguments(dtype)
    strict_three = [list(map(strict.asarray, arrays)) for arrays in three]
    scalars = {"inverse_scale": np.asarray(0.5, dtype), "proceed": None if proceed is None else np.asarray(proceed)}
    strict_scalars = {name: None if value is None else strict.asarray(value) for name, value in scalars.items()}

    def results(three, scalars):
        new_params, new_velocities, counts = clipped_update(*three, **options, **scalars)
        perturbed = sam_perturb(*three[:2], rho=0.1)
        averages = moving_average(*three[:2], decay=0.9)
        return [*new_params, *new_velocities, counts, *perturbed, *averages]

    for ours, theirs in zip(results(strict_three, strict_scalars), results(three, scalars), strict=True):
        np.testing.assert_array_equal(np.asarray(ours._array), theirs, strict=True)
