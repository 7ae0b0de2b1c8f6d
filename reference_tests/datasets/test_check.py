"""A check reads every image once and finds what was put into the data: sizes, modes, broken files, duplicates."""

import itertools
import json
import shutil
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from nfnumpy import cli, data
from nfnumpy.datasets import ArraySplit, Dataset, open_dataset
from nfnumpy.datasets.check import draw_samples, examine_dataset, sheet, to_json, to_text
from nfnumpy.datasets.check.statistics import histogram, summary
from nfnumpy.datasets.shards import ShardSize, write_dataset
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.helpers.dataset_files import encoded, plain, saved, write_folder


def checked(spec, threads=2):
    return examine_dataset(open_dataset(spec, 8), threads)


@pytest.fixture
def folder(tmp_path):
    """A sound folder: three cats and three dogs to train on, as many to test on, every picture another one."""
    write_folder(tmp_path / "pictures", count=3)
    for index in range(3):
        for number, name in enumerate(("cat", "dog")):
            saved(tmp_path / "pictures" / "test" / name, plain((index, number, 77)), f"{index:04d}.png")
    return tmp_path / "pictures"


def test_a_sound_folder_is_usable_and_nothing_is_found(folder):
    found = checked(f"folder:{folder}")
    assert found.is_usable and not found.broken and not found.duplicates and not found.leaked
    assert {split: counts.tolist() for split, counts in found.counts.items()} == {"train": [3, 3], "test": [3, 3]}
    text = to_text(found)
    assert text.splitlines()[-1] == "usable: every image can be read"
    assert "all 8×8 pixels" in text and "formats: 6 PNG" in text and "modes: 6 colour" in text


def test_an_image_that_is_damaged_after_its_first_frame_can_be_read(folder):
    content = encoded(plain((9, 8, 7)), "GIF")
    assert content.endswith(b";")
    (folder / "train" / "cat" / "damaged.gif").write_bytes(content[:-1] + b",\0")
    found = checked(f"folder:{folder}")
    assert found.is_usable and not found.broken
    assert "formats: 6 PNG, 1 GIF" in to_text(found)


def test_formats_and_modes_are_counted_as_pillow_calls_them(folder):
    cats = folder / "train" / "cat"
    saved(cats, Image.new("CMYK", (8, 8)), "a.jpg")
    saved(cats, Image.new("L", (8, 8), 5), "b.jpg")
    saved(cats, Image.new("P", (8, 8)), "c.png")
    saved(cats, Image.new("RGBA", (8, 8), (9, 9, 9, 9)), "d.png")
    saved(cats, Image.new("1", (8, 8)), "e.png")
    saved(cats, Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "f.png")
    plain((1, 2, 3)).save(cats / "g.webp", save_all=True, append_images=[plain((200, 2, 3))])
    facts = checked(f"folder:{folder}").facts["train"]
    assert facts.formats == {"PNG": 10, "JPEG": 2, "WEBP": 1}
    assert facts.modes == {"RGB": 7, "CMYK": 1, "L": 1, "P": 1, "RGBA": 1, "1": 1, "I;16": 1}
    assert facts.animated == 1


def test_a_turned_picture_has_its_upright_size(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(folder / "train" / "cat", plain((0, 0, 0), (30, 20)), "a.jpg", exif=exif)
    facts = checked(f"folder:{folder}").facts["train"]
    assert sorted(zip(facts.widths.tolist(), facts.heights.tolist(), strict=True))[-1] == (20, 30)


def test_broken_files_are_named_with_the_reason_and_the_rest_is_read(folder):
    cats = folder / "train" / "cat"
    whole = encoded(Image.effect_noise((64, 64), 90), "JPEG")
    (cats / "cut.jpg").write_bytes(whole[:len(whole) // 2])
    (cats / "empty.png").write_bytes(b"")
    (cats / "text.png").write_bytes(b"this is text")
    found = checked(f"folder:{folder}")
    assert not found.is_usable and len(found.broken) == 3
    assert [place.name for place, _ in found.broken] == [str(cats / name) for name in
                                                         ("cut.jpg", "empty.png", "text.png")]
    for place, reason in found.broken:
        assert place.name in reason and "0x" not in reason and place.split == "train" and place.label == 0
    assert found.facts["train"].formats == {"PNG": 6}
    assert to_text(found).splitlines()[-1].startswith("not usable as it is: 3 images are broken; --on-bad-image")
    assert all(reason in to_text(found) for _, reason in found.broken)


def test_a_file_that_cannot_be_opened_is_broken_and_no_duplicate(folder):
    dataset = open_dataset(f"folder:{folder}", 8)
    (folder / "train" / "cat" / "0000.png").unlink()
    (folder / "train" / "dog" / "0001.png").unlink()
    found = examine_dataset(dataset, 2)
    assert len(found.broken) == 2 and not found.duplicates


def test_equal_files_are_found_within_a_class_between_classes_and_between_the_splits(folder):
    pictures = folder / "train"
    shutil.copy(pictures / "cat" / "0000.png", pictures / "cat" / "copy.png")
    shutil.copy(pictures / "cat" / "0001.png", pictures / "dog" / "copy.png")
    shutil.copy(pictures / "cat" / "0002.png", folder / "test" / "cat" / "copy.png")
    found = checked(f"folder:{folder}")
    groups = [({place.name.removeprefix(f"{folder}/") for place in group.places}, group.is_leak, group.is_contradiction)
              for group in found.duplicates]
    assert groups == [({"train/cat/0002.png", "test/cat/copy.png"}, True, False),
                      ({"train/cat/0001.png", "train/dog/copy.png"}, False, True),
                      ({"train/cat/0000.png", "train/cat/copy.png"}, False, False)]
    assert found.leaked == 1 and found.is_usable
    text = to_text(found)
    assert "3 images are a copy of another one" in text
    assert "leak: 1 test image is among the training images too" in text
    assert "1 of the 3 groups of equal images have different labels" in text


def test_the_report_is_the_same_for_any_number_of_threads_and_from_shards(folder, tmp_path):
    saved(folder / "train" / "cat", plain((1, 1, 1), (100, 20)), "wide.jpg")
    (folder / "test" / "dog" / "broken.jpg").write_bytes(b"no")
    shutil.copy(folder / "train" / "cat" / "0000.png", folder / "test" / "dog" / "leak.png")
    write_dataset(open_dataset(f"folder:{folder}", 8), tmp_path / "out", ShardSize(images=3))
    one = to_json(checked(f"folder:{folder}", threads=1))
    assert to_json(checked(f"folder:{folder}", threads=5)) == one
    shards = to_json(checked(f"shards:{tmp_path / 'out'}"))
    for part in ("classes", "train", "test", "usable", "leaked_test_images"):
        assert shards[part] == one[part]
    assert len(shards["broken"]) == len(one["broken"]) == 1


def test_the_report_says_what_is_not_read_and_at_which_size_training_would_be(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("x")
    assert open_dataset(f"folder:{folder}").remarks == (
        *checked(f"folder:{folder}").dataset.remarks, checked(f"folder:{folder}").training_size)
    for line in open_dataset(f"folder:{folder}").remarks:
        assert line in to_text(checked(f"folder:{folder}")).splitlines()
    assert any("1 .txt" in line for line in to_json(checked(f"folder:{folder}"))["remarks"])


def test_without_a_training_image_that_can_be_read_there_is_no_size(folder):
    for path in (folder / "train").rglob("*.png"):
        path.write_bytes(b"no")
    assert to_json(checked(f"folder:{folder}"))["training_size"] is None


def test_a_folder_without_test_images_is_checked_with_a_share_of_it(folder, tmp_path, capsys, monkeypatch):
    status, _, error = run_command(data.main, capsys, monkeypatch, "check", folder / "train")
    expect_one_line(status, error, "--test-share")
    status, printed, _ = run_command(data.main, capsys, monkeypatch, "check", folder / "train", "--test-share", 0.4)
    assert status == 0 and "4 training and 2 test images of 2 classes" in printed
    status, printed, _ = run_command(data.main, capsys, monkeypatch, "shards", folder / "train", tmp_path / "out",
                                     "--test-share", 0.4)
    assert status == 0 and "train-*.tar: 4 images" in printed and "test-*.tar: 2 images" in printed


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_every_repeated_array_is_found_once(train, test):
    """An image of one value: two are equal when their values are."""
    splits = [ArraySplit(np.full((len(values), 4, 4), np.array(values, np.uint8)[:, None, None]), [0] * len(values))
              for values in (train, test)]
    found = examine_dataset(Dataset("x", ("a",), 4, *splits), 2)
    counts = Counter(train + test)
    assert sorted(len(group.places) for group in found.duplicates) == sorted(n for n in counts.values() if n > 1)
    assert found.leaked == sum(value in train for value in test)
    for group in found.duplicates:
        assert len({(train if place.split == "train" else test)[place.index] for place in group.places}) == 1


@given(st.lists(st.integers(1, 100_000), max_size=50))
def test_sizes_are_summed_up(values):
    numbers = np.array(values, dtype=np.int64)
    bars = histogram(numbers)
    assert sum(bar["images"] for bar in bars) == len(values)
    for bar in bars:
        assert bar["images"] == sum(bar["from"] <= value < bar["below"] for value in values)
    assert all(one["below"] == other["from"] for one, other in itertools.pairwise(bars))
    if values:
        assert summary(numbers) == {"min": min(values), "median": statistics.median_low(values), "max": max(values)}
        assert bars[0]["images"] and bars[-1]["images"]
    else:
        assert summary(numbers) is None


def test_of_many_classes_the_text_lists_the_largest_and_the_smallest():
    labels = np.repeat(np.arange(50), np.arange(1, 51))
    images = np.arange(len(labels) * 4, dtype=np.uint32).view(np.uint8).reshape(len(labels), 4, 4)
    split = ArraySplit(images, labels)
    text = to_text(examine_dataset(Dataset("x", tuple(f"c{n}" for n in range(50)), 4, split, split), 1))
    assert "c49 " in text and "c0 " in text and "c20 " not in text and "30 more classes" in text
    assert "50.0 times the training images of the smallest" in text


def test_a_class_without_training_images_is_said():
    split = ArraySplit(np.zeros((2, 4, 4), np.uint8), [0, 2])
    text = to_text(examine_dataset(Dataset("x", ("a", "b", "c"), 4, split, split), 1))
    assert "1 of the classes have no training image" in text


def test_the_sheet_shows_pictures_of_every_class_in_its_row(folder):
    saved(folder / "train" / "dog", plain((0, 200, 0), (300, 150)), "wide.png")
    (folder / "train" / "dog" / "zz.png").write_bytes(b"no")
    drawn = np.asarray(draw_samples(checked(f"folder:{folder}")))
    step = sheet.CELL + sheet.GAP

    def centre(row, column):
        return drawn[sheet.MARGIN + sheet.HEADING + step * row + sheet.CELL // 2,
                     sheet.MARGIN + sheet.LABELS + step * column + sheet.CELL // 2].tolist()

    assert [centre(0, column) for column in range(3)] == [[255, index, 0] for index in range(3)]
    assert [centre(1, column) for column in range(4)] == [[0, index, 255] for index in range(3)] + [[0, 200, 0]]
    assert centre(0, 3) == [255, 255, 255] and centre(1, 4) != [255, 255, 255]
    above = drawn[sheet.MARGIN + sheet.HEADING + step + 10, sheet.MARGIN + sheet.LABELS + step * 3 + sheet.CELL // 2]
    assert above.tolist() == list(sheet.PLACE)  # a wide picture keeps its proportions


def test_the_sheet_of_a_thousand_classes_has_rows_for_forty():
    labels = np.arange(1000)
    split = ArraySplit(np.zeros((1000, 4, 4), np.uint8), labels)
    drawn = draw_samples(examine_dataset(Dataset("x", tuple("\n" * 9 + str(n) for n in labels), 4, split, split), 1))
    assert drawn.height == 2 * sheet.MARGIN + sheet.HEADING + (sheet.CELL + sheet.GAP) * 40


def test_the_command_prints_the_report_and_writes_json_and_picture(folder, tmp_path, capsys, monkeypatch):
    arguments = ("check", folder, "--json", tmp_path / "found.json", "--picture", tmp_path / "sheet.png")
    status, printed, _ = run_command(data.main, capsys, monkeypatch, *arguments)
    assert status == 0
    assert printed.startswith(f"folder:{folder}: 6 training and 6 test images of 2 classes\n")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == to_json(checked(f"folder:{folder}"))
    assert found["classes"] == [{"name": "cat", "train": 3, "test": 3}, {"name": "dog", "train": 3, "test": 3}]
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"
    (folder / "train" / "cat" / "broken.png").write_bytes(b"no")
    status, printed, _ = run_command(data.main, capsys, monkeypatch, *arguments)
    assert status == 2 and str(folder / "train" / "cat" / "broken.png") in printed
    assert not json.loads((tmp_path / "found.json").read_text())["usable"]


def test_without_a_terminal_the_progress_is_lines_on_the_error_stream(folder, capsys, monkeypatch):
    monkeypatch.setattr(cli, "SECONDS_BETWEEN_LINES", -1.0)
    _, _, errors = run_command(data.main, capsys, monkeypatch, "check", folder)
    assert errors.splitlines() == ["check: 6 of 12 images", "check: 12 of 12 images"]


def test_a_name_cannot_control_the_terminal(folder, capsys, monkeypatch):
    (folder / "train" / "cat" / "a\x1b[2Jb\nc.png").write_bytes(b"no")
    (folder / "train" / "dog\x1b[0m").mkdir()
    saved(folder / "train" / "dog\x1b[0m", plain((3, 3, 3)))
    _, printed, _ = run_command(data.main, capsys, monkeypatch, "check", folder)
    assert "\x1b" not in printed and "dog\\x1b[0m" in printed


@pytest.mark.parametrize(("arguments", "words"), [
    (["digits", "--json", "nowhere/x.json"], ["--json", "nowhere/x.json"]),
    (["digits", "--picture", "nowhere/x.png"], ["--picture"]),
    (["folder:nowhere"], ["nowhere"]),
    (["something"], ["something", "folder:DIR"]),
    ([], ["DATA"]),
])
def test_a_check_that_cannot_be_made_is_one_line(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, _, error = run_command(data.main, capsys, monkeypatch, "check", *arguments)
    expect_one_line(status, error, *words)
