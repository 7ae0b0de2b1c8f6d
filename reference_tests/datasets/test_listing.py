"""Listing a folder: in order, again only where it changed, and an index file that nothing in it can turn against us."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st

from nfnumpy.datasets import index_file, listing, open_dataset
from nfnumpy.datasets.file_tree import FileList
from nfnumpy.datasets.index_file import index_path, indexed_images, read_index, write_index
from nfnumpy.datasets.listing import list_images
from reference_tests.helpers.dataset_files import write_folder

NAMES = st.sampled_from(["a.png", "b.JPG", "ä.gif", "z.webp", "notes.txt", "README", ".hidden.png", "B.png"])
FOLDERS = st.sampled_from(["", "cat", "dog", "cat/young", "cat/old", "dog/ä", "elk/.hidden"])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """An empty cache folder, and an index however few files there are; folders are settled as soon as listed."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NFNUMPY_CACHE", str(folder))
    monkeypatch.setattr(index_file, "LEAST_FILES", 1)
    monkeypatch.setattr(listing, "COARSEST_TIME", -10**18)
    return folder


def content(tree):
    """(name, size, time) of every file, and the files that are no images."""
    assert list(map(os.fsencode, map(tree.name, range(len(tree))))) == list(tree.encoded_names())
    return ([(tree.name(index), int(tree.sizes[index]), int(tree.times[index])) for index in range(len(tree))],
            {folder.path: folder.others for folder in tree.folders})


def walked(root):
    """What `content` must be, found by os.walk."""
    files, others = [], {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        path = os.path.relpath(folder, root).removeprefix(".")
        others[path] = {}
        for name in sorted(names):
            if name.lower().endswith((".png", ".jpg", ".gif", ".webp")) and not name.startswith("."):
                status = os.stat(os.path.join(folder, name))
                files.append((f"{path}/{name}" if path else name, status.st_size, status.st_mtime_ns))
            elif not name.startswith("."):
                ending = os.path.splitext(name)[1]
                others[path][ending] = others[path].get(ending, 0) + 1
    return files, others


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.lists(st.tuples(FOLDERS, NAMES, st.integers(0, 9)), min_size=1, max_size=12), min_size=1,
                      max_size=4), removed=st.lists(FOLDERS, max_size=2))
def test_an_indexed_folder_lists_like_a_fresh_one_after_every_change(tmp_path_factory, steps, removed):
    root = tmp_path_factory.mktemp("pictures")
    for number, step in enumerate(steps):
        for folder, name, size in step:
            (root / folder).mkdir(parents=True, exist_ok=True)
            path = root / folder / name
            path.unlink(missing_ok=True)  # overwriting in place is not noticed
            path.write_bytes(bytes(size))
        for folder in removed if number else []:
            if folder:
                shutil.rmtree(root / folder, ignore_errors=True)
        assert content(indexed_images(root)) == walked(root)


def test_unchanged_folders_are_not_read_again(tmp_path, monkeypatch):
    write_folder(tmp_path)
    first = indexed_images(tmp_path)
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(path) or scandir(path))
    assert content(indexed_images(tmp_path)) == content(first) and read == []
    (tmp_path / "train" / "cat" / "new.png").touch()
    assert len(indexed_images(tmp_path)) == len(first) + 1
    assert read == [str(tmp_path / "train" / "cat")]


def test_a_folder_that_changed_a_moment_before_is_read_again(tmp_path, monkeypatch):
    """Where times are coarse, a file may be added without changing them."""
    monkeypatch.setattr(listing, "COARSEST_TIME", 10**18)
    write_folder(tmp_path)
    indexed_images(tmp_path)
    cats = tmp_path / "train" / "cat"
    status = os.stat(cats)
    (cats / "new.png").touch()
    os.utime(cats, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "train/cat/new.png" in map(indexed_images(tmp_path).name, range(13))


def test_few_files_have_no_index(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(index_file, "LEAST_FILES", 13)
    indexed_images(write_folder(tmp_path))
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NFNUMPY_CACHE", str(tmp_path / "file" / "inside"))
    assert len(indexed_images(write_folder(tmp_path / "pictures"))) == 12


def test_file_names_need_not_be_text(tmp_path):
    """On Linux a name is any bytes; such a file is read under the name that Python gives it."""
    write_folder(tmp_path)
    os.rename(tmp_path / "train" / "cat" / "0000.png", os.fsencode(tmp_path / "train" / "cat") + b"/\xff\xfe.png")
    for _ in range(2):
        split = open_dataset(f"folder:{tmp_path}").train
        assert split.take(range(6)).shape == (6, 8, 8, 3)
        assert os.fsencode(split.name(2)).endswith(b"\xff\xfe.png")


def index_of(tmp_path):
    """(path of an index file, its arrays, its facts)."""
    root = write_folder(tmp_path / "pictures")
    indexed_images(root)
    path = index_path(root)
    with safetensors.safe_open(path, "numpy") as file:
        facts = json.loads(file.metadata()["index"])
    return path, safetensors.numpy.load_file(path), facts


def replaced(facts, number, place, value):
    """The facts with one entry of one folder changed."""
    folders = [list(folder) for folder in facts["folders"]]
    folders[number][place] = value
    return {**facts, "folders": folders}


@pytest.mark.parametrize("change", [
    lambda arrays, facts: (arrays, {**facts, "format": 99}), lambda arrays, facts: (arrays, {**facts, "root": "/"}),
    lambda arrays, facts: (arrays, []), lambda arrays, facts: (arrays, {**facts, "folders": 7}),
    lambda arrays, facts: (arrays, {**facts, "folders": facts["folders"][:-1]}),
    lambda arrays, facts: (arrays, replaced(facts, 2, 0, "../../etc")),
    lambda arrays, facts: (arrays, replaced(facts, 2, 0, "/etc")),
    lambda arrays, facts: (arrays, replaced(facts, 1, 3, ["..", "dog"])),
    lambda arrays, facts: (arrays, replaced(facts, 1, 3, ["a/b", "dog"])),
    lambda arrays, facts: (arrays, replaced(facts, 2, 2, -3)),
    lambda arrays, facts: (arrays, replaced(facts, 2, 2, 2**70)),
    lambda arrays, facts: (arrays, replaced(facts, 2, 1, [1, 2])),
    lambda arrays, facts: (arrays, replaced(facts, 2, 4, {".txt": "x"})),
    *(lambda arrays, facts, place=place, value=value: (arrays, replaced(facts, 2, place, value))
      for place, value in ((0, 5), (0, None), (1, 7), (1, {}), (2, "3"), (3, "dog"), (3, {}), (4, []), (4, "x"))),
    lambda arrays, facts: ({**arrays, "names": np.frombuffer(b"/", np.uint8).repeat(len(arrays["names"]))}, facts),
    lambda arrays, facts: ({**arrays, "names": arrays["names"][1:]}, facts),
    lambda arrays, facts: ({**arrays, "lengths": arrays["lengths"][1:]}, facts),
    lambda arrays, facts: ({**arrays, "lengths": arrays["lengths"].astype(np.int64)}, facts),
    lambda arrays, facts: ({**arrays, "sizes": -1 - arrays["sizes"]}, facts),
    lambda arrays, facts: ({**arrays, "times": arrays["times"][:, None]}, facts),
    lambda arrays, facts: ({"names": arrays["names"]}, facts)])
def test_an_index_file_that_cannot_be_is_not_used(tmp_path, change):
    path, arrays, facts = index_of(tmp_path)
    root = str(tmp_path / "pictures")
    assert read_index(path, root) is not None
    arrays, facts = change(arrays, facts)
    checksum = index_file._checksum(json.dumps(facts), arrays) if set(arrays) == set(index_file.ARRAYS) else "0"
    safetensors.numpy.save_file(arrays, path, {"index": json.dumps(facts), "checksum": checksum})
    assert read_index(path, root) is None
    assert content(indexed_images(root)) == walked(root)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(path of an index file, its folder, its bytes, what it says)."""
    folder = tmp_path_factory.mktemp("folder")
    tree = list_images(write_folder(folder / "pictures"))
    write_index(str(folder / "index"), tree)
    return str(folder / "index"), tree.root, (folder / "index").read_bytes(), content(tree)


@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), kept=st.floats(0, 1))
def test_a_damaged_index_file_is_used_whole_or_not_at_all(stored, position, byte, kept):
    path, root, whole, expected = stored
    damaged = bytearray(whole)
    damaged[int(position * len(damaged))] = byte
    Path(path).write_bytes(damaged[:max(1, round(kept * len(damaged)))])
    tree = read_index(path, root)
    assert tree is None or content(tree) == expected


def test_an_index_lists_a_million_files_compactly(tmp_path):
    """Thirty-five bytes a file beside the names, whatever the file system says."""
    tree = list_images(write_folder(tmp_path))
    arrays = (tree.lengths, tree.sizes, tree.times, tree.ends, FileList(tree, tree.sizes >= 0).numbers)
    assert sum(array.itemsize for array in arrays) <= 35
