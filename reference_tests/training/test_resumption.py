"""A run may be resumed with more epochs, from another place and by a newer version, and not on other images."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from nfnumpy import InputError, datasets, models, optim, train as command, weights
from nfnumpy.training import Trainer, checkpoint, report, train
from nfnumpy.training.options import flag
from nfnumpy.training.resumption import FREE_ON_RESUME
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.helpers.dataset_files import write_few_digits


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(report, "draw_curves", lambda *arguments, **more: False)


@pytest.fixture
def finished(finished_run, tmp_path):
    """The folder of a finished run of two epochs of two steps, this test's own."""
    return shutil.copytree(finished_run, tmp_path / "run")


def entries_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_goes_on_to_more_epochs_on_the_schedule_of_the_new_number(finished, capsys):
    """The cosine of four epochs, from the step on that two epochs have ended with; the first entries stay."""
    before = entries_of(finished)
    entries = train({"out": str(finished), "epochs": 4}, resume=True)
    assert entries[:2] == before and [entry["epoch"] for entry in entries] == [1, 2, 3, 4]
    schedule = optim.warmup_cosine(0.2, 4, 8)
    assert [entry["learning_rate"] for entry in entries[2:]] == [schedule(5), schedule(7)]
    printed = capsys.readouterr().out
    assert f"--epochs 4 instead of 2: from step 4 on the learning rate is that of a run of 4 epochs, now " \
           f"{schedule(4):.3g}\n" in printed
    _, facts = checkpoint.load(finished / "checkpoint.safetensors")
    assert facts["options"]["epochs"] == 4 and "epochs = 4\n" in (finished / "config.toml").read_text()


def test_an_extended_run_is_the_same_wherever_it_is_interrupted(finished, tmp_path):
    """The number of epochs is part of the checkpoint from then on."""
    other = shutil.copytree(finished, tmp_path / "other")
    train({"out": str(finished), "epochs": 4}, resume=True)
    train({"out": str(other), "epochs": 4, "time_limit": 0.5}, resume=True)
    for _ in range(8):
        train({"out": str(other)}, resume=True)
    one, two = (weights.load(folder / "checkpoint.safetensors") for folder in (finished, other))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_fewer_epochs_than_are_trained_are_refused(finished):
    before = (finished / "checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"--epochs 1: the run has trained 2 epochs already"):
        train({"out": str(finished), "epochs": 1}, resume=True)
    assert (finished / "checkpoint.safetensors").read_bytes() == before


DECIDED = {"model": "nfnet_8px", "image_size": 8, "dropout": 0.1, "stochdepth_rate": 0.0, "lr": 0.2, "agc": 0.01,
           "sam": None, "augment": "none"}


@pytest.mark.parametrize("is_old", [False, True], ids=["now", "of a version that stored what was given"])
@pytest.mark.parametrize("name", DECIDED)
def test_a_flag_that_says_what_was_the_default_is_accepted(finished, name, is_old):
    if is_old:
        make_old(finished)
    assert len(train({"out": str(finished), name: DECIDED[name]}, resume=True)) == 2


@pytest.mark.parametrize("is_old", [False, True], ids=["now", "of a version that stored what was given"])
@pytest.mark.parametrize("name, value", [("model", "nfnet_16px"), ("image_size", 16), ("dropout", 0.2), ("lr", 0.1)])
def test_a_flag_that_says_something_else_is_refused(finished, name, value, is_old):
    if is_old:
        make_old(finished)
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {value}: the run to resume was started with"):
        train({"out": str(finished), name: value}, resume=True)


def make_old(folder):
    """Make the checkpoint in `folder` one of the first version, which had fewer options and no inventory."""
    groups, facts = checkpoint.load(folder / "checkpoint.safetensors")
    first_options = ("backend", "data", "epochs", "batch_size", "lr", "warmup_epochs", "momentum", "weight_decay",
                     "label_smoothing", "agc", "sam", "sam_fraction", "ema", "seed", "dtype", "workers", "out")
    options = {name: facts["options"][name] for name in first_options}
    decided = {"model": None, "image_size": None, "dropout": None, "stochdepth_rate": None, "checkpoint_every": None}
    progress = {"loss": 0.0, "correct": 0, "clipped": 0.0, "threads": facts["progress"]["threads"]}
    checkpoint.save(folder / "checkpoint.safetensors", groups,
                    {**facts, "options": {**options, **decided}, "progress": progress})
    for name in ("config.toml", "inventory.tsv.gz"):
        (folder / name).unlink()


def test_a_checkpoint_of_the_first_version_goes_on_and_has_an_inventory_from_then_on(finished):
    make_old(finished)
    assert [entry["epoch"] for entry in train({"out": str(finished), "epochs": 3}, resume=True)] == [1, 2, 3]
    assert {"config.toml", "inventory.tsv.gz"} <= {path.name for path in finished.iterdir()}
    assert "inventory" in checkpoint.load(finished / "checkpoint.safetensors")[1]["progress"]


def test_the_place_of_data_that_cannot_be_compared_may_not_change(finished, tmp_path):
    make_old(finished)
    other = write_few_digits(tmp_path / "other")
    with pytest.raises(InputError, match="the run to resume was started with"):
        train({"out": str(finished), "data": f"idx:{other}"}, resume=True)


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """(a folder of pictures, the folder of a run of an epoch on it)."""
    root = tmp_path_factory.mktemp("folder")
    random = np.random.default_rng(1)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (root / "pictures" / split / label).mkdir(parents=True)
            for k in range(4):
                pixels = random.integers(0, 256, (8, 8 + k, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "pictures" / split / label / f"{k}.png")
    train({"data": f"folder:{root / 'pictures'}", "epochs": 1, "batch_size": 4, "image_size": 8,
           "out": str(root / "run")})
    return root / "pictures", root / "run"


@pytest.fixture
def copied(folder_run, tmp_path):
    """Copies of the two folders, this test's own."""
    return tuple(shutil.copytree(folder, tmp_path / folder.name) for folder in folder_run)


def resumed_on(pictures, run, **options):
    return train({"out": str(run), "data": f"folder:{pictures}", "epochs": 2, **options}, resume=True)


def test_a_run_goes_on_from_a_moved_and_renamed_data_folder(copied, tmp_path):
    """Also where the test split is called val/ now."""
    pictures, run = copied
    (pictures / "test").rename(pictures / "val")
    moved = pictures.rename(tmp_path / "elsewhere")
    assert [entry["epoch"] for entry in resumed_on(moved, run)] == [1, 2]


def change(pictures):
    pixels = np.zeros((8, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(pictures / "train" / "cat" / "1.png")
    return "train/cat/1.png has another content"


def swap(pictures):
    one, two = pictures / "train" / "cat" / "2.png", pictures / "train" / "dog" / "0.png"
    one.rename(pictures / "kept")
    two.rename(one)
    (pictures / "kept").rename(two)
    return "train/cat/2.png has another content"


def add(pictures):
    shutil.copy(pictures / "train" / "dog" / "0.png", pictures / "train" / "dog" / "00.png")
    return "train/dog/00.png was added"


def remove(pictures):
    (pictures / "train" / "dog" / "3.png").unlink()
    return "train/dog/3.png is missing"


def relabel(pictures):
    (pictures / "train" / "dog" / "1.png").rename(pictures / "train" / "cat" / "9.png")
    return "train/cat/9.png was added"


def overwrite(pictures):
    """Without a change of the folder's times, after it has been listed."""
    datasets.open_dataset(f"folder:{pictures}", 8)
    path = pictures / "train" / "dog" / "2.png"
    path.write_bytes(path.read_bytes() + b"more")
    return "train/dog/2.png has another content"


def change_a_test_picture(pictures):
    shutil.copy(pictures / "test" / "cat" / "3.png", pictures / "test" / "cat" / "0.png")
    return "test/cat/0.png has another content"


CHANGES = [change, overwrite, swap, add, remove, relabel, change_a_test_picture]


@pytest.mark.parametrize("alter", CHANGES, ids=[alter.__name__ for alter in CHANGES])
def test_other_images_are_refused_by_the_name_of_the_first_difference(copied, tmp_path, alter, capsys, monkeypatch):
    monkeypatch.setattr("nfnumpy.datasets.listing.COARSEST_TIME", 0)  # as if the folder were old and large
    monkeypatch.setattr("nfnumpy.datasets.index_file.LEAST_FILES", 1)
    monkeypatch.setenv("NFNUMPY_CACHE", str(tmp_path / "cache"))
    pictures, run = copied
    difference = alter(pictures)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    status, _, error = run_command(command.main, capsys, monkeypatch, "--resume", "--out", run, "--data",
                                   f"folder:{pictures}")
    expect_one_line(status, error, difference, "--changed-data accept")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_changed_images_may_be_accepted_once(copied, capsys):
    """A picture that could not be read has been replaced, for example; the next change is refused again."""
    pictures, run = copied
    difference = change(pictures)
    assert len(resumed_on(pictures, run, changed_data="accept")) == 2
    assert difference in capsys.readouterr().out
    assert len(resumed_on(pictures, run)) == 2
    difference = change_a_test_picture(pictures)
    with pytest.raises(InputError, match=difference):
        resumed_on(pictures, run)


def test_another_number_of_training_images_is_refused_in_any_case(copied):
    """The epochs would have other steps."""
    pictures, run = copied
    remove(pictures)
    with pytest.raises(InputError, match="another training images: 8, and now it is 7"):
        resumed_on(pictures, run, changed_data="accept")


def test_without_its_list_changed_data_is_refused_without_a_name(copied):
    pictures, run = copied
    (run / "inventory.tsv.gz").write_bytes(b"\x1f\x8b spoiled")
    assert len(resumed_on(pictures, run)) == 2
    change(pictures)
    with pytest.raises(InputError, match=r"inventory\.tsv\.gz cannot be read"):
        resumed_on(pictures, run)


def test_changed_pixels_and_labels_of_arrays_are_refused_by_name(tmp_path):
    data = write_few_digits(tmp_path / "few")
    options = {"data": f"idx:{data}", "epochs": 1, "batch_size": 12, "out": str(tmp_path / "run")}
    train(options)
    original = {path.name: path.read_bytes() for path in data.iterdir()}
    for name, offset, words in (("images", 16 + 3 * 64, "train/image 3 has another content"),
                                ("labels", 8 + 5, "train/image 5 was [0-9], and now it is [0-9]")):
        file = next(path for path in data.iterdir() if "train" in path.name and name in path.name)
        content = bytearray(original[file.name])
        content[offset] = (content[offset] + 1) % 10
        file.write_bytes(content)
        with pytest.raises(InputError, match=words):
            train({"out": options["out"]}, resume=True)
        file.write_bytes(original[file.name])
    assert len(train({"out": options["out"]}, resume=True)) == 1


def test_an_epoch_is_saved_before_its_evaluation_which_alone_is_repeated(copied, monkeypatch, tmp_path):
    """A test picture that cannot be read; the training does not depend on it."""
    pictures, _ = copied
    options = {"data": f"folder:{pictures}", "epochs": 2, "batch_size": 4, "image_size": 8, "keep": "best:1"}
    train({**options, "out": str(tmp_path / "whole")})
    spoiled = pictures / "test" / "dog" / "3.png"
    content = spoiled.read_bytes()
    spoiled.write_bytes(b"no picture".ljust(len(content)))
    out = {"out": str(tmp_path / "part")}
    with pytest.raises(InputError, match=r"3\.png") as error:
        train({**options, **out})
    assert error.value.__notes__ == [f"to go on: --resume --out {out['out']}"]
    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"3\.png"):
        patch.setattr(Trainer, "train_step", None)  # no step is taken
        train(out, resume=True)
    spoiled.write_bytes(content)
    train(out, resume=True)
    one, two = (entries_of(tmp_path / name) for name in ("whole", "part"))
    timings = ("images_per_second", "seconds", "waited_seconds")
    assert [[entry.pop(name) for name in timings] for entry in (*one, *two)] and one == two
    one, two = (weights.load(tmp_path / name / "best.safetensors") for name in ("whole", "part"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not (tmp_path / "part" / "previous.safetensors").exists()


@pytest.mark.parametrize("trained", [3, [], {"epoch": 1}, {"epoch": "one", "step": 4, "train_loss": 1.0}])
def test_an_altered_entry_of_the_epoch_to_evaluate_is_one_line(finished, trained):
    groups, facts = checkpoint.load(finished / "checkpoint.safetensors")
    progress = {**facts["progress"], "trained": trained}
    checkpoint.save(finished / "checkpoint.safetensors", groups, {**facts, "progress": progress})
    with pytest.raises(InputError, match="checkpoint: its progress"):
        train({"out": str(finished)}, resume=True)


@pytest.mark.parametrize("place, value", [("inventory", 5), ("epochs", None)])
def test_altered_facts_of_a_run_are_one_line(finished, place, value):
    groups, facts = checkpoint.load(finished / "checkpoint.safetensors")
    facts["progress" if place == "inventory" else "options"][place] = value
    checkpoint.save(finished / "checkpoint.safetensors", groups, facts)
    if place == "inventory":  # as in a checkpoint without one
        assert len(train({"out": str(finished)}, resume=True)) == 2
    else:
        with pytest.raises(InputError, match="--epochs None"):
            train({"out": str(finished)}, resume=True)


def test_the_documentation_lists_what_may_change():
    text = (pathlib.Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`--.*?) \|", text.split("## Resume")[1].split("## Ending")[0], re.MULTILINE)
    listed = re.findall(r"`(--[a-z0-9-]+)`", " ".join(rows))
    assert sorted(listed) == sorted({flag(name) for name in FREE_ON_RESUME} - {"--out"})


def test_the_defaults_of_the_tests_are_those_of_the_variant():
    config = models.config_of("nfnet_8px")
    assert (config.drop_rate, config.stochdepth_rate) == (DECIDED["dropout"], DECIDED["stochdepth_rate"])
    assert datasets.open_dataset("digits").image_size == DECIDED["image_size"]
