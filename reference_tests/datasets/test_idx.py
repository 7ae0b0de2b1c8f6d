"""IDX files: a valid one gives its pixels, any other one line of InputError."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from nfnumpy.datasets import open_dataset, read_idx, write_idx
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import one_line, write_mnist, written


@settings(deadline=None)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0, max_side=6)),
    ending=st.sampled_from(["", ".gz"]),
)
def test_idx_reads_back_what_was_written(scratch, array, ending):
    path = scratch / f"round-trip{ending}"
    write_idx(path, array)
    read = read_idx(path, rank=array.ndim)
    assert read.dtype == np.uint8 and np.array_equal(read, array)


def test_equal_arrays_give_equal_gzip_files(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_idx(tmp_path / "one.gz", array)
    write_idx(tmp_path / "two.gz", array)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_writing_idx_leaves_nothing_unfinished_behind(tmp_path):
    write_idx(tmp_path / "labels", np.zeros(3, dtype=np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


@pytest.mark.parametrize("array", [np.zeros(3), np.array(3, dtype=np.uint8), np.zeros(3, dtype=np.int8)])
def test_only_arrays_of_unsigned_bytes_are_written_as_idx(tmp_path, array):
    with pytest.raises(InputError, match="uint8"):
        write_idx(tmp_path / "array", array)


@pytest.mark.parametrize("test_prefix", ["t10k", "test"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_names_are_understood(tmp_path, test_prefix, ending):
    dataset = open_dataset(f"idx:{write_mnist(tmp_path, test_prefix, ending)}")
    assert (len(dataset.train), len(dataset.test), dataset.image_size) == (6, 3, 5)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.test.labels.tolist() == [2, 0, 1]
    assert dataset.test.read(1)[0, :, 0].tolist() == [25, 26, 27, 28, 29]


def test_oblong_idx_images_become_their_centre_square(tmp_path):
    oblong = np.zeros((6, 4, 8), dtype=np.uint8)
    oblong[:, :, 2:6] = 200
    dataset = open_dataset(f"idx:{write_mnist(tmp_path, train_images=oblong)}")
    assert dataset.image_size == 4
    assert np.all(dataset.train.read(0) == 200)
    assert dataset.test.read(0).shape == (4, 4, 3)


def test_idx_count_mismatch_names_both_counts(tmp_path):
    write_mnist(tmp_path, train_labels=np.zeros(5, dtype=np.uint8))
    with pytest.raises(InputError) as caught:
        open_dataset(f"idx:{tmp_path}")
    one_line(caught, "5 labels", "6 images", "train-labels")


def test_idx_test_label_that_training_lacks_is_refused(tmp_path):
    write_mnist(tmp_path, test_labels=np.array([0, 1, 9], dtype=np.uint8))
    with pytest.raises(InputError) as caught:
        open_dataset(f"idx:{tmp_path}")
    one_line(caught, "9", "0..2")


@pytest.mark.parametrize("shape", [(0, 5, 5), (3, 0, 5), (3, 5, 0)])
def test_idx_without_a_pixel_is_refused(tmp_path, shape):
    write_mnist(tmp_path, test_images=np.zeros(shape, np.uint8), test_labels=np.zeros(shape[0], np.uint8))
    with pytest.raises(InputError, match="at least one image"):
        open_dataset(f"idx:{tmp_path}")


def test_missing_idx_file_lists_the_names_looked_for(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError) as caught:
        open_dataset(f"idx:{tmp_path}")
    one_line(caught, tmp_path, "t10k-labels-idx1-ubyte.gz", "test-labels-idx1-ubyte")


# Without mtime=0 the content, and so the test's identifier, would differ between the processes of pytest-xdist.
PACKED_LABELS = gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x02ab", mtime=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "nothing"),
        (b"\x00\x00\x0d\x01" + bytes(8), "unsigned bytes"),
        (b"\x00\x00\x08\x03" + bytes(12), "1 axes"),
        (b"\x00\x00\x08\x01\x00\x00", "inside its header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x50abc", "more than the file can hold"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x09abcdefg", "holds only 7"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02abc", "holds more than the 2 bytes"),
        (b"\x1f\x8b", "cannot read"),
        (PACKED_LABELS[:-3], "cannot read"),
        (PACKED_LABELS[:-8] + bytes(8), "cannot read"),
    ],
)
def test_damaged_idx_says_what_is_wrong(tmp_path, content, said):
    path = written(tmp_path / "labels", content)
    with pytest.raises(InputError) as caught:
        read_idx(path, rank=1)
    one_line(caught, path, said)


def test_directory_in_place_of_an_idx_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_idx(tmp_path, rank=1)


def test_gzip_bomb_is_not_unpacked_past_its_declared_size(tmp_path):
    bomb = struct.pack(">HBBI", 0, 8, 1, 10) + bytes(200_000_000)
    path = written(tmp_path / "bomb.gz", gzip.compress(bomb, compresslevel=1))
    del bomb
    message, peak = refusal(path, rank=1)
    assert "more than the 10 bytes" in message
    assert peak < 2_000_000


@pytest.mark.parametrize("packed", [False, True])
def test_declared_terabytes_are_not_allocated(tmp_path, packed):
    content = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100)
    if packed:
        content = gzip.compress(content)
    path = written(tmp_path / "images", content)
    message, peak = refusal(path, rank=3)
    assert "more than the file can hold" in message
    assert peak < 2_000_000


def refusal(path, rank):
    """The message with which read_idx refuses a file, and the peak of the memory that it allocated, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_idx(path, rank)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


IDX = struct.pack(">HBB3I", 0, 8, 3, 4, 3, 5) + bytes(range(60))


@settings(max_examples=400, deadline=None)
@given(
    packed=st.booleans(),
    flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=4),
    kept=st.integers(0, 200),
    tail=st.binary(max_size=4),
)
def test_mutated_idx_reads_or_is_an_input_error(scratch, packed, flips, kept, tail):
    whole = gzip.compress(IDX, mtime=0) if packed else IDX
    content = bytearray(whole)
    for position, change in flips:
        content[position % len(content)] ^= change
    path = written(scratch / "mutated", bytes(content[:kept]) + tail)
    try:
        images = read_idx(path, rank=3)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert images.dtype == np.uint8 and images.ndim == 3


@settings(deadline=None)
@given(position=st.integers(0, 15), value=st.integers(0, 255))
def test_any_other_byte_in_an_idx_header_is_refused(scratch, position, value):
    content = bytearray(IDX)
    same = content[position] == value
    content[position] = value
    path = written(scratch / "header", bytes(content))
    if same:
        assert read_idx(path, rank=3).shape == (4, 3, 5)
    else:
        with pytest.raises(InputError):
            read_idx(path, rank=3)
