"""An image that cannot be read: an error, another one in its place, or a shorter batch; never another order."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy.datasets import Loader, SkippingSplit
from nfnumpy.errors import InputError
from reference_tests.helpers.numbered_split import Numbered

COUNT, CLASSES = 60, 4


def read(loader, order):
    """(values, labels, sizes of the batches) of all images in an order."""
    batches = list(loader.batches(np.array(order, dtype=np.int64)))
    return (np.concatenate([images[:, 0, 0, 0] for images, _ in batches] or [[]]).tolist(),
            np.concatenate([labels for _, labels in batches] or [[]]).tolist(), [len(labels) for _, labels in batches])


ORDERS = st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=50)
BAD = st.sets(st.integers(0, COUNT - 1), max_size=COUNT - 1)


@given(order=ORDERS, bad=BAD, batch_size=st.integers(1, 50), workers=st.sampled_from([0, 1, 4]))
def test_the_next_image_of_the_class_takes_the_place(order, bad, batch_size, workers):
    split = SkippingSplit(Numbered(COUNT, bad, classes=CLASSES))
    alike = [[index % COUNT for index in range(start, start + COUNT, CLASSES)] for start in order]
    good = [[index for index in group if index not in bad] for group in alike]
    with Loader(split, batch_size, workers) as loader:
        if not all(good):
            with pytest.raises(InputError, match="none of the next images of its class"):
                read(loader, order)
            return
        values, labels, sizes = read(loader, order)
        assert set(order) & bad <= set(loader.bad_images) <= bad
        assert all(line == f"image {index} is bad" for index, line in loader.bad_images.items())
    assert values == [group[0] for group in good] and labels == [index % CLASSES for index in order]
    assert all(size == batch_size for size in sizes[:-1])


@given(order=ORDERS, bad=BAD, batch_size=st.integers(1, 50), workers=st.sampled_from([0, 1, 4]))
def test_left_out_images_make_their_batches_shorter(order, bad, batch_size, workers):
    expected = [index for index in order if index not in bad]
    with Loader(Numbered(COUNT, bad), batch_size, workers, leaves_out=True) as loader:
        if not expected:
            with pytest.raises(InputError, match="none of the other images can be read"):
                read(loader, order)
            return
        values, labels, sizes = read(loader, order)
        assert loader.bad_images == {index: f"image {index} is bad" for index in set(order) & bad}
    assert values == expected and labels == [index % 7 for index in expected]
    batches = [order[start:start + batch_size] for start in range(0, len(order), batch_size)]
    counts = [sum(index not in bad for index in batch) for batch in batches]
    assert sizes == [count for count in counts if count]


def test_a_hundred_bad_images_of_a_class_in_a_row_are_an_error():
    """More look like a disk that is gone: not all of a million files are tried."""
    split = SkippingSplit(Numbered(250, bad=range(240), classes=2))
    with pytest.raises(InputError, match="image 7 is bad; and none of the next images of its class"):
        split.read(7)
    assert len(split.bad_images) == 100
    assert split.read(239)[0, 0, 0] == 241


def test_whole_pictures_are_replaced_too_and_names_stay():
    split = SkippingSplit(Numbered(14, bad={3}))
    assert split.read_whole(3)[0, 0, 0] == 10
    assert split.name(3) == "image 3" and list(split.targets(np.arange(5))[0]) == [0, 1, 2, 3, 4]


def test_by_default_a_bad_image_is_an_error():
    with (Loader(Numbered(10, bad={5}), 2, workers=0) as loader,
          pytest.raises(InputError, match=r"^image 5 is bad; --on-bad-image skip")):
        read(loader, [4, 5])
