"""Shards are written whole or not at all, equal ones for equal images, and WebDataset reads what went in."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, strategies as st
from PIL import Image

from nfnumpy import data
from nfnumpy.datasets import ArraySplit, Dataset, open_dataset, staging
from nfnumpy.datasets.shards import ShardSize, write_dataset
from nfnumpy.datasets.shards.stored_index import index_path
from nfnumpy.datasets.shards.writer import base_key
from nfnumpy.datasets.staging import staging_folder
from nfnumpy.errors import InputError
from nfnumpy.files import try_lock
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.helpers.dataset_files import one_line, plain, saved, write_folder


def contents(folder):
    """Name -> bytes of every file in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def folder_dataset(folder, count=5):
    return open_dataset(f"folder:{write_folder(folder, count=count)}", 8)


def read_by_webdataset(*shards):
    """(key, label, PNG) of every sample, in the order of the shards."""
    return [(sample["__key__"], int(sample["cls"]), sample["png"]) for path in shards
            for sample in webdataset.WebDataset(str(path), shardshuffle=False)]


def test_webdataset_reads_the_files_as_they_are(tmp_path):
    dataset = folder_dataset(tmp_path / "pictures")
    write_dataset(dataset, tmp_path / "out", ShardSize(images=4))
    expected = [(name.removesuffix(".png"), label, dataset.train.encoded(index)[0])
                for index, (name, label, _) in enumerate(dataset.train.inventory())]
    assert read_by_webdataset(*sorted((tmp_path / "out").glob("train-*.tar"))) == expected
    assert sorted(contents(tmp_path / "out")) == [
        "classes.txt", *(f"{split}-{number:06d}.tar" for split in ("test", "train") for number in range(3))]


def test_webdataset_decodes_images_and_labels(tmp_path):
    write_dataset(open_dataset("digits"), tmp_path, ShardSize(images=1000), ["test"])
    decoded = webdataset.WebDataset(str(tmp_path / "test-000000.tar"), shardshuffle=False).decode("rgb8")
    split = open_dataset("digits").test
    for index, sample in enumerate(decoded):
        assert np.array_equal(sample["png"], split.read(index)) and sample["cls"] == split.labels[index]
    assert index == len(split) - 1


def test_arrays_become_png_files_with_the_same_pixels_and_mode(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 9, 9), dtype=np.uint8)
    colour = np.random.default_rng(1).integers(0, 256, (4, 9, 9, 3), dtype=np.uint8)
    arrays = Dataset("x", ("a", "b"), 9, ArraySplit(images, [0, 1] * 3), ArraySplit(colour, [1, 0] * 2))
    write_dataset(arrays, tmp_path, ShardSize(images=4))
    shards = open_dataset(f"shards:{tmp_path}")
    assert shards.classes == ("a", "b") and shards.image_size == 9
    for one, other in ((arrays.train, shards.train), (arrays.test, shards.test)):
        assert np.array_equal(one.take(range(len(one))), other.take(range(len(one))))
        assert np.array_equal(one.labels, other.labels)
    with Image.open(webdataset_file(shards.train, 0, tmp_path)) as picture:
        assert picture.mode == "L"


def webdataset_file(split, index, folder):
    path = folder / "one.png"
    path.write_bytes(split.encoded(index)[0])
    return path


@pytest.mark.parametrize("size", [ShardSize(images=3), ShardSize(bytes_=20480), ShardSize(bytes_=1)])
def test_a_shard_holds_at_most_what_was_asked_and_one_image_at_least(tmp_path, size):
    dataset = folder_dataset(tmp_path / "pictures", count=10)
    write_dataset(dataset, tmp_path / "out", size)
    shards = sorted((tmp_path / "out").glob("*.tar"))
    counts = [len(read_by_webdataset(path)) for path in shards]
    assert sum(counts) == 40 and min(counts) >= 1
    for path, count in zip(shards, counts, strict=True):
        assert count == 1 or not size.is_exceeded(count, path.stat().st_size)
    # Each shard is full: one more image would have been too much.
    assert len(counts) == {3: 14, 20480: 6, 1: 40}[size.images or size.bytes_]


def test_equal_images_give_equal_shards_whatever_their_times(tmp_path):
    dataset = folder_dataset(tmp_path / "pictures")
    write_dataset(dataset, tmp_path / "one", ShardSize(images=4))
    for path in (tmp_path / "pictures").rglob("*.png"):
        os.utime(path, (5, 5))
        path.chmod(0o600)
    write_dataset(dataset, tmp_path / "other", ShardSize(images=4))
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_shards_of_shards_are_the_same_bytes(tmp_path):
    write_dataset(folder_dataset(tmp_path / "pictures"), tmp_path / "one", ShardSize(images=3))
    again = open_dataset(f"shards:{tmp_path}/one")
    write_dataset(again, tmp_path / "other", ShardSize(images=3))
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_shards_that_are_there_are_kept_unless_they_are_to_be_replaced(tmp_path):
    few, many = folder_dataset(tmp_path / "few", 2), folder_dataset(tmp_path / "many", 9)
    out = tmp_path / "out"
    write_dataset(many, out, ShardSize(images=3))
    before = contents(out)
    with pytest.raises(InputError) as caught:
        write_dataset(few, out, ShardSize(images=3))
    one_line(caught, out / "train-000000.tar", "--overwrite")
    assert contents(out) == before
    assert len(open_dataset(f"shards:{out}").train) == 18
    write_dataset(few, out, ShardSize(images=3), ["train"], overwrite=True)
    assert len(open_dataset(f"shards:{out}").train) == 4 and len(open_dataset(f"shards:{out}").test) == 18


def test_shuffled_shards_hold_the_same_training_images_in_an_order_that_the_seed_decides(tmp_path):
    dataset = folder_dataset(tmp_path / "pictures", count=20)
    orders = {}
    for name, seed in (("plain", None), ("one", 1), ("again", 1), ("two", 2)):
        write_dataset(dataset, tmp_path / name, ShardSize(images=7), seed=seed)
        orders[name] = read_by_webdataset(*sorted((tmp_path / name).glob("train-*.tar")))
        assert read_by_webdataset(*sorted((tmp_path / name).glob("test-*.tar"))) == read_by_webdataset(
            *sorted((tmp_path / "plain").glob("test-*.tar")))
    assert orders["one"] == orders["again"] and len({tuple(order) for order in orders.values()}) == 3
    assert all(sorted(order) == orders["plain"] for order in orders.values())


def test_a_class_whose_name_looks_like_metadata_is_kept(tmp_path):
    """WebDataset leaves out members whose names begin and end a folder with two underscores."""
    for part in ("train", "test"):
        for name in ("__cat__", "dog"):
            saved(tmp_path / "pictures" / part / name, plain((1, 2, 3)), "0.png")
    write_dataset(open_dataset(f"folder:{tmp_path}/pictures", 8), tmp_path / "out", ShardSize(images=3))
    assert len(read_by_webdataset(tmp_path / "out" / "train-000000.tar")) == 2
    assert open_dataset(f"shards:{tmp_path}/out", 8).train.labels.tolist() == [0, 1]


@given(st.lists(st.sampled_from(["", ".", "..", "a", "__b__", "c.d"])), st.text("x._", min_size=1))
def test_no_key_leads_out_of_the_folder_that_a_shard_is_unpacked_to(parts, last):
    name = "/".join([*parts, last + ".jpg"])
    key = base_key(name, ".jpg", 7)
    assert not os.path.isabs(key) and ".." not in key.split("/")
    assert base_key(key + ".jpg", ".jpg", 7) == key


def test_one_split_can_be_added_but_not_with_other_classes(tmp_path):
    write_dataset(folder_dataset(tmp_path / "pictures"), tmp_path / "out", ShardSize(images=3), ["train"])
    write_dataset(folder_dataset(tmp_path / "pictures"), tmp_path / "out", ShardSize(images=3), ["test"])
    assert len(open_dataset(f"shards:{tmp_path}/out").test) == 10
    with pytest.raises(InputError) as caught:
        write_dataset(open_dataset("digits"), tmp_path / "out2", ShardSize(images=3000), ["train"])
        write_dataset(folder_dataset(tmp_path / "pictures"), tmp_path / "out2", ShardSize(images=3), ["test"])
    one_line(caught, "classes.txt", "other classes")


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_nothing(tmp_path, error, monkeypatch):
    dataset = folder_dataset(tmp_path / "pictures")
    calls = iter(range(100))

    def fail_at_the_seventh():
        if next(calls) == 7:
            raise error("enough")

    with pytest.raises(error):
        write_dataset(dataset, tmp_path / "out", ShardSize(images=2), progress=fail_at_the_seventh)
    assert contents(tmp_path / "out") == {}


KILLED = """
import os, signal, sys
from nfnumpy.datasets import open_dataset
from nfnumpy.datasets.shards import ShardSize, write_dataset
calls = iter(range(100))
write_dataset(open_dataset("folder:" + sys.argv[1], 8), sys.argv[2], ShardSize(images=2),
              progress=lambda: next(calls) == 7 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_writer_that_is_killed_leaves_no_shard_and_the_next_one_cleans_up(tmp_path):
    dataset = folder_dataset(tmp_path / "pictures")
    out = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "pictures", out])
    assert ended.returncode == -signal.SIGKILL
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == []
    assert len(list(out.iterdir())) == 1
    write_dataset(dataset, out, ShardSize(images=100))
    assert sorted(contents(out)) == ["classes.txt", "test-000000.tar", "train-000000.tar"]


@pytest.mark.parametrize("moves", [0, 1, 3])
def test_a_writer_that_ends_while_it_renames_has_lost_no_name(tmp_path, moves, monkeypatch):
    """Every shard of before is there, the old one or the new one; the next writer makes the folder whole."""
    many, few = folder_dataset(tmp_path / "many", 9), folder_dataset(tmp_path / "few", 4)
    out = tmp_path / "out"
    write_dataset(many, out, ShardSize(images=3))
    before = contents(out)
    replace, calls = os.replace, itertools.count()

    def fail_after_some_moves(source, target):
        if os.path.dirname(target) == str(out) and next(calls) == moves:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", fail_after_some_moves)
        write_dataset(few, out, ShardSize(images=3), overwrite=True)
    after = contents(out)
    assert after.keys() == before.keys()
    assert sum(after[name] != content for name, content in before.items()) <= moves
    write_dataset(few, out, ShardSize(images=3), overwrite=True)
    assert len(open_dataset(f"shards:{out}").train) == len(open_dataset(f"shards:{out}").test) == 8


def test_a_shard_that_is_removed_takes_its_stored_index_along(tmp_path, monkeypatch):
    monkeypatch.setenv("NFNUMPY_CACHE", str(tmp_path))
    dataset = folder_dataset(tmp_path / "pictures")
    write_dataset(dataset, tmp_path / "out", ShardSize(images=4), ["train"])
    stored = [Path(index_path(tmp_path / "out" / f"train-{number:06d}.tar")) for number in range(3)]
    for path in stored:
        path.write_bytes(b"")
    write_dataset(dataset, tmp_path / "out", ShardSize(images=5), ["train"], overwrite=True)
    assert [path.exists() for path in stored] == [True, True, False]


def test_the_folder_of_another_writer_at_work_is_left_alone(tmp_path):
    with staging_folder(tmp_path) as one:
        with staging_folder(tmp_path) as other:
            assert one.is_dir() and other.is_dir()
        assert one.is_dir() and not other.exists()


@pytest.mark.parametrize("is_at_work", [True, False])
def test_a_folder_that_another_writer_takes_before_it_is_locked_is_made_anew(tmp_path, monkeypatch, is_at_work):
    """The other one removes it before this one locks it, or holds the lock meanwhile."""
    calls = itertools.count()

    def after_the_other(file):
        if next(calls) > 0:
            return try_lock(file)
        if is_at_work:
            return False
        with monkeypatch.context() as patch:
            patch.setattr(staging, "try_lock", try_lock)
            staging.remove_abandoned(tmp_path)
        return try_lock(file)

    monkeypatch.setattr(staging, "try_lock", after_the_other)
    with staging_folder(tmp_path) as folder:
        assert folder.is_dir() and next(calls) == 2
        staging.remove_abandoned(tmp_path)
        assert folder.is_dir()


def test_the_command_writes_both_splits_and_says_where(tmp_path, capsys, monkeypatch):
    folder = write_folder(tmp_path / "pictures", count=4)
    status, printed, _ = run_command(data.main, capsys, monkeypatch, "shards", folder, tmp_path / "out", "--count", 3)
    assert status == 0
    assert printed.splitlines() == [f"{tmp_path}/out/train-*.tar: 8 images in 3 shards",
                                    f"{tmp_path}/out/test-*.tar: 8 images in 3 shards"]


def test_the_command_means_the_embedded_digits_even_where_a_folder_has_their_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    status, printed, _ = run_command(data.main, capsys, monkeypatch, "shards", "digits", "out", "--split", "test")
    assert status == 0 and printed == "out/test-*.tar: 359 images in 1 shard\n"


@pytest.mark.parametrize(("arguments", "words"), [
    (["digits", "OUT", "--count", "0"], ["--count 0", "from 1 up"]),
    (["digits", "OUT", "--size-mb", "-3"], ["--size-mb -3", "from 1 up"]),
    (["digits", "OUT", "--shuffle", "x"], ["--shuffle", "x"]),
    (["digits", "OUT", "--size-mb", "3", "--count", "2"], ["not allowed with"]),
    (["digits", "FILE"], ["FILE", "cannot be written"]),
    (["digits", "FILE/x"], ["FILE", "cannot be written"]),
    (["nothing", "OUT"], ["nothing", "shards:DIR-OR-PATTERN"]),
    (["digits"], ["OUT"]),
    ([], ["DATA"]),
])
def test_a_command_that_cannot_be_run_is_one_line(tmp_path, capsys, monkeypatch, arguments, words):
    (tmp_path / "FILE").write_text("x")
    monkeypatch.chdir(tmp_path)
    status, _, error = run_command(data.main, capsys, monkeypatch, "shards", *arguments)
    expect_one_line(status, error, *words)
    assert not (tmp_path / "OUT").exists()
