"""Every training pass draws its own dropout and stochastic depth, with any optimizer; repeats are explicit."""

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy.backend import CounterRNG, DrawnSteps, repeatable_steps
from nfnumpy.optim import SAM, SGD
from reference_tests.helpers.named_parameters import normal

NFNET = nf.models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4, stem_widths=(4, 8),
                              stem_strides=(1, 2), num_classes=5, drop_rate=0.5, stochdepth_rate=0.5)
IMAGES, LABELS = normal((10, 8, 8, 3), 5), np.arange(10) % 5


@pytest.fixture
def model():
    return nf.models.NFNet(NFNET, dtype="float64", seed=3)


def loss_of(model, count=10):
    loss = nf.ops.softmax_cross_entropy(model(IMAGES[:count], training=True), LABELS[:count])
    loss.backward()
    return loss.item()


def test_a_loop_by_hand_draws_other_masks_in_every_step(model):
    """With an update rule of its own, which knows nothing of random numbers; without any update the losses differ."""
    losses = []
    for _ in range(5):
        losses.append(loss_of(model))
        for parameter in model.parameters().values():
            parameter.data, parameter.grad = np.asarray(parameter.data - 0.0 * parameter.grad), None
    assert len(set(losses)) == 5 and model.randomness.step == 5


def test_a_step_of_sgd_does_not_touch_the_random_numbers(model):
    losses = []
    optimizer = SGD(model, lr=0.0)
    for _ in range(3):
        losses.append(loss_of(model))
        assert model.randomness.step == len(losses)
        optimizer.step()
    assert len(set(losses)) == 3 and model.randomness.step == 3


def test_evaluation_draws_nothing(model):
    model(IMAGES)
    assert model.randomness.step == 0


def test_setting_the_step_repeats_a_pass(model):
    first = model(IMAGES, training=True).numpy()
    model.randomness.step = 0
    np.testing.assert_array_equal(first, model(IMAGES, training=True).numpy())


def test_both_passes_of_sam_draw_the_same(model):
    """At a vanishing rho both losses are the same number, so the masks were; the next step has others."""
    sam, losses = SAM(SGD(model, lr=0.0), rho=1e-300), []

    def closure():
        losses.append(loss_of(model))

    for step in range(2):
        sam.step(closure)
        assert model.randomness.step == step + 1
    assert losses[0] == losses[1] != losses[2] == losses[3]


@pytest.mark.parametrize("passes", [1, 3])
def test_both_passes_of_sam_by_hand_draw_the_same(model, passes):
    sam = SAM(SGD(model, lr=0.0), rho=1e-300)
    first = [loss_of(model) for _ in range(passes)]
    sam.first_step(passes)
    second = [loss_of(model) for _ in range(passes)]
    sam.second_step()
    assert first == second and len(set(first)) == passes and model.randomness.step == passes


def test_a_cancelled_step_of_sam_ends_the_repetition(model):
    sam = SAM(SGD(model, lr=0.0), rho=1e-300)

    def fail():
        loss_of(model)
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        sam.step(fail)
    loss_of(model)
    assert model.randomness.step == 2


@pytest.mark.parametrize("recompute", [False, True])
def test_recomputed_blocks_and_models_see_their_own_masks(model, recompute):
    """The gradient of a checkpointed network is that of the network, although the step has moved on in between."""
    model.recompute_blocks = recompute
    x = nf.Tensor(IMAGES, requires_grad=True)
    gradients = []
    for forward in (lambda x: model(x, training=True), lambda x: nf.checkpoint(lambda x: model(x, training=True), x)):
        model.randomness.step = 7
        nf.ops.softmax_cross_entropy(forward(x), LABELS).backward()
        gradients.append({name: parameter.grad for name, parameter in model.parameters().items()})
        assert model.randomness.step == 8
        for parameter in model.parameters().values():
            parameter.grad = None
    for name, gradient in gradients[0].items():
        np.testing.assert_array_equal(gradient, gradients[1][name], err_msg=name)


def test_repeated_steps_nest_and_go_on_with_new_ones():
    rng, outer, inner = CounterRNG(0), DrawnSteps(), DrawnSteps()

    def passes(count):
        return [rng.next_step().step for _ in range(count)]

    with repeatable_steps(outer):
        assert passes(1) == [0]
        with repeatable_steps(inner):
            assert passes(2) == [1, 2]
    assert passes(1) == [3]
    with repeatable_steps(outer):
        with repeatable_steps(inner):
            assert passes(3) == [1, 2, 0]
        assert passes(3) == [1, 2, 4]
    assert outer.steps == [0, 1, 2, 4] and passes(1) == [5]


def test_a_step_taken_stays_that_step():
    rng = CounterRNG(9, step=4)
    taken = rng.next_step()
    expected = CounterRNG(9, step=4).uniform("site", (5,))
    rng.next_step()
    assert (taken.seed, taken.step, rng.step) == (9, 4, 6)
    np.testing.assert_array_equal(taken.uniform("site", (5,)), expected)
