"""A run that is killed and resumed ends with the same bits as an uninterrupted run."""

import builtins
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nfnumpy import InputError, weights
from nfnumpy.training import report, train
from reference_tests.conftest import ROOT

TIMED = ("images_per_second", "seconds", "waited_seconds")
WRITTEN = {"checkpoint.safetensors", "config.toml", "inventory.tsv.gz", "metrics.jsonl"}


@pytest.fixture(scope="module")
def options(few_digits):
    """Two epochs of two steps, with everything random switched on and two checkpoints an epoch."""
    return {"data": f"idx:{few_digits}", "epochs": 2, "batch_size": 12, "checkpoint_every": 1, "sam": 0.05,
            "sam_fraction": 0.25, "stochdepth_rate": 0.25, "dropout": 0.3, "augment": "nfnet", "seed": 7}


@pytest.fixture(scope="module")
def uninterrupted(options, tmp_path_factory):
    """The results of the run without an interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train({**options, "out": str(folder)})
    return results(folder)


def results(folder):
    """(the checkpoint's arrays, the metrics without timings) of a run."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return weights.load(folder / "checkpoint.safetensors"), [
        {key: value for key, value in entry.items() if key not in TIMED} for entry in entries]


def expect_same(folder, expected):
    """The run in `folder` ended with the bits and the metrics of `expected`, and left nothing else."""
    arrays, entries = results(folder)
    assert arrays.keys() == expected[0].keys() and entries == expected[1]
    for name, array in expected[0].items():
        assert np.array_equal(arrays[name], array), name
    assert {path.name for path in folder.iterdir()} - {"curves.png"} == WRITTEN


def content_of(folder):
    """Name -> bytes of the files in a folder; None if there is no such folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def record_states(monkeypatch, folder, states):
    """Append the content of `folder` to `states` before every call that may change it: what a killed run leaves."""
    def recording(function):
        def recorded(path, *arguments, **options):
            if str(path).startswith(str(folder)) and content_of(folder) not in states:
                states.append(content_of(folder))
            return function(path, *arguments, **options)
        return recorded

    for owner, name in ((os, "makedirs"), (os, "replace"), (os, "link"), (os, "unlink"), (builtins, "open")):
        monkeypatch.setattr(owner, name, recording(getattr(owner, name)))


def resume_or_start(options):
    """Resume the run; if that is refused, start it."""
    try:
        train(options, resume=True)
    except InputError:
        train(options)


def test_a_run_killed_at_any_moment_ends_with_the_same_bits(tmp_path, monkeypatch, options, uninterrupted):
    """A killed run leaves the files as they are; so one moment between any two changes of the folder is enough."""
    states = []
    with monkeypatch.context() as patch:
        record_states(patch, tmp_path / "run", states)
        train({**options, "out": str(tmp_path / "run")})
    assert len(states) >= 2 + 4 * 2  # no folder, no lock; a new file and its renaming for each checkpoint
    monkeypatch.setattr(report, "draw_curves", lambda *arguments, **more: False)
    for number, state in enumerate(states):
        folder = tmp_path / f"killed-{number}"
        if state is not None:
            folder.mkdir()
            for name, content in state.items():
                (folder / name).write_bytes(content)
        resume_or_start({**options, "out": str(folder)})
        expect_same(folder, uninterrupted)


def test_a_killed_process_leaves_no_lock(tmp_path, options, uninterrupted):
    """The kernel releases it."""
    code = f"from nfnumpy.training import train; train({dict(options, out=str(tmp_path / 'run'))})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    process.stdout.readline()
    process.kill()
    process.communicate()
    resume_or_start({**options, "out": str(tmp_path / "run")})
    expect_same(tmp_path / "run", uninterrupted)


def interrupt_at(monkeypatch, beginning):
    """Let a run be interrupted when it logs a line with this beginning."""
    def log(text):
        if text.startswith(beginning):
            raise KeyboardInterrupt

    monkeypatch.setattr(report, "log", log)


def test_a_torn_last_line_of_metrics_is_dropped_on_resuming(tmp_path, monkeypatch, options, uninterrupted):
    out = {"out": str(tmp_path / "run")}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(patch, "epoch 2/")
        train({**options, **out})
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "ste')
    train(out, resume=True)
    expect_same(tmp_path / "run", uninterrupted)


def test_without_a_checkpoint_resuming_keeps_the_options(tmp_path, monkeypatch, options, uninterrupted):
    """The options of a run that has no checkpoint yet are in its lock file."""
    out = {"out": str(tmp_path / "run")}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as interruption:
        interrupt_at(patch, "idx:")
        train({**options, **out})
    assert interruption.value.__notes__ == [f"to go on: --resume --out {out['out']}"]
    assert sorted(os.listdir(out["out"])) == ["config.toml", "inventory.tsv.gz", "metrics.jsonl", "run.lock"]
    with pytest.raises(InputError, match=r"--lr 0\.1: the run to resume was started with 0\.2"):
        train({**out, "lr": 0.1}, resume=True)
    train(out, resume=True)
    expect_same(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process": 1}', "\udcff"])
def test_an_unreadable_lock_file_does_not_block_a_new_run(tmp_path, few_digits, content):
    (tmp_path / "run.lock").write_text(content, errors="surrogateescape")
    options = {"data": f"idx:{few_digits}", "epochs": 1, "out": str(tmp_path)}
    with pytest.raises(InputError, match=r"run\.lock cannot be read"):
        train({"out": str(tmp_path)}, resume=True)
    assert len(train(options)) == 1


def test_resuming_where_there_is_no_run_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "typo"):
        with pytest.raises(InputError, match=r"no checkpoint\.safetensors and no run to resume"):
            train({"out": str(folder)}, resume=True)
    assert os.listdir(tmp_path) == []


def test_a_second_run_in_a_folder_in_use_is_refused(tmp_path, monkeypatch, options):
    """A new run and a resumed one; the first run is not disturbed."""
    out = {"out": str(tmp_path / "run")}
    refusals = []

    def log(text):
        if not text.startswith("idx:"):
            return
        for resume in (False, True):
            with pytest.raises(InputError, match=f"process {os.getpid()} is training there") as refusal:
                train({**options, **out, "epochs": 1}, resume=resume)
            refusals.append(refusal)

    monkeypatch.setattr(report, "log", log)
    assert len(train({**options, **out, "epochs": 1})) == 1 and len(refusals) == 2
