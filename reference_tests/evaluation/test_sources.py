"""The arguments of predict stand for image files: in order, found one at a time, whatever bytes their names have."""

import io
import os

import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError
from nfnumpy.evaluation import Prediction, picture_paths
from reference_tests.helpers.dataset_files import plain, saved


def found(arguments, listed=b"", separator=b"\n"):
    return list(picture_paths(map(str, arguments), io.BytesIO(listed), separator))


@pytest.fixture
def folder(tmp_path):
    """A folder with images at two depths, and what is no image beside them."""
    for name in ("b.png", "a.jpg", "inner/c.png", "inner/deep/d.bmp"):
        saved(tmp_path / "folder", plain((1, 2, 3)), name)
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    (tmp_path / "folder" / ".hidden.png").write_bytes(b"")
    return tmp_path / "folder"


def test_a_folder_stands_for_the_images_below_it_where_it_is_named(folder):
    names = ["a.jpg", "b.png", "inner/c.png", "inner/deep/d.bmp"]
    expected = ["first.png", *(str(folder / name) for name in names), "last.txt"]
    assert found(["first.png", folder, "last.txt"]) == expected
    assert found(["first.png", "-", "last.txt"], os.fsencode(folder) + b"\n") == expected


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name), max_size=5), st.booleans())
def test_listed_names_may_have_any_bytes_but_the_separator(names, ends):
    listed = b"\0".join(names) + (b"\0" if ends else b"")
    assert [os.fsencode(path) for path in found(["-"], listed, b"\0") if isinstance(path, str)] == [
        name for name in names if not os.path.isdir(name)]
    without_breaks = [name for name in names if b"\n" not in name and not os.path.isdir(name)]
    assert [os.fsencode(path) for path in found(["-"], b"\n".join(without_breaks))] == without_breaks


def test_paths_are_read_only_when_they_are_asked_for():
    """Standard input may never end."""
    endless = iter([b"one\n", b"\n", b"two\n"])
    paths = picture_paths(["-"], endless)
    assert next(paths) == "one" and next(endless) == b"\n" and next(paths) == "two"


@pytest.mark.parametrize("make, words", [(lambda path: None, "has no images"),
                                         (lambda path: (path / "loop").symlink_to(path), "link to")])
def test_a_folder_that_cannot_be_used_is_an_error_in_its_place(tmp_path, make, words):
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    before, failed, after = found(["a.png", tmp_path / "empty", "b.png"])
    assert (before, after) == ("a.png", "b.png") and isinstance(failed, Prediction)
    assert failed.path == str(tmp_path / "empty") and isinstance(failed.probabilities, InputError)
    assert words in str(failed.probabilities)
