"""The JAX port computes what the reference computes: logits, gradients, steps with AGC, masks; float64.

The bound is that of helpers/port_pairs.py, where it is derived.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import nfnumpy as nf
from nfnumpy.functional.activations import GAMMA, NONLINEARITIES
from nfnumpy.models.config import ACTIVATIONS
from nfnumpy.ports import jax as port, jax_optim
from reference_tests.helpers.jax_compilation import fast_compilation
from reference_tests.helpers.port_pairs import BOUND, FAMILIES, SMALL, batch, random_state

COMPARED = {"nfnet": SMALL["nfnet"], "nf_resnet": SMALL["nf_resnet with squeeze-and-excite"],
            "nf_regnet": SMALL["nf_regnet"]}
SIZE = (18, 29)  # even and odd, so that paddings differ


@pytest.fixture(autouse=True)
def in_float64():
    """JAX computes in float32 by default."""
    with jax.enable_x64(True), fast_compilation():
        yield


def relative(ours, theirs):
    """‖ours - theirs‖ / ‖theirs‖."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def model_of(config):
    """A model with random values."""
    model = nf.models.from_config(config, dtype="float64", seed=1)
    model.load_state_dict(random_state(model, 1))
    return model


def masks_of(model, count):
    """The masks that the model draws at its step, as the port takes them."""
    draws = nf.backend.CounterRNG(model.randomness.seed, step=model.randomness.step)
    blocks = [(draws.uniform(f"blocks.{k}.stochastic_depth", (count,)) >= block.stochastic_depth.rate).astype(float)
              for k, block in enumerate(model.blocks)]
    rate = model.dropout.rate
    kept = draws.uniform("dropout", (count, model.linear.weight.shape[0])) >= rate
    return {"blocks": blocks, "dropout": kept / (1 - rate)}


@pytest.mark.parametrize("family", COMPARED)
def test_logits_gradients_and_a_step_agree(family):
    """In training with dropout and stochastic depth, under the same masks; then AGC, decay and Nesterov momentum."""
    model = model_of(dataclasses.replace(COMPARED[family], drop_rate=0.4, stochdepth_rate=0.9))
    images, labels = batch(SIZE, 7, seed=2, count=4)
    masks = masks_of(model, 4)
    params = port.from_state_dict(model.state_dict())

    @jax.jit
    def evaluated(params):
        def loss_of(params):
            log_shares = jax.nn.log_softmax(port.apply(params, images, model.config, masks))
            return -jnp.take_along_axis(log_shares, labels[:, None], axis=1).mean()

        gradients = jax.grad(loss_of)(params)
        velocity = jax.tree.map(jnp.zeros_like, params)
        stepped, _ = jax_optim.sgd_step(params, gradients, velocity, lr=0.3, clipping=0.05, weight_decay=1e-2)
        return port.apply(params, images, model.config), gradients, stepped

    logits, gradients, stepped = evaluated(params)
    assert relative(model(images).numpy(), np.asarray(logits)) <= BOUND
    nf.ops.softmax_cross_entropy(model(images, training=True), labels).backward()
    flat = port.to_state_dict(gradients)
    assert set(flat) == set(model.parameters())
    differences = {name: relative(parameter.grad, flat[name]) for name, parameter in model.parameters().items()}
    assert max(differences.values()) <= BOUND, {name: d for name, d in differences.items() if d > BOUND}
    optimizer = nf.optim.SGD(model, lr=0.3, clipping=0.05, weight_decay=1e-2)
    optimizer.step()
    assert 0.0 < optimizer.clipped_fraction() < 1.0
    state = port.to_state_dict(stepped)
    assert max(relative(array, state[name]) for name, array in model.state_dict().items()) <= BOUND


@pytest.mark.parametrize("name", ["nfnet_f0+", "nfnet_64px", "nf_resnet50", "nf_resnet_32px", "nf_regnet_b2"])
def test_fresh_parameters_have_our_names_and_shapes(name):
    model = nf.models.create(name, shapes_only=True)
    shapes = jax.eval_shape(functools.partial(port.init, config=model.config), jax.random.key(0))
    assert {key: leaf.shape for key, leaf in port.named_leaves(shapes)} == \
        {key: tuple(parameter.shape) for key, parameter in model.parameters().items()}
    assert [block.drop_rate for block in port.block_schedule(model.config)] == \
        [block.stochastic_depth.rate for block in model.blocks]


def test_fresh_weights_have_their_deviations():
    """Of n normal numbers the deviation errs by 1/√(2n) of itself; the bound is five of these."""
    config = dataclasses.replace(COMPARED["nf_resnet"], widths=(16,), depths=(1,), strides=(1,))
    state = port.to_state_dict(jax.jit(functools.partial(port.init, config=config))(jax.random.key(1)))
    for name, array in state.items():
        if name.endswith("weight"):
            wanted = 0.01 if name == "linear.weight" else np.prod(array.shape[:-1]) ** -0.5
            assert abs(array.std() / wanted - 1) <= 5 / np.sqrt(2 * array.size), name
        else:
            assert (array == name.endswith(".gain")).all(), name


def test_masks_drop_what_their_rates_say():
    """Of 1,000 draws a share errs by at most 0.016 in the mean square; the bound is five of these."""
    config = dataclasses.replace(FAMILIES["nfnet"], drop_rate=0.4, stochdepth_rate=0.9)
    masks = jax.jit(functools.partial(port.draw_masks, config=config, batch=1000, features=3))(jax.random.key(2))
    for mask, block in zip(masks["blocks"], port.block_schedule(config), strict=True):
        assert abs(float(mask.mean()) - (1 - block.drop_rate)) <= 0.08
    values = np.unique(masks["dropout"])
    assert values[0] == 0 and values[1:] == pytest.approx(1 / 0.6)


def test_states_come_and_go_without_a_change():
    state = random_state(nf.models.from_config(FAMILIES["nfnet"], dtype="float64"), 3)
    returned = port.to_state_dict(port.from_state_dict(state))
    assert set(returned) == set(state) and all(np.array_equal(returned[name], state[name]) for name in state)


def test_every_activation_of_a_network_is_in_the_port():
    """In float64, to some ten roundings of a value; `log_softmax` is along the channels in both."""
    missing = sorted(set(ACTIVATIONS) - set(port.FUNCTIONS))
    assert not missing, f"{missing}: add them to FUNCTIONS in nfnumpy/ports/jax.py"
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5))
    theirs = jax.jit(lambda x: {name: port.activation(x, name) for name in port.FUNCTIONS})(x)
    for name, values in theirs.items():
        ours = GAMMA[name] * NONLINEARITIES[name][0](x)
        np.testing.assert_allclose(values, ours, rtol=2e-14, atol=1e-14, err_msg=name)


def test_images_enter_both_networks_alike():
    images = np.random.default_rng(9).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    ours = nf.datasets.preprocessing.to_input(images, nf.backend.get("numpy"), np.dtype("float64"))
    np.testing.assert_allclose(port.normalize(images, jnp.float64), ours, rtol=1e-14, atol=1e-14)
