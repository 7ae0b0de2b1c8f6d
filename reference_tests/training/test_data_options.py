"""What the options about reading images do to a run: sizes, shares, bad pictures, loaders and orders."""

import json

import numpy as np
import pytest
from PIL import Image

from nfnumpy import InputError, datasets, weights
from nfnumpy.training import TrainingOptions, checkpoint, evaluation, examples, load_classifier, train
from nfnumpy.training.data import open_data
from reference_tests.helpers.dataset_files import one_line

COUNT = 10  # pictures of a class in each split


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noise of two mean brightnesses, 10×12 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for brightness, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for number in range(COUNT):
                noise = rng.integers(0, 128, (10, 12, 3)) + 128 * brightness
                Image.fromarray(noise.astype(np.uint8)).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture
def copied(pictures, tmp_path):
    """A copy of the pictures that a test may spoil."""
    for path in pictures.glob("*/*/*"):
        copy = tmp_path / "data" / path.relative_to(pictures)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path / "data"


def run(folder, out, **options):
    """(metrics, weights) of a run of two epochs of two steps."""
    entries = train({"data": f"folder:{folder}", "epochs": 2, "batch_size": 10, "out": str(out), **options})
    return entries, weights.load(out / "checkpoint.safetensors")


def same(left, right):
    """Whether two runs have the same weights, bit for bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_the_run_says_what_the_survey_chose(pictures, tmp_path, capsys):
    run(pictures, tmp_path / "run", epochs=1)
    assert "pictures of 12×10 pixels: training at 10 px; --image-size overrules it" in capsys.readouterr().out


def test_a_model_brings_its_size(pictures):
    options = TrainingOptions(data=f"folder:{pictures}", model="nfnet_16px")
    assert open_data(options).image_size == 16
    assert open_data(TrainingOptions(data=f"folder:{pictures}", image_size=7, model="nfnet_16px")).image_size == 7


def test_bad_pictures_are_left_out_and_listed_and_the_kind_of_loader_changes_no_bit(copied, tmp_path, capsys):
    bad = [copied / "train" / "dark" / "3.png", copied / "test" / "light" / "0.png"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"3\.png"):
        run(copied, tmp_path / "threads", image_size=8)
    given = {"image_size": 8, "on_bad_image": "skip", "augment": "flip-crop", "mixup": 0.2, "cutmix": 1.0}
    expected, expected_weights = run(copied, tmp_path / "threads", workers=4, **given)
    lines = (tmp_path / "threads" / "bad_images.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(path) for path in bad]
    assert "pictures left out, because they could not be read: 2, see" in capsys.readouterr().out
    assert round(expected[-1]["test_accuracy"] * (2 * COUNT - 1), 6).is_integer()
    found, found_weights = run(copied, tmp_path / "process", workers=1, loader="process", **given)
    assert same(expected_weights, found_weights)
    assert [entry["test_loss"] for entry in expected] == [entry["test_loss"] for entry in found]
    assert (tmp_path / "process" / "bad_images.txt").read_text().splitlines() == lines


def test_a_run_that_stopped_at_a_bad_picture_goes_on_without_it(copied, tmp_path):
    (copied / "test" / "light" / "0.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"light/0\.png"):
        run(copied, out, image_size=8, checkpoint_every=1)
    entries = train({"out": str(out), "on_bad_image": "skip"}, resume=True)
    assert len(entries) == 2


@pytest.mark.parametrize("batch_size", [2, 10])
def test_a_class_without_a_readable_picture_ends_the_run(copied, tmp_path, batch_size):
    """Also in batches that have other pictures: an epoch has all its steps and all its pictures, or none counts."""
    for path in (copied / "train" / "dark").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="train/dark/") as end:
        run(copied, tmp_path / "run", image_size=8, batch_size=batch_size, on_bad_image="skip")
    one_line(end)
    assert str(end.value).endswith("; and none of the next images of its class can be read")  # and no advice to skip
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_an_epoch_with_too_few_steps_is_not_saved(pictures, tmp_path, monkeypatch):
    numbers = examples.TrainingExamples.numbers
    monkeypatch.setattr(examples.TrainingExamples, "numbers", lambda self, *of: numbers(self, *of)[:10])
    with pytest.raises(RuntimeError, match="epoch 1 has ended at step 1, expected 2"):
        run(pictures, tmp_path / "run", image_size=8)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_the_evaluations_of_a_run_share_a_loader_that_is_closed_at_the_end(pictures, tmp_path, monkeypatch):
    """With --loader process each one would start a process."""
    made = []

    def noted(*given):
        made.append(examples.evaluation_loader(*given))
        return made[-1]

    monkeypatch.setattr(evaluation, "evaluation_loader", noted)
    entries, _ = run(pictures, tmp_path / "run", image_size=8)
    assert len(entries) == 2 and len(made) == 1
    with pytest.raises(InputError, match="closed"):
        made[0].batches(range(1))


def test_a_share_is_drawn_where_there_is_no_test(pictures, tmp_path, capsys):
    run(pictures / "train", tmp_path / "run", test_share=0.2, epochs=1)
    assert "16 training and 4 test images" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--test-share 0\.1"):
        run(pictures / "train", tmp_path / "other")


@pytest.mark.parametrize("options, transform", [
    ({}, (8, 0, True)), ({"eval_resize": "squash"}, (8, 0, False)),
    ({"eval_resize": "shorter-side", "test_size": 11}, (11, 0, True)),
    ({"eval_resize": "squash", "eval_margin": 43}, (8, 43, False))])
def test_the_checkpoint_says_how_test_pictures_were_prepared(pictures, tmp_path, options, transform):
    """So that predict and evaluate see the same pixels: the accuracy is that of the run."""
    entries, _ = run(pictures, tmp_path / "run", epochs=1, image_size=8, **options)
    classifier = load_classifier(tmp_path / "run" / "checkpoint.safetensors", averaged=False)
    assert classifier.transform == transform
    right = [classifier.classes[int(classifier.probabilities(classifier.read(path)).argmax())] == path.parent.name
             for path in sorted((pictures / "test").glob("*/*"))]
    assert entries[-1]["test_accuracy"] == np.mean(right)


def change_facts(out, **changes):
    """Write other facts to a run's checkpoint; None removes one."""
    groups, facts = checkpoint.load(out / "checkpoint.safetensors")
    facts = {name: value for name, value in {**facts, **changes}.items() if value is not None}
    checkpoint.save(out / "checkpoint.safetensors", groups, facts)


@pytest.mark.parametrize("value", [7, [8, 0], [8, 0, 1], ["8", 0, True], [8, -1, True], [8, 10**9, True],
                                   [10**9, 0, True]])
def test_a_checkpoint_that_prepares_pictures_in_no_known_way_is_refused(pictures, tmp_path, value):
    out = tmp_path / "run"
    run(pictures, out, epochs=1, image_size=8)
    change_facts(out, evaluation=value)
    with pytest.raises(InputError, match="evaluation|image_size"):
        load_classifier(out / "checkpoint.safetensors")
    change_facts(out, evaluation=None)
    assert load_classifier(out / "checkpoint.safetensors").transform == (8, 0, True)  # as of older versions


@pytest.mark.parametrize("options", [{"test_share": 0.1}, {"test_size": 9}, {"eval_resize": "squash"}])
def test_options_of_files_are_refused_for_arrays(options, tmp_path):
    name = next(iter(options)).replace("_", "-")
    with pytest.raises(InputError, match=f"--{name} .*not for digits"):
        train({"data": "digits", "out": str(tmp_path / "run"), **options})


def test_a_large_data_set_has_keyed_orders_and_every_run_keeps_its_kind(pictures, tmp_path, monkeypatch):
    """A run of an older version, whose checkpoint says nothing, goes on with the orders that it began with."""
    sorted_run = run(pictures, tmp_path / "sorted", image_size=8)
    monkeypatch.setattr(examples, "MOST_SORTED", 4)
    keyed_run = run(pictures, tmp_path / "keyed", image_size=8)
    assert not same(sorted_run[1], keyed_run[1])
    for out, expected, is_old in ((tmp_path / "a", sorted_run, True), (tmp_path / "b", keyed_run, False)):
        monkeypatch.setattr(examples, "MOST_SORTED", 2**20 if is_old else 4)
        stop_after_one_epoch(pictures, out, monkeypatch)
        if is_old:
            progress = dict(checkpoint.load(out / "checkpoint.safetensors").facts["progress"])
            del progress["keyed_order"]
            change_facts(out, progress=progress)
        monkeypatch.setattr(examples, "MOST_SORTED", 4 if is_old else 2**20)
        train({"out": str(out)}, resume=True)
        assert same(weights.load(out / "checkpoint.safetensors"), expected[1])


def stop_after_one_epoch(pictures, out, monkeypatch):
    """A run that is interrupted in its second epoch."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        numbers = examples.TrainingExamples.numbers

        def interrupting(self, epoch, done, steps):
            if epoch == 1:
                raise KeyboardInterrupt
            return numbers(self, epoch, done, steps)

        patch.setattr(examples.TrainingExamples, "numbers", interrupting)
        run(pictures, out, image_size=8)
    assert len(json.loads((out / "metrics.jsonl").read_text().splitlines()[0])) > 1


def test_an_epoch_in_a_keyed_order_has_every_picture_once():
    split = datasets.ArraySplit(np.zeros((50, 2, 2, 3), np.uint8), np.zeros(50))
    made = examples.TrainingExamples(split, 2, 5, 3, seed=1, is_keyed=True)
    for epoch in range(3):
        indices = [made.index(number) for number in made.numbers(epoch, 0, 10)]
        assert sorted(indices) == list(range(50)) != indices
