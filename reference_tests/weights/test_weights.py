"""Weight files are written whole or not at all, and foreign names and layouts go both ways without losing a bit."""

import os

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays_of

import nfnumpy as nf

SMALL = [
    nf.models.NFNetConfig(widths=(32, 48, 64), depths=(1, 2, 2), strides=(1, 2, 2), group_size=8, num_classes=5),
    nf.models.NFResNetConfig(widths=(32, 64), depths=(2, 2), strides=(1, 2), num_classes=5),
    nf.models.NFResNetConfig(widths=(32, 64), depths=(2, 2), strides=(1, 2), num_classes=5, use_se=True),
    nf.models.NFRegNetConfig(widths=(24, 48), depths=(1, 3), strides=(2, 2), num_classes=5),
]


def random_state(config):
    """The state of a model whose parameters are all different."""
    model = nf.models.from_config(config, dtype="float64")
    draws = np.random.default_rng(5)
    return {name: draws.standard_normal(array.shape) for name, array in model.state_dict().items()}


def expect_equal(one, other):
    """The same names and the same bits."""
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name]) and one[name].dtype == other[name].dtype, name


@pytest.mark.parametrize("config", SMALL)
def test_haiku_names_go_both_ways_bit_for_bit(config):
    state = random_state(config)
    tree = nf.weights.to_haiku(state)
    expect_equal(nf.weights.from_haiku(tree), state)
    assert sum(len(leaves) for leaves in tree.values()) == len(state)


@pytest.mark.parametrize("config", SMALL)
def test_timm_names_and_layouts_go_both_ways_bit_for_bit(config):
    state = random_state(config)
    expect_equal(nf.weights.from_timm(nf.weights.to_timm(state)), state)


def test_haiku_names_are_the_authors():
    tree = nf.weights.to_haiku(random_state(SMALL[0]))
    assert set(tree["NFNet/~/stem_conv0"]) == {"w", "gain", "bias"}
    assert set(tree["NFNet/~/nf_block"]) == set(tree["NFNet/~/nf_block_1"]) == {"skip_gain"}
    assert set(tree["NFNet/~/nf_block_3/~/conv1b"]) == {"w", "gain", "bias"}
    assert "NFNet/~/nf_block_1/~/conv_shortcut" in tree and "NFNet/~/nf_block_2/~/conv_shortcut" not in tree
    assert set(tree["NFNet/~/nf_block/~/squeeze_excite/~/linear"]) == {"w", "b"}
    assert set(tree["NFNet/~/nf_block/~/squeeze_excite/~/linear_1"]) == set(tree["NFNet/~/linear"]) == {"w", "b"}
    assert "NFNet/~/final_conv" in tree
    assert "NF_ResNet/~/nf_res_block_1/~/conv2" in nf.weights.to_haiku(random_state(SMALL[1]))
    assert "NF_RegNet/~/initial_conv" in nf.weights.to_haiku(random_state(SMALL[3]))


def test_timm_names_and_shapes_are_timms():
    state = random_state(SMALL[0])
    timm = nf.weights.to_timm(state)
    assert timm["stem.conv1.weight"].shape == (16, 3, 3, 3) and timm["stem.conv4.gain"].shape == (16, 1, 1, 1)
    assert timm["stages.1.0.downsample.conv.weight"].shape == (48, 32, 1, 1)
    assert timm["stages.1.1.conv2b.weight"].shape == (24, 8, 3, 3) and timm["stages.2.1.skipinit_gain"].shape == ()
    assert timm["stages.0.0.attn_last.fc1.weight"].shape == (16, 32, 1, 1)
    assert timm["head.fc.weight"].shape == (5, 128) and timm["final_conv.bias"].shape == (128,)
    i, j, c, o = 2, 1, 5, 7
    assert timm["stages.0.0.conv2.weight"][o, c, i, j] == state["blocks.0.conv1.weight"][i, j, c, o]


@pytest.mark.parametrize("alter", [
    lambda tree: {**tree, "NFNet/~/mystery": {"w": np.zeros(2)}}, lambda tree: {**tree, "Other/~/linear": {}},
    lambda tree: {"NFNet": np.zeros(3)}, lambda tree: {}])
def test_trees_that_are_not_the_authors_are_refused_in_one_line(alter):
    with pytest.raises(nf.InputError) as refusal:
        model = nf.models.from_config(SMALL[0])
        model.load_state_dict(nf.weights.from_haiku(alter(nf.weights.to_haiku(model.state_dict()))))
    assert "\n" not in str(refusal.value)


def test_timm_states_with_a_name_too_many_are_refused_by_name():
    timm = nf.weights.to_timm(random_state(SMALL[0]))
    with pytest.raises(nf.InputError, match=r"stages\.0\.0\.mystery"):
        nf.weights.from_timm({**timm, "stages.0.0.mystery": np.zeros(2)})


NAMES = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__")
ARRAYS = arrays_of.arrays(st.sampled_from([np.float32, np.float64, np.int64]),
                          arrays_of.array_shapes(min_dims=0, min_side=0))


@given(state=st.dictionaries(NAMES, ARRAYS, max_size=4), transposed=st.booleans())
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, state, transposed):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    state = {name: array.T if transposed else array for name, array in state.items()}
    nf.weights.save(path, state)
    loaded = nf.weights.load(path)
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_other_arrays(tmp_path_factory, position, bit):
    """The checksum detects it, unless the bit is in the checksum's own name, which changes no array."""
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    state = {"a": np.arange(12.0), "b": np.ones((2, 3), np.float32)}
    nf.weights.save(path, state)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        loaded = nf.weights.load(path)
    except nf.InputError as refusal:
        assert str(path) in str(refusal) and "\n" not in str(refusal)
    else:
        assert loaded.keys() == state.keys()
        assert all(loaded[name].tobytes() == array.tobytes() for name, array in state.items())


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    nf.weights.save(path, {"a": np.ones(3)})
    before = path.read_bytes()
    for failing in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            def fail(*arguments):
                raise OSError(28, "No space left on device")
            patch.setattr(os, failing, fail)
            with pytest.raises(nf.InputError, match="No space left"):
                nf.weights.save(path, {"a": np.zeros(3)})
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["weights.safetensors"]


@pytest.mark.parametrize("target", ["missing/weights.safetensors", "folder"])
def test_a_target_that_cannot_be_written_is_one_line(tmp_path, target):
    (tmp_path / "folder").mkdir()
    with pytest.raises(nf.InputError, match="cannot write") as refusal:
        nf.weights.save(tmp_path / target, {"a": np.zeros(3)})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("state, metadata, complaint", [
    (None, None, "expected a dict of name -> array, got None"),
    ({1: np.ones(2)}, None, "expected a dict of name -> array"),
    ({"a": None}, None, "a: expected an array of numbers, got None"),
    ({"a": [1.0]}, None, r"a: expected an array of numbers, got \[1.0\]"),
    ({"a": np.array(["x"])}, None, "a: expected an array of numbers"),
    ({"a": np.array([None])}, None, "a: expected an array of numbers"),
    ({"a": np.ones(2)}, "text", "expected metadata of str -> str"),
    ({"a": np.ones(2)}, {"epoch": 3}, "expected metadata of str -> str")])
def test_only_named_arrays_of_numbers_are_saved(tmp_path, state, metadata, complaint):
    with pytest.raises(nf.InputError, match=complaint):
        nf.weights.save(tmp_path / "a.safetensors", state, metadata)
    assert not list(tmp_path.iterdir())
