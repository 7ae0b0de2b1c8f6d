"""Weights of every kind are recognized by content, come back in our names and layout, and go out again bit for bit."""

import base64
import pickle
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays_of

import nfnumpy as nf
from nfnumpy.weights import __main__ as weights_command
from nfnumpy.weights.numpy_pickles import read_pickle
from reference_tests.helpers.command_line import run_command
from reference_tests.weights.test_weights import SMALL, expect_equal, random_state

# {"m": {"w": float32 [0, 1, 2]}} as JAX 0.10.2, Haiku 0.0.17 (its FlatMapping) and dill 0.4.1 wrote it. The authors'
# released files were written by dill.
FOREIGN_PICKLES = {
    "JAX": """
gASV3QAAAAAAAAB9lIwBbZR9lIwBd5SMDmpheC5fc3JjLmFycmF5lIwSX3JlY29uc3RydWN0X2FycmF5lJOUKIwWbnVtcHkuX2NvcmUubXVsdGlhcnJh
eZSMDF9yZWNvbnN0cnVjdJSTlIwFbnVtcHmUjAduZGFycmF5lJOUSwCFlEMBYpSHlChLAUsDhZRoCowFZHR5cGWUk5SMAmY0lImIh5RSlChLA4wBPJRO
Tk5K/////0r/////SwB0lGKJQwwAAAAAAACAPwAAAECUdJR9lIwJd2Vha190eXBllIlzdJRSlHNzLg==""",
    "Haiku": """
gASV2gAAAAAAAACMGmhhaWt1Ll9zcmMuZGF0YV9zdHJ1Y3R1cmVzlIwLRmxhdE1hcHBpbmeUk5R9lIwBbZRoAn2UjAF3lIwWbnVtcHkuX2NvcmUubXVs
dGlhcnJheZSMDF9yZWNvbnN0cnVjdJSTlIwFbnVtcHmUjAduZGFycmF5lJOUSwCFlEMBYpSHlFKUKEsBSwOFlGgKjAVkdHlwZZSTlIwCZjSUiYiHlFKU
KEsDjAE8lE5OTkr/////Sv////9LAHSUYolDDAAAAAAAAIA/AAAAQJR0lGJzhZRSlHOFlFKULg==""",
    "dill": """
gAN9cQBYAQAAAG1xAX1xAlgBAAAAd3EDY2RpbGwuX2RpbGwKX2NyZWF0ZV9hcnJheQpxBChjbnVtcHkuX2NvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1
Y3QKcQVjbnVtcHkKbmRhcnJheQpxBksAhXEHQwFicQiHcQkoSwFLA4VxCmNudW1weQpkdHlwZQpxC1gCAAAAZjRxDImIh3ENUnEOKEsDWAEAAAA8cQ9O
Tk5K/////0r/////SwB0cRBiiUMMAAAAAAAAgD8AAABAcRF0cRJOdHETUnEUc3Mu""",
}


def tensors(state):
    """`state` as PyTorch's tensors."""
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in state.items()}


def written(path, kind, state):
    """The file at `path`, holding `state` (ours) as `kind` would."""
    timm = nf.weights.to_timm(state)
    if kind == "our safetensors":
        nf.weights.save(path, state)
    elif kind == "timm's safetensors":
        nf.weights.save(path, timm)
    elif kind == "PyTorch":
        torch.save(tensors(timm), path)
    elif kind == "PyTorch before 1.6":
        torch.save(tensors(timm), path, _use_new_zipfile_serialization=False)
    elif kind == "PyTorch with parameters":
        torch.save({name: torch.nn.Parameter(tensor) for name, tensor in tensors(timm).items()}, path)
    elif kind == "a training script's":
        torch.save({"epoch": 3, "arch": "dm", "optimizer": {"param_groups": [{"lr": 0.1, "params": [0, 1]}]},
                    "state_dict": {f"module.{name}": tensor for name, tensor in tensors(timm).items()}}, path)
    elif kind == "our names in PyTorch":
        torch.save(tensors(state), path)
    elif kind == "a pickle of timm's names":
        path.write_bytes(pickle.dumps(timm, protocol=4))
    else:
        tree = nf.weights.to_haiku(state)
        tree = {"params": tree, "state": {}} if kind.startswith("wrapped") else tree
        path.write_bytes(pickle.dumps(tree, protocol=int(kind[-1])))
    return path


KINDS = ["our safetensors", "timm's safetensors", "PyTorch", "PyTorch before 1.6", "PyTorch with parameters",
         "a training script's", "our names in PyTorch", "a pickle of timm's names",
         "wrapped authors' pickle, protocol 4", *(f"authors' pickle, protocol {k}" for k in range(2, 6))]


@pytest.mark.parametrize("config", SMALL)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_our_names_and_bits(tmp_path, kind, config):
    state = random_state(config)
    for name in ("weights.safetensors", "F0_haiku.npz", "weights"):
        expect_equal(nf.weights.load(written(tmp_path / name, kind, state)), state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_types_are_kept(tmp_path, kind, dtype):
    state = {name: array.astype(dtype) for name, array in random_state(SMALL[1]).items()}
    expect_equal(nf.weights.load(written(tmp_path / "weights", kind, state)), state)


@pytest.mark.parametrize("package", FOREIGN_PICKLES)
def test_arrays_pickled_by_other_packages_need_none_of_them(tmp_path, monkeypatch, package):
    """Other tests may have imported these packages: here an import of them, or of any part of them, fails."""
    packages = {"jax", "jaxlib", "haiku", "dill"}
    for name in packages | {name for name in sys.modules if name.partition(".")[0] in packages}:
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "weights").write_bytes(base64.b64decode(FOREIGN_PICKLES[package]))
    with open(tmp_path / "weights", "rb") as file:
        array = read_pickle(file)["m"]["w"]
    assert array.dtype == np.float32 and array.tolist() == [0.0, 1.0, 2.0] and array.flags.writeable


numbers = st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])


@given(data=st.data(), protocol=st.integers(2, 5))
def test_any_numbers_in_any_order_and_protocol_come_back(scratch, data, protocol):
    dtype = np.dtype(data.draw(numbers)).newbyteorder(data.draw(st.sampled_from("<>")))
    array = data.draw(arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, min_side=0)))
    array = np.asfortranarray(array) if array.ndim and data.draw(st.booleans()) else array
    leaves = {"w": array, "again": array, "scalar": array.dtype.type(1)}
    (scratch / "any").write_bytes(pickle.dumps({"m": leaves}, protocol))
    with open(scratch / "any", "rb") as file:
        leaves = read_pickle(file)["m"]
    for found in (leaves["w"], leaves["again"]):
        assert found.dtype == dtype.newbyteorder("=") and found.shape == array.shape and found.flags.writeable
        assert found.tobytes() == array.astype(found.dtype).tobytes()
    assert leaves["scalar"].shape == () and leaves["scalar"] == 1


@settings(max_examples=12)
@given(data=st.data())
def test_any_network_goes_through_every_scheme_bit_for_bit(scratch, data):
    widths = data.draw(st.lists(st.sampled_from([16, 24, 32]), min_size=1, max_size=3))
    depths = data.draw(st.lists(st.integers(1, 3), min_size=len(widths), max_size=len(widths)))
    strides = data.draw(st.lists(st.integers(1, 2), min_size=len(widths), max_size=len(widths)))
    family = data.draw(st.sampled_from(nf.models.NORMALIZER_FREE))
    options = {"group_size": 4} if family is not nf.models.NFResNetConfig else {"use_se": data.draw(st.booleans())}
    config = family(widths=tuple(widths), depths=tuple(depths), strides=tuple(strides), num_classes=3, **options)
    state = random_state(config)
    nf.weights.save(scratch / "state", state)
    previous = scratch / "state"
    for step, scheme in enumerate(data.draw(st.permutations(["timm", "haiku", "nfnumpy"]))):
        nf.weights.convert(previous, scratch / f"step{step}", scheme)
        previous = scratch / f"step{step}"
        expect_equal(nf.weights.load(previous), state)


def test_of_a_checkpoint_all_arrays_come_or_one_group_as_a_state(tmp_path):
    model = nf.models.create("nfnet_8px")
    state = model.state_dict()
    path = tmp_path / "checkpoint.safetensors"
    averaged = {name: array + 1 for name, array in state.items()}
    nf.weights.save(path, {**{f"model.{name}": array for name, array in state.items()},
                           **{f"ema.{name}": array for name, array in averaged.items()}}, {"nfnumpy": "{}"})
    assert len(nf.weights.load(path)) == 2 * len(state)
    expect_equal(nf.weights.load(path, "model"), state)
    expect_equal(nf.weights.load(path, group="ema"), averaged)
    with pytest.raises(nf.InputError, match="no group 'velocity'; it has model, ema"):
        nf.weights.load(path, "velocity")
    with pytest.raises(nf.InputError, match=r"load\(path, group='model'\)"):
        model.load_state_dict(nf.weights.load(path))
    nf.weights.convert(path, tmp_path / "converted", "haiku")
    expect_equal(nf.weights.load(tmp_path / "converted"), averaged)


def shapes_only_state(name, **changes):
    """The state of a variant, without memory."""
    return nf.models.create(name, shapes_only=True, **changes).state_dict()


@pytest.mark.parametrize("name", nf.models.names())
def test_every_variant_is_recognized_whatever_its_classes(name):
    """Every variant has names or shapes of parameters that no other has; another activation alone is no variant."""
    found = nf.models.variant_of(shapes_only_state(name))
    assert found == name, f"{name} has parameters of the same names and shapes as {found}, so their weights look " \
                          "the same. Leave it out: create() takes any field of the configuration"
    assert nf.models.variant_of(shapes_only_state(name, num_classes=17)) == name


@pytest.mark.parametrize("alter, complaint", [
    (lambda state: state | {"blocks.3.conv1.gain": np.zeros(5)}, r"is nfnet_f0.*blocks.3.conv1.gain.*\(5,\).*\(768,\)"),
    (lambda state: {k: v for k, v in state.items() if k != "blocks.0.skip_gain"}, "is nfnet_f0.*skip_gain' is missing"),
    (lambda state: state | {"extra": np.zeros(5)}, "is nfnet_f0.*'extra' is unknown"),
    (lambda state: {"a": np.zeros(5)}, "no variant has names"), (lambda state: {}, "no variant has names")])
def test_the_error_for_a_state_of_no_variant_says_why(alter, complaint):
    with pytest.raises(nf.InputError, match=complaint) as refusal:
        nf.models.variant_of(alter(shapes_only_state("nfnet_f0")))
    assert str(refusal.value).isprintable()


def test_the_error_for_weights_of_another_variant_names_it():
    f1 = shapes_only_state("nfnet_f1")
    for model, complaint in (("nfnet_f0", "these weights fit nfnet_f1, not nfnet_f0$"),
                             ("nf_resnet50", "these weights fit nfnet_f1, not nf_resnet50$")):
        with pytest.raises(nf.InputError, match=complaint):
            nf.models.create(model, shapes_only=True).load_state_dict(f1)
    with pytest.raises(nf.InputError, match=r"linear.weight.*these weights fit nfnet_f1 with num_classes=1000$"):
        nf.models.create("nfnet_f1", num_classes=10, shapes_only=True).load_state_dict(f1)
    with pytest.raises(nf.InputError, match=r"these weights fit nfnet_f1, not this model$"):
        nf.models.from_config(SMALL[0], shapes_only=True).load_state_dict(f1)


@pytest.mark.parametrize("value, complaint", [
    ({"stem.conv1.bias": torch.ones(16), "stages.0.0.conv1.bias": torch.ones(8)}, "no skipinit_gain"),
    ({"layer1.0.conv9.weight": torch.ones(4, 4, 1, 1)}, "'layer1.0.conv9.weight' is no name"),
    ({"patch_embed.proj.weight": torch.ones(4, 4, 1, 1)}, "'patch_embed.proj.weight' is no name of our arrays"),
    ({"a": 5}, "no state dict"), ({"a": torch.ones(2, dtype=torch.complex64)}, "ComplexFloatStorage.*expected"),
    ({"a": torch.ones(2), "module.a": torch.ones(2)}, "with and without 'module.'"),
    ({"a": torch.zeros(2, dtype=torch.complex64).conj().imag}, "negated"),
], ids=["gamma in the weights", "a name too many", "another network", "no tensors", "complex", "one name twice",
       "negated"])
def test_foreign_weights_that_cannot_be_carried_say_why(tmp_path, value, complaint):
    torch.save(value, tmp_path / "weights.pth")
    with pytest.raises(nf.InputError, match=f"weights.pth.*{complaint}") as refusal:
        nf.weights.load(tmp_path / "weights.pth")
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("name, shape", [("stages.0.0.attn_last.fc1.weight", (16, 32, 3, 3)),
                                         ("stem.conv1.gain", (4, 4)), ("stem.conv2.weight", (3,))])
def test_timm_arrays_of_odd_shapes_are_refused(name, shape):
    timm = nf.weights.to_timm(random_state(SMALL[0])) | {name: np.zeros(shape)}
    with pytest.raises(nf.InputError, match=name):
        nf.weights.from_timm(timm)


@pytest.mark.parametrize("path, leaf", [("NFNet/~/nf_block_99", "skip_gain"), ("NFNet/~/nf_block_0", "skip_gain"),
                                        ("NFNet/~/nf_block_007", "skip_gain"), ("NF_ResNet/~/linear", "w"), (7, "w")])
def test_haiku_modules_that_are_out_of_place_are_refused(path, leaf):
    tree = nf.weights.to_haiku(random_state(SMALL[0]))
    with pytest.raises(nf.InputError):
        nf.weights.from_haiku({**tree, path: {leaf: np.zeros(())}})


def run(capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command."""
    return run_command(weights_command.main, capsys, monkeypatch, *arguments)


@pytest.mark.parametrize("to", ["timm", "haiku", "nfnumpy"])
def test_the_command_converts_and_says_what_it_wrote(capsys, monkeypatch, tmp_path, to):
    state = nf.models.create("nfnet_8px", num_classes=4).state_dict()
    source = written(tmp_path / "in", "authors' pickle, protocol 4", state)
    target = tmp_path / "out"
    status, printed, _ = run(capsys, monkeypatch, "convert", source, target, "--to", to)
    assert status == 0 and "nfnet_8px with 4 classes" in printed and ("note: " in printed) == (to == "timm")
    if to == "haiku":  # Python's own pickle reads it
        expect_equal(nf.weights.from_haiku(pickle.loads(target.read_bytes())), state)
    else:
        expected = nf.weights.to_timm(nf.weights.without_timm_epsilon(state)) if to == "timm" else state
        expect_equal(safetensors.numpy.load_file(target), expected)


@pytest.mark.parametrize("arguments, complaint", [
    ([], "required"), (["convert", "in"], "required"), (["convert", "in", "out"], "--to"),
    (["convert", "in", "out", "--to", "keras"], "keras"), (["melt", "in", "out", "--to", "timm"], "melt"),
    (["convert", "missing", "out", "--to", "timm"], "no weight file at missing"),
    (["convert", "in", "in", "--to", "timm"], "in is the file to read"),
    (["convert", "other", "out", "--to", "timm"], "'a' is no name of a network that timm also has"),
    (["convert", "in", "no/such/folder/out", "--to", "haiku"], "cannot write"),
])
def test_mistakes_are_one_line_and_status_2_and_leave_no_file(capsys, monkeypatch, tmp_path, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "in", "our safetensors", random_state(SMALL[0]))
    nf.weights.save("other", {"a": np.zeros(3)})
    before = (tmp_path / "in").read_bytes()
    status, printed, error = run(capsys, monkeypatch, *arguments)
    assert status == 2 and not printed and error.count("\n") == 1 and complaint in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "other"]
    assert (tmp_path / "in").read_bytes() == before
