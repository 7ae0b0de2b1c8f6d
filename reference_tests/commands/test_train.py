"""`python -m nfnumpy.train`: what it writes, what it refuses, and that nothing on disk is lost."""

import errno
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from reference_tests.helpers.command_line import run_command

from nfnumpy import train, weights
from nfnumpy.training import checkpoint

QUICK = ["--epochs", "2", "--batch-size", "512"]


def run(capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command."""
    return run_command(train.main, capsys, monkeypatch, *arguments)


def expect_one_line(status, error, *words):
    """Status 2 and one line that says each of `words`."""
    assert status == 2 and error.startswith("error: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, error


def make_folder(root, train_classes=("cat", "dog"), test_split="test"):
    """An image folder of 8-pixel pictures, four a class."""
    for split in ("train", test_split):
        for brightness, name in enumerate(train_classes):
            os.makedirs(root / split / name)
            for k in range(4):
                pixels = np.full((8, 8, 3), 40 + 120 * brightness + k, dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{k}.png")
    return root


@pytest.mark.parametrize("flags", [[], ["--sam", "0.05"], ["--sam", "0.05", "--sam-fraction", "0.2"],
                                   ["--agc", "off", "--ema", "off", "--lr", "0.02"], ["--dtype", "float64"],
                                   ["--stochdepth-rate", "0.25", "--dropout", "0.5"]])
def test_the_loss_falls_and_the_folder_holds_metrics_curves_and_checkpoint(capsys, monkeypatch, tmp_path, flags):
    status, printed, _ = run(capsys, monkeypatch, "--epochs", 3, "--batch-size", 128, "--out", tmp_path / "run", *flags)
    assert status == 0
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    assert entries[-1]["train_loss"] < entries[0]["train_loss"] and entries[-1]["test_accuracy"] > 0.3
    for key in ("step", "train_loss", "test_loss", "test_accuracy", "images_per_second", "clipped_fraction",
                "learning_rate", "train_accuracy", "waited_seconds"):
        assert isinstance(entries[-1][key], (int, float)), key
    assert 0.0 <= entries[-1]["test_accuracy"] <= 1.0 and 0.0 <= entries[-1]["clipped_fraction"] <= 1.0
    assert (entries[-1]["clipped_fraction"] == 0.0) == ("--agc" in flags)
    assert ("ema_test_accuracy" in entries[-1]) == ("--ema" not in flags)
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert picture.size[0] > 500
    groups, facts = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert facts["step"] == 3 * (1438 // 128) and set(groups) >= {"model", "velocity"}
    assert f"{100 * entries[-1]['test_accuracy']:.2f} %" in printed


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(capsys, monkeypatch, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run(capsys, monkeypatch, *QUICK, "--seed", seed, "--out", tmp_path / name)
    a, b, c = (weights.load(tmp_path / name / "checkpoint.safetensors") for name in "abc")
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert not np.array_equal(a["model.linear.weight"], c["model.linear.weight"])


@pytest.mark.parametrize("split", ["test", "val"])
def test_an_image_folder_trains_with_either_name_of_its_second_split(capsys, monkeypatch, tmp_path, split):
    folder = make_folder(tmp_path / "pictures", test_split=split)
    status, printed, _ = run(capsys, monkeypatch, "--data", f"folder:{folder}", "--epochs", 2, "--batch-size", 4,
                             "--out", tmp_path / "run")
    assert status == 0 and "2 classes" in printed and "8 training and 8 test images of 8 px" in printed


@pytest.mark.parametrize("flags, words", [
    (["--model", "nfnet_f9"], ["nfnet_f9", "did you mean"]), (["--backend", "tpu"], ["tpu", "numpy"]),
    (["--epochs", "0"], ["--epochs 0"]), (["--epochs", "many"], ["--epochs", "many"]),
    (["--batch-size", "-3"], ["--batch-size -3"]), (["--lr", "nan"], ["--lr nan"]), (["--lr", "-1"], ["--lr -1"]),
    (["--agc", "0"], ["--agc 0", "off"]), (["--agc", "yes"], ["--agc", "yes"]), (["--sam", "-0.1"], ["--sam -0.1"]),
    (["--sam-fraction", "0.2"], ["--sam-fraction", "--sam"]), (["--sam", "0.1", "--sam-fraction", "2"], ["2"]),
    (["--ema", "1"], ["--ema 1"]), (["--seed", "-1"], ["seed -1"]), (["--dtype", "float16"], ["float16", "float32"]),
    (["--data", "mnist"], ["mnist", "digits", "folder:DIR"]), (["--data", "folder:/nowhere"], ["/nowhere"]),
    (["--data", "idx:/nowhere"], ["/nowhere"]), (["--unheard-of", "1"], ["--unheard-of"]), (["--dropout", "1"], ["1"]),
    (["--image-size", "0"], ["--image-size 0"]), (["--workers", "0"], ["--workers 0"]),
    (["--label-smoothing", "1.5"], ["--label-smoothing 1.5"]), (["--epo", "1"], ["--epo"]),
])
def test_bad_flags_are_one_line_and_status_2(capsys, monkeypatch, tmp_path, flags, words):
    status, _, error = run(capsys, monkeypatch, *flags, "--out", tmp_path / "run")
    expect_one_line(status, error, *words)
    assert not (tmp_path / "run").exists()


def spoil_with(content):
    """A function that overwrites one training picture with `content`."""
    def spoil(folder):
        (folder / "train" / "dog" / "2.png").write_bytes(content)
        return "2.png"
    return spoil


def remove_a_class(folder):
    """Leave one class without pictures."""
    for picture in (folder / "train" / "dog").iterdir():
        picture.unlink()
    return "dog"


@pytest.mark.parametrize("spoil", [spoil_with(b""), spoil_with(b"GIF89a nothing"), spoil_with(b"\x89PNG\r\n\x1a\n" * 9),
                                   remove_a_class])
def test_a_spoiled_image_folder_is_one_line_that_names_the_place(capsys, monkeypatch, tmp_path, spoil):
    folder = make_folder(tmp_path / "pictures")
    place = spoil(folder)
    status, _, error = run(capsys, monkeypatch, "--data", f"folder:{folder}", "--batch-size", 4, "--epochs", 1,
                           "--image-size", 8, "--out", tmp_path / "run")
    expect_one_line(status, error, place)


def test_a_run_is_never_overwritten_by_a_new_one(capsys, monkeypatch, tmp_path):
    run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    status, _, error = run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    expect_one_line(status, error, "--resume")
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}


def test_without_out_runs_are_numbered_and_resume_takes_the_last(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run(capsys, monkeypatch, *QUICK)[0] == 0
    assert sorted(os.listdir("runs")) == ["digits", "digits-2"]
    status, printed, _ = run(capsys, monkeypatch, "--resume")
    assert status == 0 and "digits-2" in printed and sorted(os.listdir("runs")) == ["digits", "digits-2"]


def test_resuming_with_other_options_is_refused_by_name(capsys, monkeypatch, tmp_path):
    run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    status, _, error = run(capsys, monkeypatch, "--resume", "--lr", "0.1", "--out", tmp_path / "run")
    expect_one_line(status, error, "--lr 0.1", "0.2")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 200, b"\x80\x04cos\nsystem\n.",
                                     (2**40).to_bytes(8, "little") + b"{}"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_corrupt_checkpoint_is_one_line_and_stays_as_it_was(capsys, monkeypatch, tmp_path, content, resume):
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.parent.mkdir()
    path.write_bytes(content)
    status, _, error = run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run", *["--resume"] * resume)
    expect_one_line(status, error, str(path) if resume else "--resume")
    assert path.read_bytes() == content


def test_a_foreign_safetensors_file_is_not_taken_for_a_checkpoint(capsys, monkeypatch, tmp_path):
    (tmp_path / "run").mkdir()
    weights.save(tmp_path / "run" / "checkpoint.safetensors", {"layer.weight": np.zeros(3)})
    status, _, error = run(capsys, monkeypatch, "--resume", "--out", tmp_path / "run")
    expect_one_line(status, error, "not an nfnumpy checkpoint")


def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_the_last_good_checkpoint(
        capsys, monkeypatch, tmp_path):
    flags = ["--epochs", 4, "--batch-size", 512, "--warmup-epochs", 2, "--lr", "1e36", "--agc", "off"]
    status, _, error = run(capsys, monkeypatch, *flags, "--checkpoint-every", 1, "--out", tmp_path / "run")
    expect_one_line(status, error, "at step", "checkpoint is kept")
    groups, _ = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert all(np.isfinite(array).all() for array in groups["model"].values())


def test_a_disk_that_is_full_while_saving_leaves_the_old_checkpoint_and_no_debris(tmp_path):
    """A limit on the size of files stands in for the disk: the kernel then fails the same write, at the same place."""
    run_folder = tmp_path / "run"
    command = [sys.executable, "-m", "nfnumpy.train", "--batch-size", "512", "--epochs", "3", "--out", run_folder]
    subprocess.run([*command, "--checkpoint-every", "2"], check=True, capture_output=True)
    path = run_folder / "checkpoint.safetensors"
    groups, facts = checkpoint.load(path)
    checkpoint.save(path, groups, {**facts, "step": 0})  # go through the training again, and fail to save it
    before = path.read_bytes()
    limit = len(before) // 2
    result = subprocess.run([*command, "--resume"], capture_output=True, text=True, preexec_fn=lambda: (
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))
    expect_one_line(result.returncode, result.stderr, "cannot write", "untouched")
    assert path.read_bytes() == before
    assert sorted(os.listdir(run_folder)) == ["checkpoint.safetensors", "curves.png", "metrics.jsonl"]


def test_no_space_left_while_writing_metrics_is_one_line(capsys, monkeypatch, tmp_path):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    status, _, error = run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    expect_one_line(status, error, "No space left on device")


def test_weights_that_diverge_in_an_epochs_last_step_do_not_replace_the_checkpoint(capsys, monkeypatch, tmp_path):
    flags = ["--epochs", 3, "--batch-size", 1400, "--warmup-epochs", 1, "--lr", "1e20", "--agc", "off", "--ema", "off"]
    status, _, error = run(capsys, monkeypatch, *flags, "--out", tmp_path / "run")
    expect_one_line(status, error, "at step", "checkpoint")
    for entry in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        assert np.isfinite(json.loads(entry)["test_loss"])
    if (tmp_path / "run" / "checkpoint.safetensors").exists():
        groups, _ = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
        assert all(np.isfinite(array).all() for array in groups["model"].values())


def test_resuming_on_other_classes_is_refused_and_a_batch_above_the_data_is_not(capsys, monkeypatch, tmp_path):
    folder, flags = make_folder(tmp_path / "pictures"), ["--epochs", 2, "--batch-size", 64, "--out", tmp_path / "run"]
    assert run(capsys, monkeypatch, "--data", f"folder:{folder}", *flags)[0] == 0
    assert run(capsys, monkeypatch, "--data", f"folder:{folder}", *flags, "--resume")[0] == 0
    for split in ("train", "test"):
        (folder / split / "cat").rename(folder / split / "zebra")
    status, _, error = run(capsys, monkeypatch, "--data", f"folder:{folder}", *flags, "--resume")
    expect_one_line(status, error, "classes", "cat", "zebra")


def test_files_are_readable_to_whom_the_umask_lets_read(capsys, monkeypatch, tmp_path):
    run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    umask = os.umask(0)
    os.umask(umask)
    for file in (tmp_path / "run").iterdir():
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask, file


def test_a_wish_for_threads_that_is_no_number_is_one_line(tmp_path):
    result = subprocess.run([sys.executable, "-m", "nfnumpy.train", "--epochs", "1", "--out", tmp_path / "run"],
                            capture_output=True, text=True, env={**os.environ, "NFNUMPY_THREADS": "many"})
    expect_one_line(result.returncode, result.stderr, "NFNUMPY_THREADS", "many")


@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.png"])
def test_files_of_another_run_or_person_are_not_overwritten(capsys, monkeypatch, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("precious")
    status, _, error = run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    expect_one_line(status, error, name)
    assert (tmp_path / "run" / name).read_text() == "precious"


def test_one_class_is_refused(capsys, monkeypatch, tmp_path):
    folder = make_folder(tmp_path / "pictures", train_classes=("cat",))
    status, _, error = run(capsys, monkeypatch, "--data", f"folder:{folder}", "--out", tmp_path / "run")
    expect_one_line(status, error, "cat", "two")


@pytest.mark.parametrize("flags", [["--out", ""], ["--model", ""], ["--warmup-epochs", "1e308", "--epochs", "0"]])
def test_empty_names_are_not_taken_for_no_names(capsys, monkeypatch, tmp_path, flags):
    monkeypatch.chdir(tmp_path)
    expect_one_line(*run(capsys, monkeypatch, *flags)[::2], "expected")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("alter", [{"lr": "abc"}, {"momentum": None}, {"seed": 1.5}, {"epochs": None}, {"model": [1]},
                                   {"backend": []}, {"lr": True}])
def test_altered_options_in_a_checkpoint_are_one_line(capsys, monkeypatch, tmp_path, alter):
    run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    groups, facts = checkpoint.load(path)
    checkpoint.save(path, groups, {**facts, "options": {**facts["options"], **alter}})
    expect_one_line(*run(capsys, monkeypatch, "--resume", "--out", tmp_path / "run")[::2], f"--{next(iter(alter))}")


@pytest.mark.parametrize("alter", [{"step": -5}, {"step": 10**30}, {"step": True}, {"ema_updates": -1},
                                   {"progress": {"loss": "abc"}}, {"progress": {"correct": [1]}}])
def test_altered_facts_in_a_checkpoint_are_one_line(capsys, monkeypatch, tmp_path, alter):
    run(capsys, monkeypatch, *QUICK, "--out", tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    groups, facts = checkpoint.load(path)
    checkpoint.save(path, groups, {**facts, **alter})
    expect_one_line(*run(capsys, monkeypatch, "--resume", "--out", tmp_path / "run")[::2], "checkpoint")


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run([sys.executable, "-m", "nfnumpy.train", *QUICK, "--out", tmp_path / "run"],
                                stdout=full, stderr=subprocess.PIPE, text=True)
    expect_one_line(result.returncode, result.stderr, "No space left")
