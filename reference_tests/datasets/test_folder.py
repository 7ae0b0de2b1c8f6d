"""Image folders: classes are sub-folders, and what cannot be used says why."""

import numpy as np
import pytest

from nfnumpy.datasets import FolderSplit, ReadingOptions, open_dataset
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import one_line, plain, saved, write_folder


def test_folder_reads_classes_in_sorted_order(tmp_path):
    dataset = open_dataset(f"folder:{write_folder(tmp_path)}")
    assert dataset.classes == ("cat", "dog")
    assert dataset.image_size == 8
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.labels.dtype == np.int64
    assert isinstance(dataset.train, FolderSplit)
    assert [dataset.test.read(index)[0, 0].tolist() for index in (1, 5)] == [[255, 1, 0], [0, 2, 255]]


def test_folder_val_stands_in_for_test_and_test_is_preferred(tmp_path):
    write_folder(tmp_path, test="val", count=2)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 4
    write_folder(tmp_path, test="test", count=1)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 2


def test_folder_reads_image_endings_in_any_case_and_no_others(tmp_path):
    write_folder(tmp_path)
    cats = tmp_path / "train" / "cat"
    for name in ("A.PNG", "b.JpEg", "c.JPG", "d.bmp", "e.WebP"):
        saved(cats, plain((1, 2, 3)), name)
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (cats / name).write_text("not a picture")
    (cats / "directory.png").mkdir()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "readme.png").write_text("beside the classes")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.classes == ("cat", "dog")
    assert np.bincount(dataset.train.labels).tolist() == [8, 3]
    assert dataset.train.take(range(11)).shape == (11, 8, 8, 3)


@pytest.mark.parametrize(("size", "expected"), [((12, 12), 12), ((20, 12), 12), ((12, 20), 12)])
def test_folder_takes_its_size_from_the_first_image(tmp_path, size, expected):
    dataset = open_dataset(f"folder:{write_folder(tmp_path, size=size)}")
    assert dataset.image_size == expected
    assert dataset.train.read(0).shape == (expected, expected, 3)


def test_folder_reads_images_at_any_depth_of_a_class(tmp_path):
    """As torchvision's ImageFolder does; hidden folders are left out, links to folders are followed."""
    write_folder(tmp_path, count=2)
    cats = tmp_path / "train" / "cat"
    for folder in ("siamese", "siamese/young", ".hidden", "empty/deeper"):
        saved(cats / folder, plain((255, 9, 0)), "picture.png")
    (tmp_path / "elsewhere").mkdir()
    saved(tmp_path / "elsewhere", plain((255, 9, 0)), "linked.png")
    (cats / "link").symlink_to(tmp_path / "elsewhere")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.classes == ("cat", "dog")
    names = [path.removeprefix(f"{cats}/") for path in dataset.train.paths[:6]]
    assert names == ["0000.png", "0001.png", "empty/deeper/picture.png", "link/linked.png", "siamese/picture.png",
                     "siamese/young/picture.png"]
    assert np.bincount(dataset.train.labels).tolist() == [6, 2]


def test_folder_with_a_link_to_a_folder_above_is_refused(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "cat" / "loop").symlink_to(tmp_path / "train" / "cat")
    with pytest.raises(InputError) as caught:
        open_dataset(f"folder:{tmp_path}")
    one_line(caught, tmp_path / "train" / "cat" / "loop", "link")


def test_folder_decodes_images_up_to_the_limit_of_pixels(tmp_path):
    spec = f"folder:{write_folder(tmp_path)}"
    assert open_dataset(spec, reading=ReadingOptions(max_pixels=64)).train.read(0).shape == (8, 8, 3)
    for image_size in (None, 8):
        with pytest.raises(InputError, match=r"more than 63.*--max-pixels"):
            open_dataset(spec, image_size, ReadingOptions(max_pixels=63)).train.read(0)


def test_folder_resizes_to_the_given_size(tmp_path):
    assert open_dataset(f"folder:{write_folder(tmp_path)}", image_size=20).test.read(0).shape == (20, 20, 3)


def empty_the_cats(directory):
    for path in (directory / "train" / "cat").iterdir():
        path.unlink()


def remove(directory, part):
    (directory / part).rename(directory / "elsewhere")


def leave_no_classes(directory):
    remove(directory, "train")
    (directory / "train").mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda directory: remove(directory, "train"), "train: expected a folder"),
        (lambda directory: remove(directory, "test"), "no folder test or val"),
        (leave_no_classes, "train: has no sub-folders"),
        (empty_the_cats, "cat: has no images"),
        (lambda directory: saved(directory / "test" / "bird", plain((0, 0, 0))), "class 'bird' is not a folder of"),
        (lambda directory: (directory / "train" / "cat" / "0000.png").write_bytes(b"no"), "0000.png"),
        (lambda directory: (directory / "train" / "cat" / "loop.png").symlink_to("loop.png"), "cat: expected a folder"),
    ],
)
def test_folder_that_cannot_be_used_says_why(tmp_path, damage, said):
    damage(write_folder(tmp_path))
    with pytest.raises(InputError) as caught:
        open_dataset(f"folder:{tmp_path}")
    one_line(caught, tmp_path, said)
