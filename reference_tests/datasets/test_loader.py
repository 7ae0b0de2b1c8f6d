"""The loader keeps the order, reads at most `prefetch` batches ahead, and stops its threads when it is closed."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfnumpy.datasets import ArraySplit, Loader, Split, batch_reading, open_dataset
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import one_line, plain, saved, write_folder


class Numbered(Split):
    """A split whose image i is filled with i, which fails at the indices in `bad` and counts what it has read."""

    def __init__(self, count, bad=()):
        super().__init__(np.arange(count) % 7, image_size=2)
        self.bad = frozenset(bad)
        self.reads = 0
        self.lock = threading.Lock()

    def read(self, index):
        with self.lock:
            self.reads += 1
        if index in self.bad:
            raise InputError(f"image {index} is bad")
        return np.full((2, 2, 3), index, dtype=np.uint8)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nfnumpy-loader")]


@settings(deadline=None, max_examples=60)
@given(
    order=st.lists(st.integers(0, 199), max_size=150),
    batch_size=st.integers(1, 70),
    workers=st.integers(0, 3),
    prefetch=st.integers(1, 4),
)
def test_batches_keep_the_order_and_only_the_last_is_short(order, batch_size, workers, prefetch):
    split = Numbered(200)
    batches = list(Loader(split, batch_size, workers, prefetch).batches(np.array(order, dtype=np.int64)))
    assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-len(order) // batch_size)
    read = [int(image[0, 0, 0]) for images, _ in batches for image in images]
    assert read == order
    assert [int(label) for _, labels in batches for label in labels] == [index % 7 for index in order]
    for images, labels in batches:
        assert images.dtype == np.uint8 and images.shape[1:] == (2, 2, 3) and labels.dtype == np.int64


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_folder_batches_are_the_same_for_any_number_of_workers(tmp_path, workers):
    split = open_dataset(f"folder:{write_folder(tmp_path, count=20)}").train
    order = np.random.default_rng(0).permutation(40)
    images = np.concatenate([images for images, _ in Loader(split, 16, workers).batches(order)])
    assert np.array_equal(images, np.stack([split.read(index) for index in order]))


@pytest.mark.parametrize("order", [range(0), range(3, 47), range(49, 2, -3), range(7, 8)])
def test_a_range_is_read_like_the_array_of_its_numbers(order):
    for workers in (0, 2):
        reader = Loader(Numbered(50), 10, workers)
        pairs = zip(reader.batches(order), reader.batches(np.array(order)), strict=True)
        assert all(np.array_equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("order", [range(51), range(-1, 5), range(60, 40, -1)])
def test_a_range_of_no_examples_is_refused_at_once(order):
    with pytest.raises(InputError, match="expected 0..49"):
        Loader(Numbered(50), 10).batches(order)


def test_array_split_is_sliced_without_threads():
    split = open_dataset("digits").train
    stream = Loader(split, 100, workers=2).batches(np.arange(250))
    images, labels = next(stream)
    assert not loader_threads()
    assert np.array_equal(images[..., 0], split.images[:100]) and np.array_equal(labels, split.labels[:100])


def test_array_split_that_must_be_resized_gives_what_it_reads():
    split = open_dataset("digits", image_size=11).train
    (images, _), = Loader(split, 64, workers=2).batches(np.arange(50, 0, -1))
    assert np.array_equal(images, np.stack([split.read(index) for index in range(50, 0, -1)]))


def test_changing_a_batch_leaves_the_split_alone():
    stored = np.zeros((4, 3, 3, 3), dtype=np.uint8)
    split = ArraySplit(stored, np.zeros(4))
    split.read(2)[:] = 9
    for images, _ in Loader(split, 4).batches(np.arange(4)):
        images[:] = 9
    assert not stored.any()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_first_bad_image_is_reported_after_good_batches(workers):
    split = Numbered(100, bad={70, 35, 36})
    stream = Loader(split, 10, workers, prefetch=8).batches(np.arange(100))
    for _ in range(3):
        next(stream)
    with pytest.raises(InputError, match="image 35 is bad"):
        next(stream)
    assert not loader_threads()


def test_truncated_jpeg_in_a_folder_names_the_file(tmp_path):
    write_folder(tmp_path)
    path = saved(tmp_path / "train" / "dog", plain((9, 9, 9), (64, 64)), "broken.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    split = open_dataset(f"folder:{tmp_path}", image_size=8).train
    with pytest.raises(InputError) as caught:
        list(Loader(split, 2, workers=2).batches(np.arange(len(split))))
    one_line(caught, path)


@pytest.fixture
def pools(monkeypatch):
    """The thread pools a loader makes: each counts its tasks, and opens `gate` once it has been told to shut down."""
    made = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.tasks = 0
            self.gate = threading.Event()
            made.append(self)

        def submit(self, *arguments):
            self.tasks += 1
            return super().submit(*arguments)

        def shutdown(self, wait, cancel_futures):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            self.gate.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(batch_reading, "ThreadPoolExecutor", Pool)
    return made


def test_no_more_than_prefetch_batches_are_read_ahead(pools):
    stream = Loader(Numbered(200), 10, workers=2, prefetch=3).batches(np.arange(200))
    for taken in range(1, 6):
        next(stream)
        assert pools[0].tasks == (2 + 1) * (taken + 3)  # two for images and one for targets
    stream.close()


def test_a_large_batch_is_handed_out_in_chunks(pools):
    next(Loader(Numbered(250), 250, workers=2).batches(np.arange(250)))
    assert pools[0].tasks == -(-250 // batch_reading.CHUNK) + 1  # of the targets


def test_closing_the_generator_early_drops_what_has_not_begun(pools):
    class Gated(Numbered):
        def read(self, index):
            if index >= 10:
                pools[0].gate.wait()
            return super().read(index)

    split = Gated(200)
    stream = Loader(split, 10, workers=2, prefetch=4).batches(np.arange(200))
    next(stream)
    stream.close()
    assert split.reads <= 10 + 2 * 5


def test_closing_the_generator_early_stops_the_threads():
    stream = Loader(Numbered(200), 10, workers=2).batches(np.arange(200))
    next(stream)
    assert loader_threads()
    stream.close()
    assert not loader_threads()


def test_leaving_the_loader_ends_its_threads_and_generators():
    with Loader(Numbered(200), 10, workers=2) as opened:
        stream = opened.batches(np.arange(200))
        next(stream)
    assert not loader_threads()
    assert list(stream) == []
    with pytest.raises(InputError, match="closed"):
        opened.batches(np.arange(3))


def test_finished_generator_leaves_no_threads():
    assert len(list(Loader(Numbered(50), 10, workers=2).batches(np.arange(50)))) == 5
    assert not loader_threads()


def test_order_may_be_shuffled_while_batches_are_read():
    order = np.arange(50)
    stream = Loader(Numbered(50), 5, workers=2, prefetch=1).batches(order)
    next(stream)
    order[:] = 0
    read = [images[0, 0, 0, 0] for images, _ in stream]
    assert read == [5, 10, 15, 20, 25, 30, 35, 40, 45]


@pytest.mark.parametrize("workers", [0, 2])
def test_waiting_is_counted(workers):
    reader = Loader(Numbered(50), 10, workers)
    assert reader.waited_seconds == 0
    list(reader.batches(np.arange(50)))
    first = reader.waited_seconds
    assert first > 0
    list(reader.batches(np.arange(50)))
    assert reader.waited_seconds > first


@pytest.mark.parametrize("order", [[50], [-1], [0.5], [[0, 1]], [True], 3])
def test_order_that_does_not_index_the_split_is_refused_at_once(order):
    with pytest.raises(InputError, match=re.escape("batches()")):
        Loader(Numbered(50), 10).batches(order)


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"batch_size": 2.0}, {"workers": -1}, {"prefetch": 0},
                                     {"kind": "magic"}])
def test_impossible_loader_setting_is_named(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        Loader(Numbered(50), **({"batch_size": 10} | setting))


def test_array_split_of_unequal_counts_is_refused():
    with pytest.raises(InputError, match="4 images but 3 labels"):
        ArraySplit(np.zeros((4, 2, 2), dtype=np.uint8), np.zeros(3))


@pytest.mark.parametrize("images, labels, complaint", [
    (None, [0], "expected images as uint8"), ([[[0]]], [0], re.escape("got [[[0]]]")),
    (np.zeros((2, 4, 4, 3)), [0, 1], r"got ndarray \(2, 4, 4, 3\) of float64"),
    (np.zeros((2, 4, 4, 4), np.uint8), [0, 1], "expected images as uint8"),
    (np.zeros((4, 4), np.uint8), [0] * 4, "expected images as uint8"),
    (np.zeros((2, 4, 4), np.uint8), [0.5, 1], "expected whole numbers"),
    (np.zeros((2, 4, 4), np.uint8), [0, np.nan], "expected whole numbers"),
    (np.zeros((2, 4, 4), np.uint8), ["a", "b"], "expected whole numbers"),
    (np.zeros((2, 4, 4), np.uint8), [[0], [1]], "expected whole numbers"),
    (np.zeros((2, 4, 4), np.uint8), None, "expected whole numbers"),
    (np.zeros((2, 4, 4), np.uint8), 2, "expected whole numbers")])
def test_images_and_labels_of_other_kinds_are_refused(images, labels, complaint):
    with pytest.raises(InputError, match=complaint):
        ArraySplit(images, labels)
