"""The size of training images follows from the pictures' own sizes, and no single picture decides it."""

import pytest
from hypothesis import given, strategies as st

from nfnumpy.datasets import ReadingOptions, open_dataset
from nfnumpy.datasets.survey import SAMPLE, surveyed_size
from nfnumpy.errors import InputError
from nfnumpy.models import config_of, default_for
from reference_tests.helpers.dataset_files import one_line, plain, saved, write_folder


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=SAMPLE))
def test_the_size_is_the_median_shorter_side_but_not_above_the_default_networks_own(dimensions):
    """The lower median: at most half of the pictures are smaller, at least half are as large or larger."""
    size, line = surveyed_size(len(dimensions), dimensions.__getitem__)
    shorter = [min(pair) for pair in dimensions]
    largest = config_of("nfnet_f0").train_size
    if size < largest:
        assert 2 * sum(side < size for side in shorter) < len(shorter) <= 2 * sum(side <= size for side in shorter)
    else:
        assert size == largest and 2 * sum(side < size for side in shorter) < len(shorter)
    assert f"training at {size} px" in line and "--image-size" in line


def test_photos_of_a_phone_are_trained_at_the_size_of_f0():
    size, line = surveyed_size(1000, lambda index: (4000, 3000) if index % 2 else (3000, 4000))
    assert (size, default_for(size)) == (192, "nfnet_f0")
    assert "3000" in line


def test_one_large_picture_that_is_sorted_first_does_not_decide(tmp_path):
    write_folder(tmp_path, size=(32, 32), count=5)
    saved(tmp_path / "train" / "cat", plain((0, 0, 0), (300, 200)), "0.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.image_size == 32 and dataset.train.read(0).shape == (32, 32, 3)
    assert dataset.remarks[-1] == ("pictures with shorter sides from 32 to 200 pixels, half of them up to 32: training "
                                   "at 32 px; --image-size overrules it")


@pytest.mark.parametrize(("size", "expected"), [((12, 12), 12), ((20, 12), 12), ((12, 20), 12)])
def test_pictures_of_one_size_keep_their_shorter_side(tmp_path, size, expected):
    dataset = open_dataset(f"folder:{write_folder(tmp_path, size=size)}")
    assert dataset.image_size == expected
    assert dataset.remarks == (f"pictures of {size[0]}×{size[1]} pixels: training at {expected} px; --image-size "
                               f"overrules it",)


def test_a_size_that_is_given_or_preferred_needs_no_survey(tmp_path):
    spec = f"folder:{write_folder(tmp_path)}"
    for path in (tmp_path / "train").glob("*/*"):
        path.write_bytes(b"no picture")
    preferring = ReadingOptions(preferred_size=7)
    assert open_dataset(spec, reading=preferring).image_size == 7
    assert open_dataset(spec, image_size=9, reading=preferring).image_size == 9


def test_large_data_sets_are_sampled():
    asked = []
    surveyed_size(10**9, lambda index: asked.append(index) or (10, 10))
    assert len(set(asked)) == SAMPLE and max(asked) < 10**9
    # Each tenth of the data set has 30 of them on average, with a standard deviation of 5.2: six of those.
    assert all(abs(sum(index // 10**8 == tenth for index in asked) - 30) < 32 for tenth in range(10))


def test_pictures_that_cannot_be_read_are_left_out_of_the_survey_only_if_they_are_to_be_skipped(tmp_path):
    spec = f"folder:{write_folder(tmp_path)}"
    bad = tmp_path / "train" / "cat" / "0000.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught, bad)
    skipping = ReadingOptions(on_bad_image="skip")
    assert open_dataset(spec, reading=skipping).image_size == 8
    for path in (tmp_path / "train").glob("*/*"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="expected a whole image"):
        open_dataset(spec, reading=skipping)
