"""How encoded images are read, and what a split says about its images."""

import io
import zlib

import numpy as np
import pytest

from nfnumpy.datasets import ArraySplit, ImageReader, ReadingOptions, open_dataset, read_image
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import encoded, one_line, plain, saved, write_folder


def test_an_image_in_memory_reads_like_a_file_and_has_the_name_that_is_given(tmp_path):
    picture = plain((1, 200, 3), (12, 9))
    path = saved(tmp_path, picture)
    reader = ImageReader(5, crop_margin=2)
    content = path.read_bytes()
    assert np.array_equal(reader.square(io.BytesIO(content)), read_image(path, 5, 2))
    assert np.array_equal(reader.whole(io.BytesIO(content)), read_image(path))
    with pytest.raises(InputError) as caught:
        reader.square(io.BytesIO(encoded(picture, "PNG")[:-30]), "shard-3.tar: 0017.png")
    one_line(caught, "shard-3.tar: 0017.png: expected a whole image")


@pytest.mark.parametrize("options, transform", [
    ({}, (200, 0, True)), ({"eval_resize": "squash"}, (200, 32, False)),
    ({"eval_resize": "shorter-side"}, (200, 32, True)),
    ({"eval_resize": "squash", "test_size": 191}, (191, 0, False)), ({"test_size": 256}, (256, 0, True)),
    ({"eval_resize": "shorter-side", "test_size": 192}, (192, 32, True)),
    ({"eval_resize": "squash", "eval_margin": 5, "test_size": 8}, (8, 5, False)),
    ({"eval_resize": "shorter-side", "eval_margin": 0}, (200, 0, True))])
def test_test_images_have_the_chosen_margin_or_one_from_192_pixels_up_if_a_form_is_chosen(options, transform):
    reading = ReadingOptions(**options)
    assert reading.test_reader(200).transform == transform
    assert reading.training_reader(200).transform == (200, 0, True)


@pytest.mark.parametrize("options", [
    {"max_pixels": 0}, {"max_pixels": "many"}, {"max_pixels": 2**40}, {"decoder": "other"}, {"on_bad_image": "ignore"},
    {"test_share": 0.0}, {"test_share": 1.0}, {"test_size": 0}, {"eval_resize": "crop"}, {"preferred_size": 2**40},
    {"eval_margin": 7}, {"eval_margin": -1, "eval_resize": "squash"}, {"eval_margin": 1025, "eval_resize": "squash"}])
def test_reading_options_that_cannot_be_used_are_named(options):
    with pytest.raises(InputError) as caught:
        ReadingOptions(**options)
    one_line(caught, "image_size" if set(options) & {"test_size", "preferred_size"} else next(iter(options)))


def test_the_inventory_of_a_folder_has_names_labels_and_sizes_in_bytes(tmp_path):
    split = open_dataset(f"folder:{write_folder(tmp_path, count=2)}").test
    names = ["cat/0000.png", "cat/0001.png", "dog/0000.png", "dog/0001.png"]
    sizes = [(tmp_path / "test" / name).stat().st_size for name in names]
    assert list(split.inventory()) == list(zip(names, [0, 0, 1, 1], sizes, strict=True))
    assert split.name(2) == str(tmp_path / "test" / "dog" / "0000.png")


def test_the_inventory_of_an_array_has_checksums_of_the_pixels():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    split = ArraySplit(images, [1, 0], image_size=2)
    assert list(split.inventory()) == [("image 0", 1, zlib.crc32(images[0])), ("image 1", 0, zlib.crc32(images[1]))]
