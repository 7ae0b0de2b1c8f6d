"""SAM: the ascent, the two steps around it, and the random numbers that both passes share."""

import math
import warnings

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import InputError
from nfnumpy.optim import SAM, SGD
from reference_tests.helpers.named_parameters import equal, normal, parameters_with_gradients, set_gradients, values

EPS = np.finfo(np.float64).eps
NFNET = nf.models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4, stem_widths=(4, 8),
                              stem_strides=(1, 2), num_classes=5, drop_rate=0.5, stochdepth_rate=0.5)


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1.0, 1e12, 1e200])
def test_the_ascent_has_length_rho_along_the_gradient(scale):
    parameters = parameters_with_gradients(scale)
    gradients = {name: parameter.grad.copy() for name, parameter in parameters.items()}
    before, sam = values(parameters), SAM(SGD(parameters, lr=0.1), rho=0.05)
    sam.first_step()
    ascent = {name: parameter.data - before[name] for name, parameter in parameters.items()}
    flat = np.concatenate([step.reshape(-1) for step in ascent.values()])
    direction = np.concatenate([grad.reshape(-1) / scale for grad in gradients.values()])
    rounding = 8 * EPS * math.sqrt(flat.size)  # of w + e, with |w| below 4, in every one of its entries
    assert np.linalg.norm(flat) == pytest.approx(0.05, abs=rounding)
    np.testing.assert_allclose(flat, 0.05 * direction / np.linalg.norm(direction), rtol=0, atol=8 * EPS)
    assert all(parameter.grad is None for parameter in parameters.values())


def test_the_second_step_starts_where_the_first_did():
    """The same gradients give the same parameters as without SAM, so nothing of the ascent is left."""
    plain, perturbed = parameters_with_gradients(), parameters_with_gradients(7.0)
    SGD(plain, lr=0.1).step()
    sam = SAM(SGD(perturbed, lr=0.1), rho=1e3)
    before = values(perturbed)
    sam.first_step()
    assert not equal(before, values(perturbed))
    set_gradients(perturbed, seed=50)
    sam.second_step()
    assert equal(values(plain), values(perturbed))


def test_zero_gradients_perturb_nothing_without_a_warning():
    parameters = parameters_with_gradients(0.0)
    before = values(parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SAM(SGD(parameters, lr=0.1)).first_step()
    assert equal(before, values(parameters))


def test_steps_in_the_wrong_order_are_refused():
    sam = SAM(SGD(parameters_with_gradients(), lr=0.1))
    with pytest.raises(InputError, match="second_step before first_step"):
        sam.second_step()
    sam.first_step()
    with pytest.raises(InputError, match="first_step twice"):
        sam.first_step()
    parameters = parameters_with_gradients()
    parameters["conv.bias"].grad = None
    with pytest.raises(InputError, match=r"conv\.bias has no gradient"):
        SAM(SGD(parameters, lr=0.1)).first_step()
    with pytest.raises(InputError, match="ascent_closure"):
        SAM(SGD(parameters_with_gradients(), lr=0.1), ascent_fraction=0.2).step(lambda: 0.0)


@pytest.mark.parametrize("options", [dict(rho=0.0), dict(rho=-1.0), dict(rho=math.nan), dict(ascent_fraction=0.0),
                                     dict(ascent_fraction=1.1), dict(rho=math.inf), dict(rho="0.05"),
                                     dict(ascent_fraction=None)], ids=str)
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError):
        SAM(SGD(parameters_with_gradients(), lr=0.1), **options)


@pytest.mark.parametrize("fraction, batch, size", [(0.2, 10, 2), (0.2, 4096, 819), (0.2, 1, 1), (0.01, 10, 1),
                                                   (1.0, 7, 7)])
def test_the_ascent_uses_its_share_and_at_least_one_example(fraction, batch, size):
    assert SAM(SGD(parameters_with_gradients(), lr=0.1), ascent_fraction=fraction).ascent_size(batch) == size


def test_a_cheap_step_is_two_gradients_combined_by_hand():
    """The ascent from 2 of 10 examples, the descent from all, at the same step's masks."""
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
    again.randomness.step = 0
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


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_closure_that_raises_leaves_weights_and_no_grads(failing_call):
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
