"""A data set written as a folder of pictures is the same data set, whole or not at all."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy import InputError, data
from nfnumpy.datasets import ArraySplit, Dataset, open_dataset
from nfnumpy.datasets.folder_writer import write_folder
from reference_tests.helpers.command_line import expect_one_line, run_command


def arrays(train_labels, test_labels, classes=("left", "right"), grey=False):
    shape = (5, 5) if grey else (5, 5, 3)
    splits = [ArraySplit(np.random.default_rng(len(labels)).integers(0, 256, (len(labels), *shape), dtype=np.uint8),
                         labels) for labels in (train_labels, test_labels)]
    return Dataset("noise", classes, 5, *splits)


def images_by_class(dataset):
    """(split, class) -> its images in their order, as bytes."""
    found = {}
    for split in ("train", "test"):
        images = getattr(dataset, split)
        for index, label in enumerate(images.labels):
            found.setdefault((split, dataset.classes[label]), []).append(images.read(index).tobytes())
    return found


@settings(max_examples=15)
@given(train=st.lists(st.integers(0, 1), max_size=6), test=st.lists(st.integers(0, 1), min_size=1, max_size=4),
       grey=st.booleans())
def test_a_folder_has_the_images_and_classes_that_went_in(tmp_path_factory, train, test, grey):
    folder = tmp_path_factory.mktemp("pictures")
    dataset = arrays([0, 1, *train], test, grey=grey)
    assert write_folder(dataset, folder) == {"train": len(train) + 2, "test": len(test)}
    again = open_dataset(f"folder:{folder}", 5)
    assert again.classes == dataset.classes and images_by_class(again) == images_by_class(dataset)
    assert sorted(path.name for path in folder.iterdir()) == ["test", "train"]


def test_shards_and_folders_become_folders_with_the_same_bytes(tmp_path):
    write_folder(arrays([0, 1, 0], [1, 0]), tmp_path / "a")
    write_folder(open_dataset(f"folder:{tmp_path / 'a'}", 5), tmp_path / "b")
    first, second = (sorted(path.read_bytes() for path in (tmp_path / name).rglob("*.png")) for name in "ab")
    assert first == second and len(first) == 5


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../out", "a\\b", "a\0b"])
def test_classes_that_are_no_folders_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="a name that a folder can have"):
        write_folder(arrays([0, 1], [0, 1], classes=("right", name)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path, capsys, monkeypatch):
    status, out, _ = run_command(data.main, capsys, monkeypatch, "folder", "digits", tmp_path / "out")
    assert status == 0 and "1438 images in 10 classes" in out
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    status, _, error = run_command(data.main, capsys, monkeypatch, "folder", "digits", tmp_path / "out")
    expect_one_line(status, error, "train", "is there already")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before and len(before) == 1797


def test_an_image_that_cannot_be_read_leaves_nothing(tmp_path):
    write_folder(arrays([0, 1, 0], [1, 0]), tmp_path / "a")
    dataset = open_dataset(f"folder:{tmp_path / 'a'}", 5)
    next((tmp_path / "a" / "test").rglob("*.png")).unlink()
    with pytest.raises(InputError, match=r"cannot be read"):
        write_folder(dataset, tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []
