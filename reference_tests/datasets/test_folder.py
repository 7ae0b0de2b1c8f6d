"""Image folders: classes are sub-folders, and what cannot be used says why."""

import numpy as np
import pytest
from PIL import features

from nfnumpy.datasets import FolderSplit, ReadingOptions, open_dataset
from nfnumpy.datasets.shards import ShardSize, write_dataset
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


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "VAL"), ("train", "valid"), ("train", "Validation")])
def test_folders_of_splits_are_found_in_any_case(tmp_path, names):
    write_folder(tmp_path)
    for old, new in zip(("train", "test"), names, strict=True):
        (tmp_path / old).rename(tmp_path / new)
    dataset = open_dataset(f"folder:{tmp_path}")
    assert (len(dataset.train), len(dataset.test)) == (6, 6)
    assert dataset.train.name(0) == str(tmp_path / names[0] / "cat" / "0000.png")


def test_two_folders_of_the_same_name_are_not_guessed_between(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "Train").mkdir()
    with pytest.raises(InputError) as caught:
        open_dataset(f"folder:{tmp_path}")
    one_line(caught, tmp_path, "Train and train", "expected one")


def test_folders_that_are_not_read_are_named(tmp_path):
    write_folder(tmp_path)
    for name in ("val", "validation"):
        (tmp_path / name).mkdir()
    assert open_dataset(f"folder:{tmp_path}").remarks[0] == f"not read: val, validation in {tmp_path}"


def without_a_test(directory, layout, count):
    """Pictures in CLASS/ or in train/CLASS/; returns (the folder of the classes, the spec)."""
    write_folder(directory, count=count)
    if layout == "beside a test folder without classes":
        for path in (directory / "test").glob("*/*"):
            path.rename(directory / "test" / f"{path.parent.name}-{path.name}")
        for name in ("cat", "dog"):
            (directory / "test" / name).rmdir()
        return directory / "train", f"folder:{directory}"
    (directory / "test").rename(directory.parent / "test-pictures")
    return directory / "train", f"folder:{directory if layout == 'train' else directory / 'train'}"


LAYOUTS = ("train", "classes", "beside a test folder without classes")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.1, 0.25, 0.01, 0.99])
def test_a_share_of_every_class_is_drawn_for_testing(tmp_path, layout, share):
    """Rounded, at least one picture, not all; the splits together have every picture once."""
    _, spec = without_a_test(tmp_path / "data", layout, 20)
    dataset = open_dataset(spec, reading=ReadingOptions(test_share=share))
    expected = {0.1: 2, 0.25: 5, 0.01: 1, 0.99: 19}[share]
    assert np.bincount(dataset.test.labels).tolist() == [expected] * 2
    assert np.bincount(dataset.train.labels).tolist() == [20 - expected] * 2
    names = [split.name(index) for split in (dataset.train, dataset.test) for index in range(len(split))]
    assert len(set(names)) == 40
    assert all(("cat", "dog")[label] in split.name(index) for split in (dataset.train, dataset.test)
               for index, label in enumerate(split.labels))


def test_the_draw_depends_on_names_alone_and_hardly_changes_with_new_pictures(tmp_path):
    folder, spec = without_a_test(tmp_path / "data", "classes", 40)
    sharing = ReadingOptions(test_share=0.25)
    first = [name for name, _, _ in open_dataset(spec, reading=sharing).test.inventory()]
    assert [name for name, _, _ in open_dataset(spec, reading=sharing).test.inventory()] == first
    for number in range(4):
        saved(folder / "cat", plain((0, 0, 0)), f"new-{number}.png")
    after = [name for name, _, _ in open_dataset(spec, reading=sharing).test.inventory()]
    assert len(set(first) - set(after)) <= 4
    # Hashes know nothing of the order: all of the first half of the names for no class, 2 * C(20,10)/C(40,10) = 4e-4.
    halves = {(name[:3], name[4:8] < "0020") for name in first}
    assert len(halves) == 4


@pytest.mark.parametrize("form", ["img.{}.png", "a.b/img.{}.v1.png", "{}.PNG"])
def test_of_shards_the_same_pictures_are_drawn_as_of_their_folder(tmp_path, form):
    for name, red in (("__cat__", 255), ("dog", 0)):
        for number in range(30):
            saved(tmp_path / "data" / "train" / name, plain((red, number, 0)), form.format(number))
    saved(tmp_path / "data" / "test" / "dog", plain((0, 0, 0)))
    write_dataset(open_dataset(f"folder:{tmp_path}/data", 8), tmp_path / "shards", ShardSize(images=7), ["train"])
    draws = [open_dataset(f"{kind}:{tmp_path}/{place}", 8, ReadingOptions(test_share=0.2)).test
             for kind, place in (("folder", "data"), ("shards", "shards"))]
    assert np.array_equal(*(split.take(range(12)) for split in draws))


def test_training_pictures_may_be_missing_only_where_they_are_not_needed(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train").rename(tmp_path / ".train")
    for reading in (ReadingOptions(), ReadingOptions(test_share=0.5, needs_training=False)):
        with pytest.raises(InputError) as caught:
            open_dataset(f"folder:{tmp_path}", reading=reading)
        one_line(caught, tmp_path / "train")
    dataset = open_dataset(f"folder:{tmp_path}", reading=ReadingOptions(needs_training=False))
    assert dataset.classes == ("cat", "dog") and dataset.image_size == 8
    assert len(dataset.train) == 0 and dataset.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_without_test_pictures_the_error_recommends_a_draw(tmp_path, layout):
    _, spec = without_a_test(tmp_path / "data", layout, 2)
    with pytest.raises(InputError) as caught:
        open_dataset(spec)
    one_line(caught, "--test-share 0.1")


def test_a_class_of_one_picture_cannot_be_shared(tmp_path):
    _, spec = without_a_test(tmp_path / "data", "classes", 1)
    with pytest.raises(InputError) as caught:
        open_dataset(spec, reading=ReadingOptions(test_share=0.1))
    one_line(caught, "class 'cat' has one picture")


def test_folder_val_stands_in_for_test_and_test_is_preferred(tmp_path):
    write_folder(tmp_path, test="val", count=2)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 4
    write_folder(tmp_path, test="test", count=1)
    assert len(open_dataset(f"folder:{tmp_path}").test) == 2


def test_folder_reads_image_endings_in_any_case_and_no_others(tmp_path):
    write_folder(tmp_path)
    cats = tmp_path / "train" / "cat"
    pictures = ["A.PNG", "b.JpEg", "c.JPG", "d.bmp", "e.WebP", "f.gif", "g.TIF", "h.tiff", "i.ppm", "j.pgm", "k.pbm",
                "l.pnm", "m.jfif", *(["n.avif"] if features.check("avif") else [])]
    for name in pictures:
        saved(cats, plain((1, 2, 3)), name, format="PPM" if name == "l.pnm" else None)
    for name in (".hidden.png", "notes.txt", "Thumbs.db", "more.txt", "README"):
        (cats / name).write_text("not a picture")
    (cats / "directory.png").mkdir()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "readme.png").write_text("beside the classes")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.classes == ("cat", "dog")
    assert np.bincount(dataset.train.labels).tolist() == [3 + len(pictures), 3]
    assert dataset.train.take(range(3 + len(pictures))).shape == (3 + len(pictures), 8, 8, 3)
    assert dataset.remarks[0] == (f"{tmp_path}/train: files that are not read: 2 .txt, 1 .db, 1 without an ending, "
                                  f"pictures beside the folders of the classes: 1")


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
        (lambda directory: remove(directory, "test"), "no folder test, val, valid or validation"),
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
