"""The sheet shows the examples that a run trains on; the command writes it, or says in a line why not."""

import numpy as np
import pytest
from PIL import Image

from nfnumpy.augment import (
    Augmentation,
    ColorJitter,
    Mixing,
    RandomErasing,
    TimmAugmentation,
    TimmRandAugment,
    TrainingExamples,
)
from nfnumpy.augment.__main__ import main
from nfnumpy.augment.sheet import GAP, HEADING, draw_sheet
from nfnumpy.backend import CounterRNG
from nfnumpy.datasets import open_dataset
from reference_tests.helpers.command_line import run_command

SIDE = 96  # on the sheet, of pictures of 8 pixels


def cell(sheet, row, column, side=8):
    """The picture in a cell, of its own size again."""
    left, top = GAP + (SIDE + GAP) * column, HEADING + (SIDE + GAP) * row
    enlarged = np.asarray(sheet)[top:top + SIDE, left:left + SIDE]
    image = enlarged[::SIDE // side, ::SIDE // side]
    assert np.array_equal(np.kron(image, np.ones((SIDE // side, SIDE // side, 1), np.uint8)), enlarged)
    return image


def test_a_sheet_has_a_row_for_each_picture_and_a_column_for_each_epoch():
    split, augmentation = open_dataset("digits").train, Augmentation(8, 2, 5)
    sheet = draw_sheet(TrainingExamples(split, 10, 32, 3, 7, augmentation), [5, 3])
    assert sheet.size == (4 * (SIDE + GAP) + GAP, 2 * (SIDE + GAP) + HEADING)
    for row, index in enumerate((5, 3)):
        assert np.array_equal(cell(sheet, row, 0), split.read(index))
        for epoch in range(3):
            expected = augmentation(split.read_whole(index), CounterRNG(7, epoch), index)
            assert np.array_equal(cell(sheet, row, epoch + 1), expected)


def test_without_augmentation_all_epochs_see_the_picture():
    split = open_dataset("digits").train
    sheet = draw_sheet(TrainingExamples(split, 10, 32, 2, 0), [0])
    assert all(np.array_equal(cell(sheet, 0, column), split.read(0)) for column in range(3))


def test_mixed_examples_are_those_whose_first_picture_it_is():
    split = open_dataset("digits").train
    examples = TrainingExamples(split, 10, 32, 2, 0, mixing=Mixing(0.2, 1.0))
    sheet = draw_sheet(examples, [17])
    for epoch in range(2):
        number = examples.number(epoch, 17)
        assert examples.index(number) == 17 and np.array_equal(cell(sheet, 0, epoch + 1), examples.take([number])[0])


def test_the_command_draws_what_the_flags_of_training_choose(tmp_path, capsys, monkeypatch):
    path = tmp_path / "sheet.png"
    status, _, error = run_command(
        main, capsys, monkeypatch, "show", "digits", "--augment", "timm:rand-m9-inc1", "--mixup", 0.8, "--cutmix", 1,
        "--mixing", "timm", "--color-jitter", 0.4, "--erase", 0.5, "--count", 1, "--epochs", 1, "--out", path)
    assert (status, error) == (0, "")
    split = open_dataset("digits").train
    augmentation = TimmAugmentation(8, TimmRandAugment(9, increasing=True))
    examples = TrainingExamples(split, 10, 32, 1, 0, augmentation, Mixing(0.8, 1.0, "timm"), ColorJitter(0.4),
                                RandomErasing(0.5))
    with Image.open(path) as sheet:
        assert np.array_equal(cell(sheet.convert("RGB"), 0, 1), examples.take([0])[0])


def test_the_command_writes_the_first_pictures_of_the_order(tmp_path, capsys, monkeypatch):
    path = tmp_path / "sheet.png"
    status, printed, error = run_command(main, capsys, monkeypatch, "show", "digits", "--augment", "flip-crop",
                                         "--count", 2, "--epochs", 1, "--seed", 3, "--out", path)
    assert (status, error) == (0, "") and printed == f"{path}: 2 pictures in 1 epochs\n"
    split = open_dataset("digits").train
    order = CounterRNG(3).permutation("order of training images", len(split))
    with Image.open(path) as sheet:
        assert np.array_equal(cell(sheet.convert("RGB"), 1, 0), split.read(order[1]))


@pytest.mark.parametrize("flags, words", [
    (["--count", "0"], ["--count 0"]), (["--epochs", "1000"], ["--epochs 1000"]), (["--augment", "strong"], ["strong"]),
    (["--model", "nf_resnet50"], ["nf_resnet50", "flip-crop"]), (["--model", "f0"], ["did you mean"]),
    (["--mixup", "2"], ["MixUp", "alpha=2"]), (["--erase", "0"], ["erasing"]), (["--color-jitter", "-1"], ["jitter"]),
    (["--batch-size", "0"], ["--batch-size 0"]), (["--augment", "timm:rand-x"], ["'x'"]),
    (["--out", "/nowhere/sheet.png"], ["/nowhere"]), (["--image-size", "0"], ["image_size"])])
def test_mistakes_are_one_line_and_status_2(capsys, monkeypatch, flags, words):
    status, printed, error = run_command(main, capsys, monkeypatch, "show", "digits", *flags)
    assert status == 2 and not printed and error.startswith("error: ") and error.count("\n") == 1
    assert all(word in error for word in words), error


def test_a_picture_that_cannot_be_read_is_left_out_on_demand(capsys, monkeypatch, tmp_path):
    for name in ("train/a/0.png", "train/a/1.png", "train/b/0.png", "test/a/0.png", "test/b/0.png"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "folder" / name)
    (tmp_path / "folder" / "train/a/1.png").write_bytes(b"")
    show = ["show", f"folder:{tmp_path / 'folder'}", "--augment", "none", "--out", tmp_path / "sheet.png"]
    status, _, error = run_command(main, capsys, monkeypatch, *show)
    assert status == 2 and "1.png" in error and "the file is empty" in error
    status, printed, error = run_command(main, capsys, monkeypatch, *show, "--on-bad-image", "skip")
    assert (status, error) == (0, "") and "3 pictures" in printed


def test_a_data_set_that_is_not_there_is_a_line(capsys, monkeypatch, tmp_path):
    status, _, error = run_command(main, capsys, monkeypatch, "show", f"folder:{tmp_path / 'none'}")
    assert status == 2 and "none" in error and error.count("\n") == 1
