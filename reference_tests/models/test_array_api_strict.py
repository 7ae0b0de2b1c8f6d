"""Whole networks on arrays that know nothing but the array API standard of 2023.12.

Not only the formulas, which functional/test_array_api_strict.py has one by one: what layers and blocks compute between
them, the tape, and the running statistics. array_api_strict computes with NumPy underneath, so the result has the same
bits as that of the formulas on NumPy.
"""

import dataclasses

import array_api_strict as strict
import numpy as np
import pytest

import nfnumpy as nf
from reference_tests.helpers.baseline_pairs import random_state
from reference_tests.helpers.tiny_networks import BASELINES, RESNET, SMALL_STEM

NORMALIZER_FREE = {
    "nfnet": nf.models.NFNetConfig(widths=(8, 16), depths=(1, 2), strides=(1, 2), group_size=4, stem_widths=(4, 8),
                                   stem_strides=(1, 2), num_classes=7),
    "nf_resnet": nf.models.NFResNetConfig(**RESNET, use_se=True),
    "nf_regnet": nf.models.NFRegNetConfig(**{**RESNET, "widths": (8, 16)}),
}
NORMS = {f"resnet with {norm}": nf.models.ResNetConfig(**RESNET, **SMALL_STEM, norm=norm) for norm in nf.nn.NORMS}
NETWORKS = {**NORMALIZER_FREE, **BASELINES, **NORMS}


@pytest.fixture(autouse=True)
def tensors_of_strict_arrays(monkeypatch):
    """The tape asks every array for three facts that the standard does not have, and computes nothing with them."""
    strict.set_array_api_strict_flags(api_version="2023.12")
    for fact in ("kind", "name", "itemsize"):
        monkeypatch.setattr(type(strict.float64), fact, property(lambda dtype, fact=fact: getattr(
            np.dtype(str(dtype).rpartition(".")[2]), fact)), raising=False)
    monkeypatch.setattr(type(strict.asarray(0.0)), "base", None, raising=False)  # no array is a part of another
    yield
    strict.reset_array_api_strict_flags()


def results(config, convert):
    """name -> array: the loss of two images, all gradients, the images' too, and the running statistics after it.

    convert: from NumPy's array to the array that the network computes with. Nothing is drawn: masks come from NumPy.
    """
    config = dataclasses.replace(config, **{rate: 0.0 for rate in ("drop_rate", "stochdepth_rate")
                                            if hasattr(config, rate)})
    model = nf.models.from_config(config, dtype="float64")
    drawn = random_state(model, 1)
    model.load_state_dict({name: array if name.endswith("counter") else drawn[name]
                           for name, array in model.state_dict().items()})
    for parameter in model.parameters().values():
        parameter.data = convert(parameter.data)
    model.assign_buffers({name: convert(array) for name, array in model.buffers().items()})
    side = 75 if isinstance(config, nf.models.InceptionV3Config) else 8
    images = nf.Tensor(convert(np.random.default_rng(0).standard_normal((2, side, side + 1, 3))), requires_grad=True)
    with nf.reference(), nf.trust_saved_arrays():
        loss = nf.ops.softmax_cross_entropy(model(images, training=True), convert(np.array([1, 4])))
        loss.backward()
    return {"loss": loss.data, "images": images.grad, **model.buffers(),
            **{f"gradient of {name}": parameter.grad for name, parameter in model.parameters().items()}}


@pytest.mark.parametrize("name", NETWORKS)
def test_loss_gradients_and_running_statistics_are_standard_bit_for_bit(name):
    found, expected = results(NETWORKS[name], strict.asarray), results(NETWORKS[name], np.asarray)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        assert type(array).__module__.startswith("array_api_strict"), key
        np.testing.assert_array_equal(np.asarray(array._array), expected[key], strict=True, err_msg=key)


def test_no_family_is_left_out():
    assert {*map(type, NETWORKS.values())} == set(nf.models.CONFIGS)
