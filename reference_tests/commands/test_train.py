"""`python -m nfnumpy.train`: what it writes, what it refuses, and that nothing on disk is lost."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from nfnumpy import datasets, train, weights
from nfnumpy.training import checkpoint, load_classifier
from reference_tests.helpers.command_line import expect_one_line, run_command

WRITTEN = ["checkpoint.safetensors", "config.toml", "curves.png", "inventory.tsv.gz", "metrics.jsonl"]


@pytest.fixture
def command(capsys, monkeypatch):
    """The training command: arguments -> (status, standard output, error stream)."""
    return lambda *arguments: run_command(train.main, capsys, monkeypatch, *arguments)


@pytest.fixture
def quick(few_digits):
    """Arguments of a run of two epochs of two steps."""
    return ["--data", f"idx:{few_digits}", "--epochs", "2", "--batch-size", "12"]


@pytest.fixture
def finished(finished_run, tmp_path):
    """The folder of a finished run of the arguments `quick`, this test's own."""
    return shutil.copytree(finished_run, tmp_path / "run")


def refuses(finished_command, *words):
    """The outcome of the command is status 2 and one line with these words."""
    status, _, error = finished_command
    expect_one_line(status, error, *words)


def change_checkpoint(folder, **changes):
    """Write other facts to the checkpoint in `folder`."""
    groups, facts = checkpoint.load(folder / "checkpoint.safetensors")
    checkpoint.save(folder / "checkpoint.safetensors", groups, {**facts, **changes})


def contents(folder):
    """Name -> bytes of the files in `folder`."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
def test_metrics_are_those_of_the_checkpoint_and_the_loss_falls(command, few_digits, tmp_path, flags):
    """Four epochs over 24 images; test accuracies are recomputed from the checkpoint."""
    folder = tmp_path / "run"
    status, printed, _ = command("--data", f"idx:{few_digits}", "--epochs", 4, "--batch-size", 12, "--out", folder,
                                 *flags)
    assert status == 0
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3, 4]
    last = entries[-1]
    assert last["train_loss"] < entries[0]["train_loss"]
    for key in ("step", "train_loss", "test_loss", "images_per_second", "clipped_fraction", "learning_rate",
                "train_accuracy", "waited_seconds"):
        assert isinstance(last[key], (int, float)), key
    assert (last["clipped_fraction"] == 0.0) == ("--agc" in flags) and last["clipped_fraction"] <= 1.0
    assert last["test_accuracy"] == accuracy(folder, few_digits, averaged=False)
    assert ("ema_test_accuracy" in last) == ("--ema" not in flags)
    assert last.get("ema_test_accuracy", last["test_accuracy"]) == accuracy(folder, few_digits, averaged=True)
    with Image.open(folder / "curves.png") as picture:
        assert picture.size[0] > 500
    groups, facts = checkpoint.load(folder / "checkpoint.safetensors")
    assert facts["step"] == 4 * 2 and set(groups) >= {"model", "velocity"}
    assert f"{100 * last['test_accuracy']:.2f} %" in printed


def accuracy(folder, data, averaged):
    """The share of test images that the checkpoint in `folder` classifies correctly."""
    test = datasets.open_dataset(f"idx:{data}").test
    classifier = load_classifier(folder / "checkpoint.safetensors", averaged=averaged)
    predicted = classifier.probabilities(test.take(np.arange(len(test)))).argmax(axis=1)
    return np.mean(predicted == test.labels)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(command, quick, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        command(*quick, "--seed", seed, "--out", tmp_path / name)
    a, b, c = (weights.load(tmp_path / name / "checkpoint.safetensors") for name in "abc")
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert not np.array_equal(a["model.linear.weight"], c["model.linear.weight"])


@pytest.mark.parametrize("split", ["test", "val"])
def test_an_image_folder_trains_with_either_name_of_its_test(command, tmp_path, split):
    folder = make_folder(tmp_path / "pictures", test_split=split)
    status, printed, _ = command("--data", f"folder:{folder}", "--epochs", 2, "--batch-size", 4,
                                 "--out", tmp_path / "run")
    assert status == 0 and "2 classes" in printed and "8 training and 8 test images of 8 px" in printed


@pytest.mark.parametrize("flags, words", [
    (["--model", "nfnet_f9"], ["nfnet_f9", "did you mean"]), (["--backend", "tpu"], ["tpu", "numpy"]),
    (["--epochs", "0"], ["--epochs 0"]), (["--epochs", "many"], ["--epochs", "many"]),
    (["--batch-size", "-3"], ["--batch-size -3"]), (["--lr", "nan"], ["--lr nan"]), (["--lr", "-1"], ["--lr -1"]),
    (["--agc", "0"], ["--agc 0", "off"]), (["--agc", "yes"], ["--agc", "yes"]), (["--sam", "-0.1"], ["--sam -0.1"]),
    (["--eval-margin", "7"], ["--eval-margin 7", "--eval-resize"]),
    (["--eval-resize", "squash", "--eval-margin", "-1"], ["--eval-margin -1", "0 to 1024"]),
    (["--sam-fraction", "0.2"], ["--sam-fraction", "--sam"]), (["--sam", "0.1", "--sam-fraction", "2"], ["2"]),
    (["--ema", "1"], ["--ema 1"]), (["--seed", "-1"], ["seed -1"]), (["--dtype", "float16"], ["float16", "float32"]),
    (["--data", "mnist"], ["mnist", "digits", "folder:DIR"]), (["--data", "folder:/nowhere"], ["/nowhere"]),
    (["--data", "idx:/nowhere"], ["/nowhere"]), (["--unheard-of", "1"], ["--unheard-of"]), (["--dropout", "1"], ["1"]),
    (["--image-size", "0"], ["--image-size 0"]), (["--workers", "0"], ["--workers 0"]),
    (["--label-smoothing", "1.5"], ["--label-smoothing 1.5"]), (["--epo", "1"], ["--epo"]),
    (["--max-pixels", "0"], ["--max-pixels 0"]), (["--max-pixels", "999999999"], ["max_pixels", "178956970"]),
    (["--precision", "half"], ["--precision half", "bf16", "off"]), (["--tf32", "no"], ["--tf32 no", "on or off"]),
])
def test_bad_flags_are_one_line_and_status_2(command, tmp_path, flags, words):
    refuses(command(*flags, "--out", tmp_path / "run"), *words)
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
def test_a_spoiled_image_folder_is_one_line_with_the_name(command, tmp_path, spoil):
    folder = make_folder(tmp_path / "pictures")
    spoiled = spoil(folder)
    refuses(command("--data", f"folder:{folder}", "--batch-size", 4, "--epochs", 1, "--image-size", 8,
                    "--out", tmp_path / "run"), spoiled)


def test_a_run_is_never_overwritten_by_a_new_one(command, quick, finished):
    before = contents(finished)
    refuses(command(*quick, "--out", finished), "--resume")
    assert contents(finished) == before


def test_a_finished_run_without_its_checkpoint_is_kept(command, quick, finished):
    (finished / "checkpoint.safetensors").unlink()
    before = contents(finished)
    refuses(command(*quick, "--out", finished), "metrics.jsonl of another run")
    assert contents(finished) == before


def test_a_failed_run_does_not_block_the_repaired_command(command, tmp_path):
    """Its first epoch ended at a spoiled picture."""
    folder = make_folder(tmp_path / "pictures")
    spoiled = folder / "train" / "dog" / spoil_with(b"")(folder)
    arguments = ["--data", f"folder:{folder}", "--batch-size", 4, "--epochs", 1, "--image-size", 8,
                 "--out", tmp_path / "run"]
    refuses(command(*arguments), spoiled, f"to go on: --resume --out {tmp_path / 'run'}")
    spoiled.unlink()
    assert command(*arguments)[0] == 0
    assert sorted(os.listdir(tmp_path / "run")) == WRITTEN


def test_a_run_that_diverged_does_not_block_the_repaired_command(command, quick, tmp_path):
    """Its first epoch was evaluated, and no checkpoint was written because its weights were not finite."""
    arguments = [*quick, "--agc", "off", "--warmup-epochs", 0, "--out", tmp_path / "run"]
    refuses(command(*arguments, "--lr", "1e38"), "no checkpoint was written yet")
    assert command(*arguments, "--lr", "0.01")[0] == 0


def test_without_out_runs_are_numbered_and_resume_takes_the_last(command, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert command(*quick)[0] == 0
    assert sorted(os.listdir("runs")) == ["few", "few-2"]
    status, printed, _ = command(*quick[:2], "--resume")
    assert status == 0 and "few-2" in printed and sorted(os.listdir("runs")) == ["few", "few-2"]


def test_resuming_with_other_options_is_refused_by_name(command, finished):
    refuses(command("--resume", "--lr", "0.1", "--out", finished), "--lr 0.1", "0.2")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 200, b"\x80\x04cos\nsystem\n.",
                                     (2**40).to_bytes(8, "little") + b"{}"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_corrupt_checkpoint_is_one_line_and_stays_as_it_was(command, quick, tmp_path, content, resume):
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.parent.mkdir()
    path.write_bytes(content)
    flags = ["--resume"] if resume else []
    named = path if resume else "--resume"
    refuses(command(*quick, "--out", tmp_path / "run", *flags), named)
    assert path.read_bytes() == content


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_flipped_bit_in_a_checkpoint_is_noticed(command, finished, share):
    """In any group of arrays; only the checksum can detect it, because the changed bytes are a valid number."""
    path = finished / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    refuses(command("--resume", "--out", finished), path, "checksum")


def test_a_flipped_bit_in_the_options_is_noticed(command, finished):
    path = finished / "checkpoint.safetensors"
    content = path.read_bytes()
    assert content.count(b'\\"seed\\": 0') == 1
    path.write_bytes(content.replace(b'\\"seed\\": 0', b'\\"seed\\": 1'))
    refuses(command("--resume", "--out", finished), path, "checksum")


def test_a_checkpoint_without_checksum_and_newer_options_resumes(command, finished):
    """A checkpoint of a version without checksum and --max-pixels; the results are those of the uninterrupted run."""
    path = finished / "checkpoint.safetensors"
    expected = weights.load(path)
    state, metadata = weights.read(path)
    facts = json.loads(metadata["nfnumpy"])
    del facts["options"]["max_pixels"], facts["config"]["in_channels"]
    path.write_bytes(safetensors.numpy.save(state, {"nfnumpy": json.dumps(facts)}))
    assert command("--resume", "--out", finished)[0] == 0
    assert all(np.array_equal(array, expected[name]) for name, array in weights.load(path).items())


@pytest.mark.parametrize("part", ["options", "config"])
def test_an_unknown_field_in_a_checkpoint_is_refused_by_name(command, finished, part):
    _, facts = checkpoint.load(finished / "checkpoint.safetensors")
    change_checkpoint(finished, **{part: {**facts[part], "of_tomorrow": 1}})
    refuses(command("--resume", "--out", finished), "of_tomorrow")


def test_a_foreign_safetensors_file_is_no_checkpoint(command, tmp_path):
    (tmp_path / "run").mkdir()
    weights.save(tmp_path / "run" / "checkpoint.safetensors", {"layer.weight": np.zeros(3)})
    refuses(command("--resume", "--out", tmp_path / "run"), "not an nfnumpy checkpoint")


def test_resuming_where_nothing_is_says_so(command, tmp_path):
    refuses(command("--resume", "--out", tmp_path / "typo"), "typo", "no run to resume")
    assert os.listdir(tmp_path) == []


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(command, few_digits, tmp_path):
    flags = ["--data", f"idx:{few_digits}", "--epochs", 4, "--batch-size", 12, "--warmup-epochs", 2, "--lr", "1e36",
             "--agc", "off"]
    refuses(command(*flags, "--checkpoint-every", 1, "--out", tmp_path / "run"), "at step", "checkpoint is kept")
    groups, _ = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert all(np.isfinite(array).all() for array in groups["model"].values())


@pytest.fixture
def small_disk():
    """A limit on the size of files, which makes the kernel fail the same write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_full_while_saving_leaves_the_old_checkpoint(command, finished, request):
    """The run trains again from step 0 and cannot save the result."""
    change_checkpoint(finished, step=0)
    before = (finished / "checkpoint.safetensors").read_bytes()
    request.getfixturevalue("small_disk")
    refuses(command("--resume", "--out", finished), "cannot write", "untouched", "to go on: --resume")
    assert (finished / "checkpoint.safetensors").read_bytes() == before
    assert sorted(os.listdir(finished)) == WRITTEN


def test_no_space_left_while_writing_metrics_is_one_line(command, quick, tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        refuses(command(*quick, "--out", tmp_path / "run"), "No space left on device")
    assert command(*quick, "--out", tmp_path / "run")[0] == 0


def test_weights_that_diverge_in_the_last_step_are_not_saved(command, few_digits, tmp_path):
    """An epoch of one step: the loss before the step is finite, only the evaluation after it is not."""
    flags = ["--data", f"idx:{few_digits}", "--epochs", 3, "--batch-size", 20, "--warmup-epochs", 1, "--lr", "1e20",
             "--agc", "off", "--ema", "off"]
    refuses(command(*flags, "--out", tmp_path / "run"), "at step 2", "last good checkpoint is kept")
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1] and np.isfinite(entries[0]["test_loss"])
    groups, facts = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert facts["step"] == 1 and all(np.isfinite(array).all() for array in groups["model"].values())


def test_resuming_on_other_classes_is_refused(command, tmp_path):
    """Resuming on the same classes is allowed, also with a batch larger than the data."""
    folder = make_folder(tmp_path / "pictures")
    arguments = ["--data", f"folder:{folder}", "--epochs", 2, "--batch-size", 64, "--out", tmp_path / "run"]
    assert command(*arguments)[0] == 0
    assert command(*arguments, "--resume")[0] == 0
    for split in ("train", "test"):
        (folder / split / "cat").rename(folder / split / "zebra")
    refuses(command(*arguments, "--resume"), "train/cat/0.png is missing")
    refuses(command(*arguments, "--resume", "--changed-data", "accept"), "classes", "cat", "zebra")


def test_all_files_have_the_mode_of_the_umask(finished_run):
    umask = os.umask(0)
    os.umask(umask)
    for file in finished_run.iterdir():
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask, file


def test_a_number_of_threads_that_is_none_is_one_line(tmp_path):
    result = subprocess.run([sys.executable, "-m", "nfnumpy", "train", "--epochs", "1", "--out", tmp_path / "run"],
                            capture_output=True, text=True, env={**os.environ, "NFNUMPY_THREADS": "many"})
    expect_one_line(result.returncode, result.stderr, "NFNUMPY_THREADS", "many")


@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.png"])
def test_files_of_another_origin_are_not_overwritten(command, quick, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("precious")
    refuses(command(*quick, "--out", tmp_path / "run"), name)
    assert (tmp_path / "run" / name).read_text() == "precious"


def test_one_class_is_refused(command, tmp_path):
    folder = make_folder(tmp_path / "pictures", train_classes=("cat",))
    refuses(command("--data", f"folder:{folder}", "--out", tmp_path / "run"), "cat", "two")


@pytest.mark.parametrize("flags", [["--out", ""], ["--model", ""], ["--warmup-epochs", "1e308", "--epochs", "0"]])
def test_empty_names_are_refused(command, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    refuses(command(*flags), "expected")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("epochs, warmup, is_said", [(2, 2, True), (2, 1.5, True), (4, 2, False), (2, 0, False)])
def test_a_warmup_cut_to_half_of_the_run_is_said(command, few_digits, tmp_path, epochs, warmup, is_said):
    _, printed, _ = command("--data", f"idx:{few_digits}", "--batch-size", 24, "--epochs", epochs,
                            "--warmup-epochs", warmup, "--out", tmp_path / "run")
    assert (f"--warmup-epochs {warmup}: the warm-up takes at most half of the run" in printed) == is_said


@pytest.mark.parametrize("alter", [{"lr": "abc"}, {"momentum": None}, {"seed": 1.5}, {"epochs": None}, {"model": [1]},
                                   {"backend": []}, {"lr": True}])
def test_altered_options_in_a_checkpoint_are_one_line(command, finished, alter):
    _, facts = checkpoint.load(finished / "checkpoint.safetensors")
    change_checkpoint(finished, options={**facts["options"], **alter})
    refuses(command("--resume", "--out", finished), f"--{next(iter(alter))}")


@pytest.mark.parametrize("alter", [{"step": -5}, {"step": 10**30}, {"step": True}, {"ema_updates": -1},
                                   {"progress": {"loss": "abc"}}, {"progress": {"correct": [1]}}])
def test_altered_facts_in_a_checkpoint_are_one_line(command, finished, alter):
    change_checkpoint(finished, **alter)
    refuses(command("--resume", "--out", finished), "checkpoint")


def test_output_that_cannot_be_written_is_one_line(finished):
    with open("/dev/full", "w") as full:
        result = subprocess.run([sys.executable, "-m", "nfnumpy.train", "--resume", "--out", finished],
                                stdout=full, stderr=subprocess.PIPE, text=True)
    expect_one_line(result.returncode, result.stderr, "standard output: No space left")
