"""What the optimizers do to named parameters, and the schedules and averages around them."""

import math
import warnings

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nfnumpy as nf
from nfnumpy import InputError, Tensor
from nfnumpy.optim import (
    SAM,
    SGD,
    ExponentialMovingAverage,
    adaptive_gradient_clip,
    sam_perturb,
    clip_factor,
    clipped_update,
    constant,
    cosine,
    is_clipped,
    is_decayed,
    moving_average,
    sgd_update,
    step_decay,
    warmup_cosine,
)

EPS = np.finfo(np.float64).eps
NFNET = nf.models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4, stem_widths=(4, 8),
                              stem_strides=(1, 2), num_classes=5, drop_rate=0.5, stochdepth_rate=0.5)
RESNET_SE = nf.models.NFResNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), use_se=True, num_classes=5)
REGNET = nf.models.NFRegNetConfig(widths=(16, 32), depths=(1, 1), strides=(1, 2), num_classes=5)


def normal(shape, seed):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def parameters_with_gradients(scale=1.0):
    """One of each kind, under the names that decide what happens to it."""
    shapes = {"conv.weight": (3, 3, 4, 6), "conv.gain": (6,), "conv.bias": (6,), "blocks.0.skip_gain": (),
              "squeeze_excite.fc0.weight": (6, 3), "linear.weight": (6, 5), "linear.bias": (5,)}
    parameters = {name: Tensor(normal(shape, k), requires_grad=True) for k, (name, shape) in enumerate(shapes.items())}
    set_gradients(parameters, seed=50, scale=scale)
    return parameters


def set_gradients(parameters, seed, scale=1.0):
    for k, parameter in enumerate(parameters.values()):
        parameter.grad = np.asarray(scale * normal(parameter.shape, seed + k))


def values(parameters):
    return {name: parameter.data.copy() for name, parameter in parameters.items()}


def equal(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


# ---- SGD


@pytest.mark.parametrize("config", [NFNET, RESNET_SE, REGNET], ids=lambda config: type(config).__name__)
def test_decay_touches_weights_and_clipping_all_but_the_final_weight(config):
    """By what the parameters are, not what they are called: the weights are those with an input and an output axis."""
    parameters = nf.models.from_config(config).parameters()
    assert {name for name in parameters if is_decayed(name)} == \
        {name for name, parameter in parameters.items() if parameter.ndim >= 2}
    assert {name for name in parameters if not is_clipped(name)} == {"linear.weight"}


def test_a_step_clips_then_decays_then_takes_nesterovs_momentum():
    """Three steps by hand; a dozen roundings of numbers below 10."""
    lr, momentum, decay, clipping = 0.3, 0.9, 0.1, 0.05
    parameters = parameters_with_gradients()
    optimizer = SGD(parameters, lr=lr, momentum=momentum, weight_decay=decay, clipping=clipping)
    expected, velocity = values(parameters), {name: 0.0 for name in parameters}
    for step in range(3):
        set_gradients(parameters, seed=60 + 10 * step)
        for name, parameter in parameters.items():
            grad = parameter.grad
            if name != "linear.weight":
                grad = adaptive_gradient_clip(grad, expected[name], clipping=clipping)
                assert not np.array_equal(grad, parameter.grad), "a test of clipping needs something to clip"
            if name.endswith("weight"):
                grad = grad + decay * expected[name]
            velocity[name] = momentum * velocity[name] + grad
            expected[name] = expected[name] - lr * (grad + momentum * velocity[name])
        optimizer.step()
        for name, parameter in parameters.items():
            assert isinstance(parameter.data, np.ndarray) and isinstance(optimizer.velocity[name], np.ndarray)
            np.testing.assert_allclose(parameter.data, expected[name], rtol=0, atol=12 * 10 * EPS)
    assert 0.0 < optimizer.clipped_fraction() <= 1.0


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_without_clipping_steps_equal_those_of_torch(momentum, nesterov):
    ours = parameters_with_gradients()
    theirs = {name: torch.nn.Parameter(torch.from_numpy(parameter.data.copy())) for name, parameter in ours.items()}
    groups = [{"params": [p for name, p in theirs.items() if is_decayed(name) == decayed],
               "weight_decay": 0.1 * decayed} for decayed in (True, False)]
    torch_sgd = torch.optim.SGD(groups, lr=0.2, momentum=momentum, nesterov=nesterov)
    our_sgd = SGD(ours, lr=0.2, momentum=momentum, nesterov=nesterov, weight_decay=0.1, clipping=None)
    for step in range(5):
        set_gradients(ours, seed=200 + 10 * step)
        for name, parameter in ours.items():
            theirs[name].grad = torch.from_numpy(parameter.grad.copy())
        our_sgd.step()
        torch_sgd.step()
    for name, parameter in ours.items():  # 5 steps of some 6 roundings of numbers below 10
        np.testing.assert_allclose(parameter.data, theirs[name].detach().numpy(), rtol=0, atol=30 * 10 * EPS)


def test_a_step_forgets_the_gradients_and_advances_the_randomness():
    model = nf.models.NFNet(NFNET, dtype="float64")
    set_gradients(model.parameters(), seed=1)
    optimizer = SGD(model, lr=0.1)
    optimizer.step()
    assert model.randomness.step == 1 and all(p.grad is None for p in model.parameters().values())
    before = values(model.parameters())
    with pytest.raises(InputError, match="has no gradient"):
        optimizer.step()
    assert equal(before, values(model.parameters())) and model.randomness.step == 1


def test_at_a_learning_rate_of_zero_parameters_stay_bit_for_bit():
    parameters = parameters_with_gradients()
    before = values(parameters)
    SGD(parameters, lr=0.0, weight_decay=0.1).step()
    assert equal(before, values(parameters))


@pytest.mark.parametrize("options", [dict(lr=-1.0), dict(lr=math.nan), dict(lr=0.1, momentum=-0.1), dict(lr=math.inf),
                                     dict(lr=0.1, weight_decay=-1e-5), dict(lr=0.1, clipping=0.0),
                                     dict(lr=0.1, clipping=-0.01), dict(lr=0.1, eps=0.0)], ids=str)
def test_options_that_make_no_sense_are_refused_in_one_line(options):
    with pytest.raises(InputError) as error:
        SGD(parameters_with_gradients(), **options)
    assert "\n" not in str(error.value)


def update_arguments(dtype=np.float64):
    """Lists of three tensors, the second not clipped, and the options."""
    three = [[normal(shape, 10 * k + j).astype(dtype) for j, shape in enumerate([(3, 4), (4,), (2, 1, 3, 5)])]
             for k in range(3)]
    return three, {"lr": 0.1, "weight_decays": [0.1, 0.0, 0.0], "clippings": [0.1, None, 10.0]}


def test_a_whole_update_is_clip_and_update_of_each_bit_for_bit_and_counts_what_it_clipped():
    three, options = update_arguments()
    new_params, new_velocities, clipped_units = clipped_update(*three, **options)
    count = 0
    for k, (w, g, v) in enumerate(zip(*three)):
        if options["clippings"][k] is not None:
            factor = clip_factor(g, w, clipping=options["clippings"][k])
            g, count = g * factor, count + np.sum(factor < 1)
        w, v = sgd_update(w, g, v, lr=0.1, weight_decay=options["weight_decays"][k])
        assert np.array_equal(new_params[k], w) and np.array_equal(new_velocities[k], v)
    assert isinstance(clipped_units, np.ndarray) and clipped_units.shape == () and 0 < clipped_units == count < 4 + 5


def test_gradients_of_a_scaled_loss_are_taken_back_before_they_are_clipped():
    """By a power of two, without rounding."""
    (params, grads, velocities), options = update_arguments()
    scaled = [np.asarray(grad * 2.0**12) for grad in grads]
    plain = clipped_update(params, grads, velocities, **options)
    for one, other in zip(plain[:2], clipped_update(params, scaled, velocities, **options,
                                                    inverse_scale=np.asarray(2.0**-12))):
        assert all(map(np.array_equal, one, other))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0])
def test_a_step_that_does_not_proceed_leaves_all_bit_for_bit(value):
    (params, grads, velocities), options = update_arguments()
    grads[1][2] = value
    new_params, new_velocities, _ = clipped_update(params, grads, velocities, **options, proceed=np.asarray(False))
    assert all(map(np.array_equal, new_params, params)) and all(map(np.array_equal, new_velocities, velocities))
    (new_params, *_), (expected, *_) = (clipped_update(params, grads, velocities, **options, **proceed)
                                        for proceed in ({"proceed": np.asarray(True)}, {}))
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(new_params, expected))


def test_the_clipped_fraction_is_the_units_clipped_of_all_units_clipping_looks_at():
    """conv 6 units, its gain and bias 1 each, skip gain 1, fc0 3, the final bias 1, its weight none."""
    parameters = parameters_with_gradients()
    optimizer = SGD(parameters, lr=0.1, clipping=1e-3)
    assert optimizer.clipped_fraction() == 0.0
    optimizer.step()
    assert optimizer.units == 13 and optimizer.clipped_units == 13 and optimizer.clipped_fraction() == 1.0
    set_gradients(parameters, seed=0, scale=0.0)
    optimizer.step()
    assert optimizer.clipped_fraction() == 0.0 and type(optimizer.clipped_fraction()) is float
    for parameter in parameters.values():
        parameter.requires_grad = False
    optimizer.step()
    assert optimizer.clipped_fraction() == 0.0


@pytest.mark.parametrize("proceed", [None, True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_formulas_over_lists_use_the_array_api_standard_alone(dtype, proceed):
    """array_api_strict computes with NumPy underneath: the same bits, unless it raises."""
    three, options = update_arguments(dtype)
    strict_three = [list(map(strict.asarray, arrays)) for arrays in three]
    scalars = {"inverse_scale": np.asarray(0.5, dtype), "proceed": None if proceed is None else np.asarray(proceed)}
    strict_scalars = {name: None if value is None else strict.asarray(value) for name, value in scalars.items()}
    got = [clipped_update(*strict_three, **options, **strict_scalars), sam_perturb(*strict_three[:2], rho=0.1),
           moving_average(*strict_three[:2], decay=0.9)]
    expected = [clipped_update(*three, **options, **scalars), sam_perturb(*three[:2], rho=0.1),
                moving_average(*three[:2], decay=0.9)]
    for ours, theirs in zip((*got[0][:2], [got[0][2]], *got[1:]), (*expected[0][:2], [expected[0][2]], *expected[1:])):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(np.asarray(one._array), other, strict=True)


# ---- SAM


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_climb_has_length_rho_and_the_direction_of_the_gradient(scale):
    parameters = parameters_with_gradients(scale)
    gradients = {name: parameter.grad.copy() for name, parameter in parameters.items()}
    before, sam = values(parameters), SAM(SGD(parameters, lr=0.1), rho=0.05)
    sam.first_step()
    climb = {name: parameter.data - before[name] for name, parameter in parameters.items()}
    flat = np.concatenate([step.reshape(-1) for step in climb.values()])
    direction = np.concatenate([grad.reshape(-1) for grad in gradients.values()])
    rounding = 8 * EPS * math.sqrt(flat.size)  # of w + e, with |w| below 4, in every one of its entries
    assert np.linalg.norm(flat) == pytest.approx(0.05, abs=rounding)
    np.testing.assert_allclose(flat, 0.05 * direction / np.linalg.norm(direction), rtol=0, atol=8 * EPS)
    assert all(parameter.grad is None for parameter in parameters.values())


def test_the_second_step_starts_from_where_the_first_did_bit_for_bit():
    """The same gradients give the same parameters as without SAM, so nothing of the climb is left."""
    plain, perturbed = parameters_with_gradients(), parameters_with_gradients(7.0)
    SGD(plain, lr=0.1).step()
    sam = SAM(SGD(perturbed, lr=0.1), rho=1e3)
    before = values(perturbed)
    sam.first_step()
    assert not equal(before, values(perturbed))
    set_gradients(perturbed, seed=50)
    sam.second_step()
    assert equal(values(plain), values(perturbed))


def test_zero_gradients_climb_nowhere_without_a_warning():
    parameters = parameters_with_gradients(0.0)
    before = values(parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SAM(SGD(parameters, lr=0.1)).first_step()
    assert equal(before, values(parameters))


def test_steps_out_of_turn_are_refused():
    sam = SAM(SGD(parameters_with_gradients(), lr=0.1))
    with pytest.raises(InputError, match="second_step before first_step"):
        sam.second_step()
    sam.first_step()
    with pytest.raises(InputError, match="first_step twice"):
        sam.first_step()
    parameters = parameters_with_gradients()
    parameters["conv.bias"].grad = None
    with pytest.raises(InputError, match="conv.bias has no gradient"):
        SAM(SGD(parameters, lr=0.1)).first_step()
    with pytest.raises(InputError, match="ascent_closure"):
        SAM(SGD(parameters_with_gradients(), lr=0.1), ascent_fraction=0.2).step(lambda: 0.0)


@pytest.mark.parametrize("options", [dict(rho=0.0), dict(rho=-1.0), dict(rho=math.nan), dict(ascent_fraction=0.0),
                                     dict(ascent_fraction=1.1)], ids=str)
def test_a_climb_that_makes_no_sense_is_refused(options):
    with pytest.raises(InputError):
        SAM(SGD(parameters_with_gradients(), lr=0.1), **options)


@pytest.mark.parametrize("fraction, batch, size", [(0.2, 10, 2), (0.2, 4096, 819), (0.2, 1, 1), (0.01, 10, 1),
                                                   (1.0, 7, 7)])
def test_the_climb_takes_its_share_of_the_batch_and_at_least_one(fraction, batch, size):
    assert SAM(SGD(parameters_with_gradients(), lr=0.1), ascent_fraction=fraction).ascent_size(batch) == size


def test_a_cheap_step_is_the_two_gradients_put_together_by_hand():
    """The climb from 2 of 10 examples, the descent from all, at the same step's masks."""
    images, labels = normal((10, 8, 8, 3), 5), np.arange(10) % 5
    model, again = (nf.models.NFNet(NFNET, dtype="float64", seed=3) for _ in range(2))

    def closure_of(model, count):
        def closure():
            loss = nf.ops.softmax_cross_entropy(model(images[:count], training=True), labels[:count])
            loss.backward()
            return loss.item()
        return closure

    sam = SAM(SGD(model, lr=0.1), rho=0.1, ascent_fraction=0.2)
    loss = sam.step(closure_of(model, 10), closure_of(model, sam.ascent_size(10)))

    closure_of(again, 2)()
    start = values(again.parameters())
    norm = np.sqrt(sum((p.grad**2).sum() for p in again.parameters().values()))
    for parameter in again.parameters().values():
        parameter.data, parameter.grad = np.asarray(parameter.data + 0.1 / norm * parameter.grad), None
    assert closure_of(again, 10)() == pytest.approx(loss, rel=1e-12)
    for name, parameter in again.parameters().items():
        parameter.data = start[name]
    SGD(again, lr=0.1).step()
    for name, value in values(again.parameters()).items():  # 1e-12: as the training steps, through one whole network
        assert np.linalg.norm(model.parameters()[name].data - value) <= 1e-12 * max(1.0, np.linalg.norm(value)), name
    assert model.randomness.step == 1


# ---- schedules


@given(st.floats(1e-6, 100), st.integers(1, 50), st.integers(1, 500))
def test_warmup_cosine_rises_in_a_line_and_falls_to_zero(peak, warmup, rest):
    rate, total = warmup_cosine(peak, warmup, warmup + rest), warmup + rest
    assert rate(0) == 0.0 and rate(warmup) == peak and rate(total) == 0.0 and rate(total + 10) == 0.0
    rising, falling = [[rate(t) for t in span] for span in (range(warmup + 1), range(warmup, total + 1))]
    np.testing.assert_allclose(np.diff(rising), peak / warmup, rtol=0, atol=4 * EPS * peak)
    assert (np.diff(falling) < 0).all()
    assert rate(warmup + rest / 2) == pytest.approx(peak / 2, rel=4 * EPS)


@given(st.floats(1e-6, 100), st.integers(2, 500))
def test_cosine_is_that_without_warmup(peak, total):
    assert all(cosine(peak, total)(t) == warmup_cosine(peak, 0, total)(t) for t in range(total + 2))
    assert cosine(peak, total)(0) == peak and constant(peak)(total) == peak


def test_step_decay_multiplies_after_every_interval():
    rate = step_decay(0.8, 4, 0.5, 10)
    assert [rate(t) for t in (0, 1, 3, 4, 13, 14, 24, 34)] == [0.0, 0.2, 0.6000000000000001, 0.8, 0.8, 0.4, 0.2, 0.1]


@pytest.mark.parametrize("make", [lambda: warmup_cosine(1.0, 11, 10), lambda: warmup_cosine(1.0, -1, 10),
                                  lambda: step_decay(1.0, 0, 0.0, 5), lambda: step_decay(1.0, 0, 0.5, 0)])
def test_a_schedule_that_makes_no_sense_is_refused(make):
    with pytest.raises(InputError):
        make()


# ---- the moving average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99999])
def test_the_moving_average_is_the_weighted_sum_of_all_that_was_seen(decay):
    """Step t weighs 1 - d_t times all later d; numbers below 4 in sums of 30, each rounded a few times."""
    parameters = parameters_with_gradients()
    average = ExponentialMovingAverage(parameters, decay)
    seen = [values(parameters)]
    for step in range(30):
        for k, parameter in enumerate(parameters.values()):
            parameter.data = normal(parameter.shape, 1000 * step + k)
        average.update()
        seen.append(values(parameters))
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(30)]
    weights = [math.prod(decays), *((1 - d) * math.prod(decays[t + 1:]) for t, d in enumerate(decays))]
    assert sum(weights) == pytest.approx(1.0, abs=60 * EPS)
    for name in parameters:
        expected = sum(weight * state[name] for weight, state in zip(weights, seen))
        assert isinstance(average.average[name], np.ndarray)
        np.testing.assert_allclose(average.average[name], expected, rtol=0, atol=30 * 4 * 4 * EPS)


def test_averaged_weights_are_in_place_only_within_the_context():
    parameters = parameters_with_gradients()
    average = ExponentialMovingAverage(parameters, 0.9)
    for parameter in parameters.values():
        parameter.data = np.asarray(parameter.data * 2)
    average.update()
    own = values(parameters)
    with pytest.raises(RuntimeError), average.applied():
        assert equal(values(parameters), average.average)
        raise RuntimeError
    assert equal(values(parameters), own) and not equal(own, average.average)


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_a_decay_that_makes_no_sense_is_refused(decay):
    with pytest.raises(InputError):
        ExponentialMovingAverage({}, decay)


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_sam_step_whose_closure_raises_leaves_the_weights_and_no_gradients(failing_call):
    w = nf.Tensor(np.arange(4.0), requires_grad=True)
    sam, calls = nf.optim.SAM(nf.optim.SGD({"w": w}, lr=0.1)), []

    def closure():
        calls.append(None)
        loss = (w * w).sum()
        loss.backward()
        if len(calls) == failing_call:
            raise FloatingPointError
        return loss

    with pytest.raises(FloatingPointError):
        sam.step(closure)
    assert np.array_equal(w.data, np.arange(4.0)) and w.grad is None
    sam.step(closure)
    assert not np.array_equal(w.data, np.arange(4.0))
