"""Tar shards are read as WebDataset reads them, in any order and by any worker; an index that lies is not believed."""

import dataclasses
import io
import json
import multiprocessing
import os
import tarfile

import numpy as np
import pytest
import webdataset
from hypothesis import given, strategies as st

from nfnumpy.datasets import Loader, ReadingOptions, open_dataset
from nfnumpy.datasets.shards import ShardSize, write_dataset
from nfnumpy.datasets.shards.class_names import read_class_names
from nfnumpy.datasets.shards.index import build_index, from_bytes, to_bytes
from nfnumpy.datasets.shards.stored_index import FIELDS, index_path, load_indices
from nfnumpy.errors import InputError
from reference_tests.datasets.test_tar import archive
from reference_tests.helpers.dataset_files import encoded, one_line, plain, write_folder

PICTURE = encoded(plain((1, 2, 3)), "PNG")


def shard(path, files, **options):
    """A tar file of (name, content) pairs at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(files, **options))
    return path


def two_shards(folder, train, test=None):
    """A training shard with these members and a test shard."""
    shard(folder / "train-0.tar", train)
    shard(folder / "test-0.tar", test or [("a.png", PICTURE), ("a.cls", b"0")])
    return f"shards:{folder}"


def samples_of(split):
    """(name in the shard, label, bytes) of every image."""
    return [(split.name(index).partition(": ")[2], int(label), split.encoded(index)[0])
            for index, label in enumerate(split.labels)]


def refusal(spec):
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught)
    return str(caught.value)


@pytest.fixture(scope="module")
def folder_and_shards(tmp_path_factory):
    """The same images as a folder and as shards of three."""
    folder = write_folder(tmp_path_factory.mktemp("pictures"), count=9)
    for name in ("Large.PNG", "dots.in.name.png", "dots_in_name.png", "other.jpg"):
        (folder / "train" / "dog" / "more").mkdir(exist_ok=True)
        plain((9, 9, len(name)), (30, 20)).save(folder / "train" / "dog" / "more" / name)
    out = tmp_path_factory.mktemp("shards")
    write_dataset(open_dataset(f"folder:{folder}", 8), out, ShardSize(images=3))
    return open_dataset(f"folder:{folder}", 8), open_dataset(f"shards:{out}", 8)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_folder_and_its_shards_give_the_same_batches_bit_for_bit(folder_and_shards, workers):
    folder, shards = folder_and_shards
    assert shards.classes == folder.classes == ("cat", "dog") and len(shards.train.paths) == 8
    for one, other in ((folder.train, shards.train), (folder.test, shards.test)):
        order = np.random.default_rng(0).permutation(len(one))
        with Loader(one, 4, workers) as expected, Loader(other, 4, workers) as found:
            for (images, labels), (same, equal) in zip(expected.batches(order), found.batches(order), strict=True):
                assert np.array_equal(images, same) and np.array_equal(labels, equal)
        assert all(np.array_equal(one.read_whole(index), other.read_whole(index)) for index in order)
        assert all(one.encoded(index) == other.encoded(index) for index in order)


def test_shards_have_the_inventory_of_their_folder_apart_from_dots_in_a_name(folder_and_shards):
    folder, shards = folder_and_shards
    changed = {"dog/more/dots.in.name.png": "dog/more/dots_in_name.png",
               "dog/more/dots_in_name.png": "dog/more/dots_in_name_2.png"}
    expected = [(changed.get(name, name), label, mark) for name, label, mark in folder.train.inventory()]
    assert list(shards.train.inventory()) == expected
    assert list(shards.test.inventory()) == list(folder.test.inventory())


def test_a_split_reads_in_a_process_that_was_spawned(folder_and_shards):
    split = folder_and_shards[1].train
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(split.read, (17,)), split.read(17))


FIELD = st.sampled_from(["jpg", "PNG", "cls", "txt", "json", "seg.png", "JPG", "Cls", ""])
KEY = st.sampled_from(["a", "b", "d.d/a", "x/y/b", "__meta__", "__x__/a", ".hidden", "e\xe9"])
MEMBERS = st.lists(st.tuples(KEY, FIELD), max_size=10)


def members_of(pairs):
    """(name, content) of members that hold a label if their field has one, and otherwise their number."""
    contents = {"cls": b" 7\n", "json": b'{"label": 7}'}
    return [(f"{key}.{field}" if field else key, contents.get(field.lower(), str(number).encode()))
            for number, (key, field) in enumerate(pairs)]


@given(MEMBERS)
def test_samples_are_those_of_webdataset(scratch, pairs):
    """Where WebDataset gives a sample without an image or a label, or with two images, the shard is refused."""
    path = shard(scratch / "x.tar", members_of(pairs))
    try:
        found = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    except ValueError as error:
        assert "duplicate" in str(error)
        found = None
    expected, is_refused = [], found is None
    for sample in found or []:
        images = [field for field in sample if field in FIELDS]
        is_labelled = "cls" in sample or "json" in sample
        is_refused |= len(images) > 1 or (bool(images) != is_labelled and (bool(images) or "cls" in sample))
        if len(images) == 1:
            expected.append((sample["__key__"].lower(), images[0], sample[images[0]]))
    try:
        index = build_index(str(path), FIELDS)
    except InputError as error:
        assert is_refused, str(error)
        return
    assert not is_refused
    content = path.read_bytes()
    names = [index.name(position).lower() for position in range(len(index))]
    assert [(*name.rsplit(".", 1), content[offset:offset + size]) for name, offset, size in
            zip(names, index.offsets, index.sizes, strict=True)] == expected
    assert index.labels.tolist() == [7] * len(expected)


def test_shards_that_webdataset_wrote_are_read(tmp_path):
    for part, count in (("train", 7), ("val", 3)):
        pattern = str(tmp_path / f"pictures-{part}-%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
            for index in range(count):
                writer.write({"__key__": f"{index:04d}", "cls": index % 3, "jpg": np.full((6, 6, 3), index, np.uint8),
                              "json": {"about": "it"}})
    dataset = open_dataset(f"shards:{tmp_path}/pictures-train-{{000000..000002}}.tar")
    assert dataset.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0] and len(dataset.test) == 3
    assert dataset.classes == ("class 0", "class 1", "class 2") and dataset.image_size == 6
    assert abs(dataset.train.read(5).astype(int) - 5).max() <= 2  # JPEG
    assert dataset.train.ignored == {"json": 7}


@pytest.mark.parametrize(("members", "said"), [
    ([("a.png", PICTURE)], "'a' has no label, expected the class's number in .cls or .json"),
    ([("a.cls", b"1")], "'a' has a label but no image, only .cls; the members of a sample must follow each other"),
    ([("a.png", PICTURE), ("b.png", PICTURE), ("a.cls", b"1"), ("b.cls", b"1")], "'a' has no label"),
    ([("a.png", PICTURE), ("a.jpg", PICTURE), ("a.cls", b"1")], "'a' has two images, .png and .jpg"),
    ([("a.png", PICTURE), ("a.PNG", PICTURE), ("a.cls", b"1")], "'a' has the field .png twice"),
    ([("a.txt", b"x"), ("readme", b"x")], "has no labelled images, expected members like 0001.jpg and 0001.cls, found "
                                          "only (no key), txt"),
    ([], "has no labelled images"),
    *(([("a.png", PICTURE), ("a.cls", text)], f"'a.cls' holds {text[:40]!r}, expected a whole number from 0 to 999999")
      for text in (b"", b"-1", b"1.0", b"cat", b"1000000", b"9" * 5000, "²".encode(), b"1_0", b"0x1", b"+1")),
    *(([("a.png", PICTURE), ("a.json", text)], "expected an object with a whole number as \"label\" or \"cls\"")
      for text in (b"", b"{}", b'{"label": "1"}', b'{"label": true}', b"1.0", b"[" * 10**5, b"\xff", b"9" * 5000)),
    ([("a.png", PICTURE), ("a.cls", bytes(2**21))], "'a.cls' has 2097152 bytes, expected a class's number"),
])
def test_samples_that_are_no_labelled_image_are_named(tmp_path, members, said):
    assert said in refusal(two_shards(tmp_path, members))


@pytest.mark.parametrize(("text", "label"), [(b"12", 12), (b" 12\n", 12), (b"0012", 12)])
def test_labels_are_whole_numbers_in_cls_or_json(tmp_path, text, label):
    files = [("a.cls", text), ("a.png", PICTURE), ("b.png", PICTURE), ("b.json", b'{"cls": 3, "more": [1]}'),
             ("c.json", b"4"), ("c.png", PICTURE), ("d.json", b'{"label": 9}'), ("d.png", PICTURE), ("d.cls", b"5")]
    dataset = open_dataset(two_shards(tmp_path, files))
    assert dataset.train.labels.tolist() == [label, 3, 4, 5]
    assert dataset.train.ignored == {"json": 1}


@given(st.lists(st.sampled_from(["a", "a (0)", "a (1)", "a (0) (0)", "b"]), min_size=1, max_size=8))
def test_classes_have_distinct_names_and_keep_those_that_only_they_have(scratch, names):
    folder = scratch / "names"
    folder.mkdir(exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(names))
    read = read_class_names(str(folder / "x.tar"), len(names))
    assert len(set(read)) == len(names)
    assert all(new.startswith(name) and (new == name or names.count(name) > 1)
               for name, new in zip(names, read, strict=True))


def test_the_classes_are_named_by_a_list_beside_the_shards(tmp_path):
    spec = two_shards(tmp_path, [("a.png", PICTURE), ("a.cls", b"2")])
    assert open_dataset(spec).classes == ("class 0", "class 1", "class 2")
    (tmp_path / "classes.json").write_text(json.dumps(["crane", "caf\xe9", "crane"]))
    assert open_dataset(spec).classes == ("crane (0)", "caf\xe9", "crane (2)")
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\nhen\n")
    assert open_dataset(spec).classes == ("cat", "dog", "cow", "hen")
    for text, said in (("cat\n", "has 1 names, expected 3"), ("cat\n\ndog\n", "a class has no name"), ("", "0 names")):
        (tmp_path / "classes.txt").write_text(text)
        assert said in refusal(spec)
    (tmp_path / "classes.txt").unlink()
    for text, said in (("{}", "no list"), ("[1]", "no name"), ("[", "Expecting"), ("[" * 10**5, "recursion")):
        (tmp_path / "classes.json").write_text(text)
        assert said in refusal(spec)


def test_a_test_label_without_a_class_is_refused(tmp_path):
    spec = two_shards(tmp_path, [("a.png", PICTURE), ("a.cls", b"1")], [("a.png", PICTURE), ("a.cls", b"2")])
    assert "test-0.tar: a test label is 2, expected 0..1 as in training" in refusal(spec)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache folder, empty, in which the index of every shard is kept, however few images there are."""
    monkeypatch.setenv("NFNUMPY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nfnumpy.datasets.shards.stored_index.LEAST_IMAGES", 1)
    return tmp_path / "cache"


def test_an_index_is_written_once_and_again_when_its_shard_changes(tmp_path, cache):
    path = str(shard(tmp_path / "train-0.tar", [("a.png", PICTURE), ("a.cls", b"1")]))
    load_indices([path])
    first = os.stat(index_path(path))
    assert load_indices([path])[0].labels.tolist() == [1]
    assert os.stat(index_path(path)).st_mtime_ns == first.st_mtime_ns
    shard(tmp_path / "train-0.tar", [("a.png", PICTURE), ("a.cls", b"2")])
    os.utime(path, ns=(0, 5))
    assert load_indices([path])[0].labels.tolist() == [2]
    assert len(list(cache.iterdir())) == 1


def test_the_indices_of_few_images_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NFNUMPY_CACHE", str(tmp_path / "cache"))
    paths = [str(shard(tmp_path / f"{number}.tar", [("a.png", PICTURE), ("a.cls", b"1")])) for number in range(3)]
    for least, kept in ((4, 0), (3, 3)):
        monkeypatch.setattr("nfnumpy.datasets.shards.stored_index.LEAST_IMAGES", least)
        load_indices(paths)
        assert sum(os.path.exists(index_path(path)) for path in paths) == kept


def test_indices_are_kept_while_other_shards_are_still_being_read(tmp_path, cache):
    paths = [str(shard(tmp_path / "0.tar", [("a.png", PICTURE), ("a.cls", b"1")])), str(tmp_path / "missing.tar")]
    with pytest.raises(InputError, match="missing"):
        load_indices(paths)
    assert os.path.exists(index_path(paths[0]))


def test_a_shard_that_changes_while_it_is_open_is_noticed(tmp_path):
    split = open_dataset(two_shards(tmp_path, [("a.png", PICTURE), ("a.cls", b"1")])).train
    os.utime(tmp_path / "train-0.tar", ns=(0, 5))
    with pytest.raises(InputError, match=r"train-0.tar: has changed since it was opened"):
        split.read(0)
    (tmp_path / "train-0.tar").unlink()
    with pytest.raises(InputError, match=r"train-0.tar: cannot be read: No such file"):
        split.read(0)


def test_an_image_that_cannot_be_decoded_is_named_with_its_shard(tmp_path):
    split = open_dataset(two_shards(tmp_path, [("d/a.png", b"no"), ("d/a.cls", b"1")]), 8).train
    with pytest.raises(InputError, match=r"train-0.tar: d/a.png: expected a whole image"):
        split.read(0)


def lies(index):
    """Indices that do not fit the shard of `index`."""
    huge = 2**63 - 1
    for name, position, values in (("offsets", 0, (-512, 0, 100, huge, 2**40)), ("sizes", 0, (-1, 10**6, huge, 3000)),
                                   ("sizes", 1, (-1, 10**6, huge)),
                                   ("labels", 1, (-1, 10**6, huge)), ("name_ends", 0, (0, -1, huge, 100)),
                                   ("name_ends", 1, (huge, 4, 0, 100))):
        for value in values:
            array = getattr(index, name).copy()
            array[position] = value
            yield dataclasses.replace(index, **{name: array})
    yield dataclasses.replace(index, offsets=index.offsets[::-1].copy())
    yield dataclasses.replace(index, labels=index.labels[:1])
    yield dataclasses.replace(index, labels=index.labels.astype(np.uint8))
    yield dataclasses.replace(index, names=index.names[:-1])
    yield dataclasses.replace(index, names=index.labels)
    yield dataclasses.replace(index, size=index.size + 1)
    yield dataclasses.replace(index, time=index.time + 1)
    yield dataclasses.replace(index, ignored={"txt": "many"})
    yield dataclasses.replace(index, ignored=[1])
    yield dataclasses.replace(index, ignored=[["txt", 1]])
    yield dataclasses.replace(index, ignored={"txt": float("inf")})


def test_an_index_that_does_not_fit_its_shard_is_not_believed(tmp_path):
    files = [("a.png", PICTURE), ("a.cls", b"1"), ("b.png", PICTURE), ("b.cls", b"0")]
    path = shard(tmp_path / "train-0.tar", files)
    index, status = build_index(str(path), FIELDS), path.stat()
    assert from_bytes(to_bytes(index, FIELDS), status, FIELDS).labels.tolist() == [1, 0]
    assert from_bytes(to_bytes(index, FIELDS), status, ["jpg"]) is None
    for lie in lies(index):
        assert from_bytes(to_bytes(lie, FIELDS), status, FIELDS) is None, lie


@given(st.binary(max_size=200) | st.builds(lambda text: len(text).to_bytes(8, "little") + text, st.sampled_from(
    [b"{}", b'{"__metadata__":{}}', b'{"__metadata__":{"index":"1"}}', b'{"__metadata__":{"index":"{}"}}'])))
def test_a_file_that_is_no_index_is_no_index(scratch, content):
    path = shard(scratch / "train-0.tar", [("a.png", PICTURE), ("a.cls", b"1")])
    assert from_bytes(content, path.stat(), FIELDS) is None


def test_a_shard_whose_index_cannot_be_used_is_read(tmp_path, cache):
    path = shard(tmp_path / "train-0.tar", [("a.png", PICTURE), ("a.cls", b"1")])
    load_indices([str(path)])
    for content in (b"", b"no index", bytes(1000)):
        with open(index_path(str(path)), "wb") as file:
            file.write(content)
        assert load_indices([str(path)])[0].labels.tolist() == [1]


@given(st.data())
def test_a_damaged_index_never_leads_outside_of_its_shard(scratch, data):
    path = shard(scratch / "train-0.tar", [("a.png", PICTURE), ("a.cls", b"1"), ("b.png", PICTURE), ("b.cls", b"0")])
    content = bytearray(to_bytes(build_index(str(path), FIELDS), FIELDS))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    index = from_bytes(bytes(content), path.stat(), FIELDS)
    if index is not None:
        for position in range(len(index)):
            assert index.name(position)
            assert 512 <= index.offsets[position] <= path.stat().st_size - index.sizes[position]


def test_an_index_is_not_needed_where_it_cannot_be_kept(tmp_path, cache):
    cache.write_text("a file, no folder")
    assert len(open_dataset(two_shards(tmp_path, [("a.png", PICTURE), ("a.cls", b"1")])).train) == 1


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_share_for_testing_is_the_same_of_a_folder_and_of_its_shards(tmp_path, share):
    folder = write_folder(tmp_path / "pictures", count=10)
    write_dataset(open_dataset(f"folder:{folder}", 8), tmp_path / "out", ShardSize(images=4))
    reading = ReadingOptions(test_share=share)
    expected = open_dataset(f"folder:{folder}", 8, reading)
    found = open_dataset(f"shards:{tmp_path}/out", 8, reading)
    for one, other in ((expected.train, found.train), (expected.test, found.test)):
        assert list(one.inventory()) == list(other.inventory())
        assert np.array_equal(one.take(range(len(one))), other.take(range(len(other))))
    assert len(found.test) == 2 * round(10 * share)
    assert found.remarks == (f"not read: {tmp_path}/out/test-000000.tar and 4 more tar files",)


def test_without_test_shards_a_share_is_offered(tmp_path):
    shard(tmp_path / "train-0.tar", [("a.png", PICTURE), ("a.cls", b"0"), ("b.png", PICTURE), ("b.cls", b"0")])
    assert "has no test shards" in refusal(f"shards:{tmp_path}") and "--test-share" in refusal(f"shards:{tmp_path}")
    assert len(open_dataset(f"shards:{tmp_path}", 8, ReadingOptions(test_share=0.5)).test) == 1


def test_the_size_is_what_most_images_suggest(tmp_path):
    files = []
    for number, side in enumerate((300, 20, 20, 20, 900)):
        files += [(f"{number}.png", encoded(plain((0, 0, 0), (side, 2 * side)), "PNG")), (f"{number}.cls", b"0")]
    dataset = open_dataset(two_shards(tmp_path, files))
    assert dataset.image_size == 20 and "training at 20 px" in dataset.remarks[0]


def test_a_compressed_shard_is_named(tmp_path):
    spec = two_shards(tmp_path, [])
    with tarfile.open(tmp_path / "train-0.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    assert "train-0.tar: is compressed (gzip), expected a plain tar file" in refusal(spec)
