"""Gains carry timm's epsilon in both directions: timm's standardization then gives our weights, and files come back."""

import base64
import json
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import nfnumpy as nf
from nfnumpy.weights.timm_gains import ENTRY
from reference_tests.weights.test_weights import SMALL, expect_equal, random_state


def as_timm_standardizes(weight, gain):
    """timm's standardized weight (fan-in, out): a batch normalization over units."""
    fan_in = np.prod(weight.shape[:-1])
    rows = torch.from_numpy(weight.reshape(fan_in, -1).T.copy())[None]
    scale = torch.from_numpy(gain * fan_in**-0.5)
    return torch.nn.functional.batch_norm(rows, None, None, scale, training=True, eps=1e-5)[0].numpy().T


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # with the second one many units are under our floor
@pytest.mark.parametrize("change", ["with_timm_epsilon", "without_timm_epsilon"])
def test_both_standardizations_give_the_same_weights_once_the_gains_carry_the_epsilon(scale, change):
    state = random_state(SMALL[0])
    state = {name: array * scale if name.endswith("weight") else array for name, array in state.items()}
    changed = getattr(nf.weights, change)(state)
    ours, theirs = (changed, state) if change == "with_timm_epsilon" else (state, changed)
    assert changed.keys() == state.keys()
    for name in (name.removesuffix(".gain") for name in state if name.endswith(".gain")):
        weight = state[f"{name}.weight"]
        standardized = nf.functional.weight_standardization.standardize_weight(weight, ours[f"{name}.gain"])
        fan_in = np.prod(weight.shape[:-1])
        # Sums of fan_in terms in two orders, for mean and variance, and ten roundings of products and roots.
        bound = (2 * fan_in + 10) * np.finfo(np.float64).eps * np.abs(standardized).max()
        found = as_timm_standardizes(weight, theirs[f"{name}.gain"])
        assert np.abs(standardized.reshape(found.shape) - found).max() <= bound


@settings(max_examples=15)
@given(dtype=st.sampled_from(["float16", "float32", "float64"]), scale=st.sampled_from([1e-4, 0.02, 1.0, 30.0]),
       family=st.sampled_from(SMALL), seed=st.integers(0, 99), odd=st.sampled_from([0.0, -0.0, np.inf, np.nan, 6e-8]))
def test_a_file_for_timm_comes_back_bit_for_bit(scratch, dtype, scale, family, seed, odd):
    draws = np.random.default_rng(seed)
    state = {name: (draws.standard_normal(array.shape) * scale).astype(dtype)
             for name, array in random_state(family).items()}
    state["blocks.0.conv0.gain"][1] = odd
    nf.weights.save(scratch / "ours", state)
    nf.weights.convert(scratch / "ours", scratch / "timm", "timm")
    back = nf.weights.load(scratch / "timm")
    assert back.keys() == state.keys()
    assert all(back[name].dtype == array.dtype and back[name].tobytes() == array.tobytes()
               for name, array in state.items())


def test_a_file_for_timm_holds_the_changed_gains_or_on_request_the_stored_ones(tmp_path):
    state = random_state(SMALL[0])
    nf.weights.save(tmp_path / "ours", state)
    for gains, expected in (("exact", nf.weights.without_timm_epsilon(state)), ("as-stored", state)):
        nf.weights.convert(tmp_path / "ours", tmp_path / gains, "timm", gains)
        arrays, metadata = nf.weights.read(tmp_path / gains)
        expect_equal(arrays, nf.weights.to_timm(expected))
        assert (ENTRY in metadata) == (gains == "exact")
    changed = nf.weights.without_timm_epsilon(state)["blocks.0.conv2.gain"] / state["blocks.0.conv2.gain"]
    assert np.all(changed > 1.0)  # the epsilon makes timm's weights smaller


def packed(content):
    """An entry with this content."""
    return json.dumps({"differences": base64.b64encode(zlib.compress(content)).decode()})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"differences": 5}', '{"differences": "!"}',
                                  '{"differences": "AAAA"}', "[" * 10_000, packed(b""), packed(bytes(2**24))],
                         ids=["empty", "list", "no differences", "number", "not base64", "not zlib", "nested", "short",
                              "long"])
def test_an_entry_that_does_not_fit_is_refused_in_one_line(tmp_path, text):
    state = random_state(SMALL[1])
    nf.weights.save(tmp_path / "timm", nf.weights.to_timm(state), {"format": "pt", ENTRY: text})
    with pytest.raises(nf.InputError, match=f"timm.*{ENTRY}.*does not fit") as refusal:
        nf.weights.load(tmp_path / "timm")
    assert str(refusal.value).isprintable()


def test_gains_without_their_weights_are_refused(tmp_path):
    state = random_state(SMALL[1])
    timm = nf.weights.to_timm({name: array for name, array in state.items() if name != "blocks.0.conv0.weight"})
    nf.weights.save(tmp_path / "timm", timm, {ENTRY: json.dumps({"differences": ""})})
    with pytest.raises(nf.InputError, match=r"'blocks\.0\.conv0\.gain' has no weight"):
        nf.weights.load(tmp_path / "timm")
    for wrong in (np.ones(3), np.ones(())):
        with pytest.raises(nf.InputError, match=r"conv0\.gain"):
            nf.weights.without_timm_epsilon({**state, "blocks.0.conv0.gain": wrong})
