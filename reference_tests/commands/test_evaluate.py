"""`python -m nfnumpy.evaluate`: what it prints and writes, and what it refuses in one line."""

import csv
import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from nfnumpy import cli, evaluate, models, weights
from nfnumpy.datasets import open_dataset
from nfnumpy.evaluation.files import FILES, PICTURES, TABLES
from nfnumpy.training import checkpoint
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.helpers.dataset_files import write_folder


@pytest.fixture
def command(capsys, monkeypatch):
    """The evaluating command: arguments -> (status, standard output, error stream)."""
    return lambda *arguments: run_command(evaluate.main, capsys, monkeypatch, *arguments)


@pytest.fixture(scope="session")
def trained(finished_run):
    """The checkpoint of a short run on a few digits."""
    return finished_run / "checkpoint.safetensors"


@pytest.fixture(scope="session")
def evaluated(trained, few_digits, tmp_path_factory):
    """The folder of an evaluation of it on its test images."""
    folder = tmp_path_factory.mktemp("evaluated") / "made" / "here"
    evaluate.main([str(trained), "--data", f"idx:{few_digits}", "--raw", "--out", str(folder)])
    return folder


@pytest.fixture
def pets(tmp_path):
    """Weights of two classes without names, and a folder of cats and dogs."""
    weights.save(tmp_path / "w", models.create("nfnet_8px", num_classes=2, seed=1).state_dict())
    return tmp_path / "w", f"folder:{write_folder(tmp_path / 'pets')}"


def table(path):
    """The rows of a CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_an_evaluation_writes_its_report_tables_and_pictures(evaluated, finished_run):
    assert sorted(os.listdir(evaluated)) == sorted(FILES)
    report = json.loads((evaluated / "report.json").read_text())
    last = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (report["accuracy"], report["loss"]) == (last["test_accuracy"], last["test_loss"])
    assert (report["weights"], report["images"], report["split"]) == ("last weights", 8, "test")
    for name in PICTURES:
        with Image.open(evaluated / name) as picture:
            assert min(picture.size) > 100


def test_the_tables_agree_with_the_report(evaluated):
    report = json.loads((evaluated / "report.json").read_text())
    heading, *rows = table(evaluated / "confusion.csv")
    matrix = np.array([[int(cell) for cell in row[1:]] for row in rows])
    assert heading[1:] == [row[0] for row in rows] == [entry["class"] for entry in report["classes"]]
    assert matrix.sum() == report["images"] and np.trace(matrix) == round(8 * report["accuracy"])
    assert sum(pair["images"] for pair in report["confusions"]) == matrix.sum() - np.trace(matrix)
    for entry, row in zip(report["classes"], table(evaluated / "per_class.csv")[1:], strict=True):
        assert [entry["class"], str(entry["images"])] == row[:2]
        assert row[5] == ("" if entry["recall"] is None else str(entry["recall"]))
    wrong = table(evaluated / "mistakes.csv")[1:]
    assert len(wrong) == matrix.sum() - np.trace(matrix)
    assert [row[0] for row in wrong] == [mistake["name"] for mistake in report["mistakes"]]
    shares = [float(row[3]) for row in wrong]
    assert shares == sorted(shares, reverse=True)


def test_the_summary_says_what_was_found(command, trained, few_digits, tmp_path):
    status, printed, error = command(trained, "--data", f"idx:{few_digits}", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert status == 0 and error == "" and "averaged weights" in printed and "8 images of 8 px" in printed
    for words in (f"{100 * report['accuracy']:.2f} %", f"{report['loss']:.4f}", "top-5", "calibration", "images/s"):
        assert words in printed
    assert os.listdir(tmp_path) == ["r.json"]


def test_without_a_terminal_the_progress_is_lines_on_the_error_stream(command, trained, few_digits, monkeypatch):
    monkeypatch.setattr(cli, "SECONDS_BETWEEN_LINES", -1.0)
    errors = command(trained, "--data", f"idx:{few_digits}", "--batch-size", 5)[2]
    assert errors.splitlines() == ["evaluate: 5 of 8 images", "evaluate: 8 of 8 images"]


def test_the_training_images_can_be_evaluated(command, trained, few_digits):
    assert "24 images" in command(trained, "--data", f"idx:{few_digits}", "--split", "train")[1]


def test_weights_without_names_take_the_datas(command, pets, tmp_path):
    path, data = pets
    status, printed, _ = command(path, "--data", data, "--image-size", 8, "--out", tmp_path / "out")
    assert status == 0 and "do not name their classes" in printed and "top-5" not in printed
    mistakes = table(tmp_path / "out" / "mistakes.csv")[1:]
    assert mistakes and {os.path.dirname(row[0]).endswith(row[1]) for row in mistakes} == {True}


def test_test_images_need_no_training_images_beside_them(command, pets, tmp_path):
    path, data = pets
    arguments = (path, "--data", data, "--image-size", 8, "--json", tmp_path / "report.json")
    reports = []
    for _ in range(2):
        assert command(*arguments)[0] == 0
        reports.append(json.loads((tmp_path / "report.json").read_text()))
        shutil.rmtree(tmp_path / "pets" / "train", ignore_errors=True)
    for report in reports:
        del report["seconds"], report["waited_seconds"], report["images_per_second"]
    assert reports[0] == reports[1] and reports[0]["images"] == 6
    status, _, error = command(*arguments, "--split", "train")
    expect_one_line(status, error, "--split train", "pets")


def test_without_matplotlib_everything_else_is_written(command, trained, few_digits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, printed, _ = command(trained, "--data", f"idx:{few_digits}", "--out", tmp_path / "out")
    assert status == 0 and "nfnumpy[plots]" in printed and sorted(os.listdir(tmp_path / "out")) == sorted(TABLES)


def test_one_class_can_be_evaluated(command, tmp_path):
    """A model of one class, right by definition, on data of that class among others."""
    weights.save(tmp_path / "w", models.create("nfnet_8px", num_classes=1).state_dict())
    for split in ("train", "test"):
        (tmp_path / "data" / split / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / split / "cat" / "1.png")
    status, printed, _ = command(tmp_path / "w", "--data", f"folder:{tmp_path / 'data'}", "--out", tmp_path / "out")
    assert status == 0 and "100.00 %" in printed and len(os.listdir(tmp_path / "out")) == len(FILES)


def test_names_that_are_not_text_are_escaped(command, trained, tmp_path):
    """Names of classes are those of a checkpoint and may hold anything."""
    groups, facts = checkpoint.load(trained)
    names = ["\x1b[2J", "a\nb", "$x$", "=1+1", "\udcff", *facts["classes"][5:]]
    checkpoint.save(tmp_path / "hostile", groups, {**facts, "classes": names})
    test = open_dataset("digits").test
    for split in ("train", "test"):
        for number, name in enumerate(names):
            folder = os.path.join(os.fsencode(tmp_path / "data" / split), os.fsencode(name))
            os.makedirs(folder)
            Image.fromarray(test.read(number)).save(os.path.join(folder, b"\xff.png"), "PNG")
    status, printed, error = command(tmp_path / "hostile", "--data", f"folder:{tmp_path / 'data'}", "--out",
                                     tmp_path / "out")
    assert status == 0 and error == "" and printed.replace("\n", "").isprintable()
    assert len(os.listdir(tmp_path / "out")) == len(FILES)
    mistakes = json.loads((tmp_path / "out" / "report.json").read_text())["mistakes"]
    assert all(os.path.exists(mistake["name"]) for mistake in mistakes)


@pytest.mark.parametrize("arguments, words", [
    (["missing.safetensors", "--data", "digits"], ["missing.safetensors"]), (["w"], ["--data"]),
    (["w", "--data", "mnist"], ["mnist", "digits"]), (["w", "--data", "digits"], ["2 classes", "10"]),
    (["w", "--data", "folder:pets", "--batch-size", "0"], ["--batch-size 0"]),
    (["w", "--data", "folder:pets", "--image-size", "-1"], ["--image-size -1"]),
    (["w", "--data", "folder:pets", "--max-pixels", "0"], ["max"]),
    (["w", "--data", "folder:pets", "--out", "w"], ["--out w"]),
    (["w", "--data", "folder:pets", "--out", "w/x"], ["--out w/x"]),
    (["w", "--data", "folder:pets", "--json", "no/where.json"], ["--json no/where.json"]),
    (["w", "--data", "folder:pets", "--split", "all"], ["--split"]),
])
def test_what_cannot_be_used_is_one_line(command, pets, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, printed, error = command(*arguments)
    expect_one_line(status, error, *words)
    assert printed == ""


def test_classes_that_the_model_does_not_know_are_named(command, trained, pets):
    status, _, error = command(trained, "--data", pets[1])
    expect_one_line(status, error, "does not know 2", "'cat', 'dog'", "'0'")


def test_an_image_that_cannot_be_read_is_named(command, pets, tmp_path):
    (tmp_path / "pets" / "test" / "cat" / "0001.png").write_bytes(b"")
    status, _, error = command(pets[0], "--data", pets[1], "--out", tmp_path / "out")
    expect_one_line(status, error, "0001.png")


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(command, pets, tmp_path):
    """A folder where a file should go cannot be replaced by one."""
    (tmp_path / "out" / "confusion.csv").mkdir(parents=True)
    status, printed, error = command(pets[0], "--data", "folder:not-looked-at", "--out", tmp_path / "out")
    expect_one_line(status, error, "--out", "confusion.csv")
    assert printed == ""
