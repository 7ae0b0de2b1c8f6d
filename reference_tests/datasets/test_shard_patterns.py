"""Which shards are meant: the names in braces are those of a shell, and training and test shards go by their names."""

import os

import braceexpand
import pytest
from hypothesis import given, strategies as st

from nfnumpy.datasets.shards.patterns import expand, find_shards
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import one_line

PIECES = st.sampled_from(["a", "{1..3}", "{08..11}", "{9..10}", "{a,b}", "{,x}", "{", "}", ",", "..", "/", "\\"])


@given(st.lists(PIECES, max_size=6))
def test_names_in_braces_are_those_of_a_shell_or_refused(pieces):
    pattern = "".join(pieces)
    try:
        names = expand(pattern)
    except InputError:
        assert "{" in pieces or "}" in pieces
        return
    assert names == list(braceexpand.braceexpand(pattern, escape=False))


@pytest.mark.parametrize("pattern", ["a{000..146}b", "{9..11}", "{09..11}", "{1..3}{a,b}x", "{,a}", "{08..08}"])
def test_numbers_in_braces_keep_their_digits(pattern):
    assert expand(pattern) == list(braceexpand.braceexpand(pattern, escape=False))


@pytest.mark.parametrize("pattern", ["{}", "{a}", "{a", "a}", "{{1..2}}", "{3..1}", "{1..x}", "{0..999999999}",
                                     "{0..9999}{0..9999}", "{1..2..3}"])
def test_other_braces_are_refused(pattern):
    with pytest.raises(InputError) as caught:
        expand(pattern)
    one_line(caught, pattern)


def found(folder, files, location=""):
    """find_shards of a folder with these empty files, by their names in it."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return tuple([os.path.relpath(path, folder) for path in shards] for shards in
                 find_shards(os.path.join(folder, location)))


@pytest.mark.parametrize(("files", "train", "test"), [
    (["train-0.tar", "train-1.tar", "test-0.tar"], ["train-0.tar", "train-1.tar"], ["test-0.tar"]),
    (["x_train_0.TAR", "x_val_0.tar"], ["x_train_0.TAR"], ["x_val_0.tar"]),
    (["train/b.tar", "train/a.tar", "test/c.tar"], ["train/a.tar", "train/b.tar"], ["test/c.tar"]),
    (["Training/b.tar", "Validation/c.tar"], ["Training/b.tar"], ["Validation/c.tar"]),
    (["train/b.tar", "train-0.tar", "test-0.tar"], ["train/b.tar"], []),
    (["a.tar", "b.tar", "notes.txt", ".hidden.tar"], ["a.tar", "b.tar"], []),
    (["trainer.tar", "contest.tar"], ["contest.tar", "trainer.tar"], []),
    (["train0.tar", "test0.tar"], ["train0.tar"], ["test0.tar"]),
])
def test_in_a_folder_training_and_test_shards_go_by_their_names(tmp_path, files, train, test):
    found_train, found_test, unread = found(tmp_path, files)
    assert (found_train, found_test) == (train, test)
    assert sorted(found_train + found_test + unread) == sorted(
        name for name in files if name.lower().endswith(".tar") and not name.startswith("."))


def test_of_several_splits_to_test_on_the_first_is_read_and_the_others_are_said(tmp_path):
    files = ["train-0.tar", "val-0.tar", "test-0.tar", "other.tar"]
    assert found(tmp_path, files) == (["train-0.tar"], ["test-0.tar"], ["other.tar", "val-0.tar"])
    assert found(tmp_path / "in", ["train/a.tar", "valid/b.tar", "val/c.tar", "d.tar"]) == (
        ["train/a.tar"], ["val/c.tar"], ["valid/b.tar", "d.tar"])


@pytest.mark.parametrize(("files", "location", "train", "test"), [
    (["p-train-00.tar", "p-train-01.tar", "p-val-00.tar", "q-val-00.tar"], "p-train-{00..01}.tar",
     ["p-train-00.tar", "p-train-01.tar"], ["p-val-00.tar"]),
    (["p-train-0.tar", "p-test-0.tar", "p-val-0.tar"], "p-train-0.tar", ["p-train-0.tar"], ["p-test-0.tar"]),
    (["train/s-0.tar", "train/s-1.tar", "val/t-5.tar"], "train/s-{0..1}.tar", ["train/s-0.tar", "train/s-1.tar"],
     ["val/t-5.tar"]),
    (["train/train-0.tar", "train/test-0.tar", "val/t-5.tar"], "train/train-0.tar", ["train/train-0.tar"],
     ["train/test-0.tar"]),
    (["s-0.tar", "s-1.tar", "test-0.tar"], "s-{0..1}.tar", ["s-0.tar", "s-1.tar"], []),
])
def test_test_shards_of_a_pattern_have_another_word_for_train(tmp_path, files, location, train, test):
    assert found(tmp_path, files, location) == (train, test, [])


@pytest.mark.parametrize(("files", "location", "words"), [
    ([], "", ["has no tar files"]),
    (["test-0.tar"], "", ["has no tar file with the word train in its name, but test-0.tar"]),
    (["s-1.tar"], "s-{0..9}.tar", ["s-0.tar: there is no such file, like 8 more of the 10 shards"]),
    ([], "s.tar", ["s.tar: there is no such file; expected tar files or a folder of them"]),
    ([], "nowhere/s-{0..1}.tar", ["nowhere/s-0.tar"]),
    ([], "a\0b", ["there is no such file"]),
])
def test_shards_that_are_not_there_are_named(tmp_path, files, location, words):
    with pytest.raises(InputError) as caught:
        found(tmp_path, files, location)
    one_line(caught, *words)
