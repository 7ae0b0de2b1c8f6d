"""Hostile files are refused in one line, before anything in them runs or takes memory."""

import contextlib
import functools
import os
import pickle
import resource
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import predict
from reference_tests.helpers import hostile_files, pickle_programs
from reference_tests.helpers.command_line import run_command

CANARY = Path(tempfile.gettempdir()) / f"nfnumpy_canary_{os.getpid()}"  # any program in these files would make it
MAKERS = {"pickle": hostile_files.pickles, "torch": hostile_files.torch_files,
          "safetensors": hostile_files.safetensors_files, "other": hostile_files.other_files}
FILES = {kind: make(CANARY) for kind, make in MAKERS.items()}  # kind -> readable name -> (reason, content)
CASES = [(kind, name) for kind, files in FILES.items() for name in files]
MEMORY = 2**28  # bytes: what the readers may take in all; most of these files declare far more


@contextlib.contextmanager
def little_memory():
    """Context in which the process may allocate at most MEMORY bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("kind, name", CASES, ids=[f"{kind}: {name}" for kind, name in CASES])
def test_a_hostile_file_is_refused_and_nothing_of_it_runs(tmp_path, kind, name):
    path = tmp_path / "weights.file"
    reason, content = FILES[kind][name]
    path.write_bytes(content)
    with little_memory(), pytest.raises(nf.InputError) as refusal:
        nf.weights.load(path)
    line = str(refusal.value)
    assert "weights.file" in line and reason in line and line.isprintable() and len(line) < 500
    assert not CANARY.exists() and os.listdir(tmp_path) == ["weights.file"]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_own_loader_does_run_the_command(tmp_path, protocol):
    pickle.loads(pickle.dumps(pickle_programs.Touch(tmp_path / "canary"), protocol))
    assert (tmp_path / "canary").exists()


def test_pickles_own_loader_does_run_assembled_programs(tmp_path):
    pickle.loads(pickle_programs.tree(pickle_programs.touching(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["os.system among the authors' arrays", "os.system in protocol 4"])
def test_the_line_names_the_offending_global(tmp_path, name):
    (tmp_path / "weights").write_bytes(FILES["pickle"][name][1])
    with pytest.raises(nf.InputError, match=r"'posix\.system'"):
        nf.weights.load(tmp_path / "weights")


def test_the_assembled_tree_without_an_attack_is_read(tmp_path):
    """So each case above is refused because of the attack in it, and not because of the program around it."""
    (tmp_path / "weights").write_bytes(pickle_programs.tree(pickle_programs.array()))
    with open(tmp_path / "weights", "rb") as file:
        assert nf.weights.numpy_pickles.read_pickle(file)["NFNet/~/stem_conv0"]["w"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["a zip bomb", "os.system in data.pkl", "legacy: a storage of terabytes"])
def test_predict_refuses_them_with_status_2_and_one_line(capsys, monkeypatch, tmp_path, name):
    (tmp_path / "w.pth").write_bytes(FILES["torch"][name][1])
    status, printed, error = run_command(predict.main, capsys, monkeypatch, tmp_path / "w.pth", "picture.png")
    assert status == 2 and not printed and error.count("\n") == 1 and error.startswith("error: ")
    assert not CANARY.exists()


@pytest.mark.parametrize("make", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_one_line(tmp_path, make):
    path = tmp_path / "weights"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    with pytest.raises(nf.InputError, match="weights"):
        nf.weights.load(path)


@functools.cache
def small_files(folder):
    """kind -> content of a whole file of a very small network; `folder` is for what is written on the way."""
    config = nf.models.NFNetConfig(widths=(8,), depths=(1,), strides=(1,), group_size=4, stem_widths=(4, 4),
                                   stem_strides=(1, 1), num_classes=2)
    state = nf.models.from_config(config).state_dict()
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
    nf.weights.save(folder / "safetensors", state)
    return {"safetensors": (folder / "safetensors").read_bytes(), "torch": hostile_files.torch_file(tensors),
            "legacy torch": hostile_files.torch_file(tensors, legacy=True),
            **{f"pickle of protocol {k}": pickle.dumps(nf.weights.to_haiku(state), k) for k in (2, 3, 4, 5)}}


SMALL_KINDS = ["safetensors", "torch", "legacy torch", *(f"pickle of protocol {k}" for k in (2, 3, 4, 5))]


@pytest.mark.parametrize("kind", SMALL_KINDS)
@given(data=st.data())
def test_a_file_with_changed_bytes_is_read_or_refused(scratch, kind, data):
    content = bytearray(small_files(scratch)[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, min(len(content) - 1, 3000)) | st.integers(0, len(content) - 1))
        end = start + data.draw(st.integers(0, 8))
        content[start:end] = data.draw(st.binary(max_size=8))
    (scratch / "changed").write_bytes(content)
    try:
        with little_memory():
            assert nf.weights.load(scratch / "changed")
    except nf.InputError as refusal:
        assert str(refusal).isprintable()


@pytest.mark.parametrize("kind", SMALL_KINDS)
def test_a_file_cut_anywhere_is_refused(scratch, kind):
    content = small_files(scratch)[kind]
    path = scratch / "cut"
    path.write_bytes(content)
    assert nf.weights.load(path)
    for length in [*range(0, 200, 7), *range(200, len(content), len(content) // 40), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(nf.InputError) as refusal:
            nf.weights.load(path)
        assert str(refusal.value).isprintable()
