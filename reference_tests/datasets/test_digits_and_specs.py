"""The embedded digits are UCI's, and `open_dataset` opens what a spec names."""

import numpy as np
import pytest

from nfnumpy.datasets import embedded, open_dataset, read_image
from nfnumpy.errors import InputError
from reference_tests.conftest import ROOT
from reference_tests.helpers.dataset_files import one_line, write_mnist


def test_embedded_digits_are_the_1797_of_uci():
    dataset = open_dataset("digits")
    assert (len(dataset.train), len(dataset.test)) == (1438, 359)
    assert dataset.name == "digits"
    assert dataset.classes == tuple("0123456789")
    assert dataset.image_size == 8
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    # Counts and ink as scikit-learn's copy has them.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert np.unique(images).tolist() == np.rint(np.arange(17) * 255 / 16).astype(int).tolist()
    assert np.rint(images * (16 / 255)).sum() == 561718


def test_embedded_digits_share_no_image_between_the_splits():
    """Every class is split alike."""
    dataset = open_dataset("digits")
    train, test = ({image.tobytes() for image in split.images} for split in (dataset.train, dataset.test))
    assert not train & test
    shares = np.bincount(dataset.test.labels) / (np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels))
    assert np.all(abs(shares - 0.2) < 0.005)


def test_digits_read_as_grey_replicated_to_three_channels():
    split = open_dataset("digits").train
    image = split.read(5)
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert split.labels.dtype == np.int64
    for channel in range(3):
        assert np.array_equal(image[..., channel], split.images[5])


def test_the_picture_in_the_documents_is_a_seven():
    test = open_dataset("digits").test
    picture = read_image(ROOT / "docs" / "seven.png")
    matches = [index for index in range(len(test)) if np.array_equal(test.read(index), picture)]
    assert [test.labels[index] for index in matches] == [7]


def test_digits_resize_on_request():
    split = open_dataset("digits", image_size=32).test
    taken = split.take(np.array([3, 1]))
    assert taken.shape == (2, 32, 32, 3)
    assert np.array_equal(taken[1], split.read(1))


def test_installation_without_digits_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "files", lambda package: tmp_path)
    monkeypatch.setattr(embedded, "__file__", str(tmp_path / "a" / "b" / "embedded.py"))
    with pytest.raises(InputError) as caught:
        open_dataset("digits")
    one_line(caught, tmp_path, "install")


def test_digits_of_a_wheel_are_read_from_inside_the_package(monkeypatch, tmp_path):
    write_mnist(tmp_path / "embedded" / "digits")
    monkeypatch.setattr(embedded, "files", lambda package: tmp_path)
    assert len(open_dataset("digits").train) == 6


@pytest.mark.parametrize("spec", ["", "mnist", "idx", "idx:", "folder:", "Digits", "ftp:somewhere", None, 3])
def test_unknown_spec_names_the_three_forms(spec):
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught, "digits", "idx:DIR", "folder:DIR")


@pytest.mark.parametrize("size", [0, -1, 2.5, "32", True, 10**9])
def test_impossible_image_size_is_refused(size):
    with pytest.raises(InputError, match="image_size"):
        open_dataset("digits", image_size=size)


@pytest.mark.parametrize("spec", ["idx:/no/such/place", "folder:/no/such/place", "folder:~no-such-user/x", "idx:a\0b"])
def test_missing_directory_is_named(spec):
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught, spec.split(":")[1])
