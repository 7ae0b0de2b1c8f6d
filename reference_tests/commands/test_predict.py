"""`python -m nfnumpy.predict`: classifies pictures, and refuses what is not a checkpoint or a picture."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st
from PIL import Image

from nfnumpy import InputError, datasets, models, predict, weights
from nfnumpy.backend import blas_threads
from nfnumpy.training import checkpoint, classifier, load_classifier, train
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.helpers.dataset_files import png_declaring
from reference_tests.weights.test_formats import written


@pytest.fixture
def command(capsys, monkeypatch):
    """The predicting command: arguments -> (status, standard output, error stream)."""
    return lambda *arguments: run_command(predict.main, capsys, monkeypatch, *arguments)


@pytest.fixture(scope="session")
def checkpoint_path(finished_run):
    """The checkpoint of a short run on a few digits."""
    return finished_run / "checkpoint.safetensors"


@pytest.fixture
def digit(tmp_path):
    """A picture of a digit."""
    path = tmp_path / "digit.png"
    Image.fromarray(datasets.open_dataset("digits").test.read(0)).save(path)
    return path


def test_pictures_of_test_digits_are_recognized(command, tmp_path):
    """Of 40 at least 36, after an epoch on the embedded digits; probabilities fall from left to right."""
    train({"epochs": 1, "batch_size": 16, "warmup_epochs": 0.3, "out": str(tmp_path / "run")})
    test = datasets.open_dataset("digits").test
    paths = [tmp_path / f"{k}.png" for k in range(40)]
    for k, path in enumerate(paths):
        Image.fromarray(test.read(k)).save(path)
    status, printed, _ = command(tmp_path / "run" / "checkpoint.safetensors", *paths, "--top", 3)
    lines = [line for line in printed.splitlines() if ".png: " in line]
    assert status == 0 and len(lines) == 40
    right = 0
    for path, line, label in zip(paths, lines, test.labels[:40], strict=True):
        name, _, guesses = line.partition(": ")
        classes, shares = zip(*(guess.split(" ")[:2] for guess in guesses.split(", ")), strict=True)
        assert name == str(path) and len(classes) == 3
        assert [float(share) for share in shares] == sorted(map(float, shares), reverse=True)
        right += classes[0] == str(label)
    assert right >= 36


def test_probabilities_are_those_of_the_model_on_the_same_pixels(checkpoint_path):
    averaged = load_classifier(checkpoint_path)
    images = datasets.open_dataset("digits").test.take(np.arange(5))
    probabilities = averaged.probabilities(images)
    # A softmax over ten classes: ten roundings of the sum and one a class.
    assert np.abs(probabilities.sum(axis=1) - 1.0).max() <= 16 * np.finfo(np.float32).eps
    assert not np.array_equal(probabilities, load_classifier(checkpoint_path, averaged=False).probabilities(images))


@pytest.mark.parametrize("kind", ["our safetensors", "timm's safetensors", "PyTorch", "authors' pickle, protocol 4"])
@pytest.mark.parametrize("classes", [7, 1000])
def test_weights_of_any_origin_classify_alike(command, tmp_path, digit, kind, classes):
    """Their shapes determine the variant."""
    model = models.create("nfnet_8px", num_classes=classes, seed=3)
    path = written(tmp_path / "weights", kind, model.state_dict())
    status, printed, _ = command(path, digit, "--top", 2)
    probabilities = load_classifier(path).probabilities(datasets.read_image(digit, 8)[None])[0]
    best = probabilities.argsort()[::-1][:2]
    names = datasets.imagenet_classes() if classes == 1000 else [f"class {k}" for k in range(classes)]
    expected = ", ".join(f"{names[k]} {100 * probabilities[k]:.2f} %" for k in best)
    assert status == 0 and printed == f"{digit}: {expected}\n"
    assert np.array_equal(load_classifier(path).model.linear.weight.numpy(), model.linear.weight.numpy())


def test_a_checkpoint_converted_to_timm_classifies_as_before(tmp_path, checkpoint_path):
    weights.convert(checkpoint_path, tmp_path / "weights.safetensors", "timm")
    images = datasets.open_dataset("digits").test.take(np.arange(3))
    one, other = (load_classifier(path) for path in (checkpoint_path, tmp_path / "weights.safetensors"))
    assert np.array_equal(one.probabilities(images), other.probabilities(images))
    assert one.transform == other.transform == (8, 0, True)


@pytest.mark.parametrize("variant", ["resnet_8px", "se_resnext_8px", "efficientnet_8px"])
@pytest.mark.parametrize("fold", ["on", "off"])
def test_weights_with_running_statistics_under_timms_names_classify_as_the_network_does(
        command, tmp_path, digit, variant, fold):
    model = models.create(variant, num_classes=7, seed=3)
    model.load_state_dict({name: array + 0.25 if name.endswith("running_variance") else array
                           for name, array in model.state_dict().items()})
    path = written(tmp_path / "weights", "PyTorch", model.state_dict())
    status, printed, _ = command(path, digit, "--top", 1, "--fold", fold)
    probabilities = classifier.Classifier(model, (), classifier.EvalTransform(8)).probabilities(
        datasets.read_image(digit, 8)[None])[0]
    expected = f"class {probabilities.argmax()} {100 * probabilities.max():.2f} %"
    assert status == 0 and printed == f"{digit}: {expected}\n"


def test_colors_are_normalized_as_the_weights_were_trained(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    model = models.create("resnet_8px", dtype="float64")
    one = classifier.Classifier(model, (), classifier.EvalTransform(8))
    expected = model((images / 255.0 - 0.5) / 0.5).numpy()
    found = one.with_normalization("inception").logits(images)
    # Some roundings of the pixels, which the layers can only add up.
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()
    assert np.abs(one.logits(images) - expected).max() > 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("variant, expected", [("nfnet_f0", (256, 32, False)), ("nfnet_f6", (576, 32, False)),
                                               ("nf_regnet_b0", (224, 32, True)), ("nf_resnet50", (224, 32, True)),
                                               ("nfnet_32px", (32, 0, True)), ("resnet50", (224, 32, True)),
                                               ("efficientnet_b7", (600, 32, True)), ("inception_v3", (299, 43, True))])
def test_pictures_are_shown_as_the_authors_evaluate_a_variant(variant, expected):
    assert classifier.eval_transform(models.config_of(variant)) == expected


@pytest.mark.parametrize("keep_aspect, whole", [(False, (12, 12)), (True, (24, 12))])
def test_a_picture_is_resized_and_its_centre_cut_out(tmp_path, keep_aspect, whole):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.png")
    left = (whole[0] - 8) // 2
    top = (whole[1] - 8) // 2
    expected = picture.resize(whole, Image.Resampling.BICUBIC).crop((left, top, left + 8, top + 8))
    read = datasets.read_image(tmp_path / "picture.png", 8, crop_margin=4, keep_aspect=keep_aspect)
    assert np.array_equal(read, expected)


def test_the_thousand_names_are_those_of_ilsvrc_2012_in_order():
    names = datasets.imagenet_classes()
    assert len(set(names)) == 1000
    assert (names[0], names[1], names[207], names[281], names[999]) == (
        "tench", "goldfish", "golden retriever", "tabby", "toilet tissue")
    assert (names[134], names[517]) == ("crane (n02012849)", "crane (n03126707)")
    lines = (datasets.embedded.embedded_directory("imagenet", "names") / "classes.txt").read_text().splitlines()
    numbers = [line.split(" ")[0] for line in lines]
    assert numbers == sorted(numbers) and all(re.fullmatch(r"n\d{8}", number) for number in numbers)


@pytest.mark.parametrize("state, complaint", [
    ({"a": np.zeros(3)}, "no variant has names"), ("altered", "nearest is nfnet_8px.*linear.weight")])
def test_weights_of_no_variant_are_one_line_with_the_nearest(command, tmp_path, state, complaint):
    if state == "altered":
        state = models.create("nfnet_8px").state_dict() | {"linear.weight": np.zeros((5, 10), np.float32)}
    weights.save(tmp_path / "w", state)
    status, _, error = command(tmp_path / "w", "picture.png")
    expect_one_line(status, error)
    assert re.search(complaint, error)


@pytest.mark.parametrize("make", ["missing", "text", "empty", "folder"])
def test_what_is_not_a_picture_is_one_line_that_names_it(command, tmp_path, checkpoint_path, make):
    path = tmp_path / "picture.png"
    if make == "folder":
        path.mkdir()
    elif make != "missing":
        content = b"hello" if make == "text" else b""
        path.write_bytes(content)
    expect_one_failed(command(checkpoint_path, path), "picture.png")


def expect_one_failed(finished_command, *words):
    """Status 1 and one line on the error stream with these words; returns standard output."""
    status, printed, error = finished_command
    expect_one_line(status + 1, error, *words)
    return printed


def test_pictures_after_a_bad_one_are_classified_too(command, tmp_path, checkpoint_path, digit):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    printed = expect_one_failed(command(checkpoint_path, digit, bad, digit), bad)
    assert [line.partition(": ")[0] for line in printed.splitlines()] == [str(digit)] * 2


def test_several_bad_pictures_are_named_once_more_at_the_end(command, tmp_path, checkpoint_path, digit):
    status, printed, error = command(checkpoint_path, digit, *(tmp_path / f"{k}.png" for k in range(7)))
    *lines, last = error.splitlines()
    assert status == 1 and printed.count("\n") == 1 and len(lines) == 7
    assert "7 of 8" in last and "4.png" in last and "5.png" not in last and last.endswith(", …")


@pytest.fixture
def gallery(tmp_path, digit):
    """A folder with a digit, a broken file, and a digit one folder below."""
    (tmp_path / "gallery" / "inner").mkdir(parents=True)
    for name in ("a.png", "inner/c.png"):
        (tmp_path / "gallery" / name).write_bytes(digit.read_bytes())
    (tmp_path / "gallery" / "b.png").write_bytes(b"no picture")
    return tmp_path / "gallery"


def test_json_and_csv_have_a_line_for_every_picture_in_order(command, checkpoint_path, gallery, digit):
    """Also for those that failed; the probabilities are those of the model, to six digits."""
    expected = load_classifier(checkpoint_path).probabilities(datasets.read_image(digit, 8)[None])[0]
    best = np.argsort(-expected)[:3]
    as_json = expect_one_failed(command(checkpoint_path, digit, gallery, "--json", "--top", 3), "b.png")
    as_csv = expect_one_failed(command(checkpoint_path, digit, gallery, "--csv", "--top", 3), "b.png")
    objects = [json.loads(line) for line in as_json.splitlines()]
    rows = list(csv.DictReader(as_csv.splitlines()))
    paths = [str(path) for path in (digit, gallery / "a.png", gallery / "b.png", gallery / "inner" / "c.png")]
    assert [record["file"] for record in objects] == [row["file"] for row in rows] == paths
    for position, (record, row) in enumerate(zip(objects, rows, strict=True)):
        if position == 2:
            assert "b.png" in record["error"] and row["error"] == record["error"] and row["class_1"] == ""
            continue
        assert row["error"] == "" and "error" not in record
        for k, guess in enumerate(record["classes"]):
            assert guess["class"] == row[f"class_{k + 1}"] == str(best[k])
            assert guess["probability"] == float(row[f"probability_{k + 1}"])
            assert guess["probability"] == pytest.approx(expected[best[k]], rel=1e-5)  # six digits, other batches


def test_paths_are_read_from_standard_input(command, checkpoint_path, gallery, digit, monkeypatch):
    """One a line, or separated by NUL characters, which leaves every name possible."""
    odd = os.path.join(os.fsencode(gallery), b"line\nbreak\xff.png")
    with open(odd, "wb") as file:
        file.write(digit.read_bytes())
    for arguments, listed in ((["-", "-0"], odd + b"\0\0" + os.fsencode(digit)),
                              (["-", digit], os.fsencode(gallery / "a.png") + b"\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
        status, printed, error = command(checkpoint_path, *arguments)
        assert status == 0 and error == "" and printed.count("\n") == 2 and str(digit) in printed.splitlines()[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(odd)))
    found = json.loads(command(checkpoint_path, "-", "-0", "--json")[1])
    assert os.fsencode(found["file"]) == odd


def test_nothing_on_standard_input_is_nothing_to_do(command, checkpoint_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert command(checkpoint_path, "-") == (0, "", "")
    monkeypatch.setattr(sys, "stdin", None)
    status, _, error = command(checkpoint_path, "-")
    expect_one_line(status, error, "standard input is closed")


def test_a_folder_without_pictures_is_named_and_the_rest_goes_on(command, checkpoint_path, tmp_path, digit):
    (tmp_path / "empty").mkdir()
    printed = expect_one_failed(command(checkpoint_path, tmp_path / "empty", digit), "empty", "no images")
    assert printed.startswith(str(digit))


def test_more_classes_than_there_are_print_all(command, tmp_path, digit):
    weights.save(tmp_path / "w", models.create("nfnet_8px", num_classes=1).state_dict())
    assert command(tmp_path / "w", digit, "--top", 7) == (0, f"{digit}: class 0 100.00 %\n", "")
    table = command(tmp_path / "w", digit, "--top", 7, "--csv")[1]
    assert table == f"file,class_1,probability_1,error\n{digit},class 0,1.0,\n"


def test_weights_that_are_not_finite_are_one_error_for_all_pictures(command, tmp_path, digit):
    state = models.create("nfnet_8px", num_classes=3).state_dict()
    weights.save(tmp_path / "w", state | {"linear.bias": np.full(3, np.nan, np.float32)})
    status, printed, error = command(tmp_path / "w", digit, digit, digit)
    expect_one_line(status, error, "linear.bias is not finite")
    assert printed == ""


def test_a_closed_pipe_ends_the_command(checkpoint_path, gallery, digit):
    """The program that reads the first line ends; the rest is not computed, and there is no traceback."""
    command = [sys.executable, "-m", "nfnumpy.predict", checkpoint_path, *[digit] * 3, "--batch-size", "1"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as output:
        finished = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=60)
    assert finished.returncode == 141 and finished.stderr == b""


def test_a_picture_above_the_limit_of_pixels_names_the_option(command, tmp_path, checkpoint_path, digit):
    """The option raises or lowers the limit, up to twice the default."""
    expect_one_failed(command(checkpoint_path, digit, "--max-pixels", 63), digit, "8x8 pixels are more than 63",
                      "--max-pixels")
    assert command(checkpoint_path, digit, "--max-pixels", 64)[0] == 0
    (tmp_path / "large.png").write_bytes(png_declaring(10_000, 10_000))
    expect_one_failed(command(checkpoint_path, tmp_path / "large.png"), "--max-pixels", "178956970")


def test_control_characters_in_names_are_escaped(command, tmp_path, checkpoint_path, digit):
    """Names of classes come from a file and may hold control sequences of a terminal, as may names of pictures."""
    groups, facts = checkpoint.load(checkpoint_path)
    classes = [f"\x1b[2J{name}\n" for name in facts["classes"]]
    checkpoint.save(tmp_path / "hostile", groups, {**facts, "classes": classes})
    picture = digit.rename(tmp_path / "\x1b]0;title\x07.png")
    status, printed, _ = command(tmp_path / "hostile", picture, "--top", 1)
    assert status == 0 and printed.count("\n") == 1 and printed[:-1].isprintable()
    assert r"\x1b]0;title\x07.png: \x1b[2J" in printed


@pytest.mark.parametrize("arguments", [[], ["only_checkpoint"], ["a", "b", "--top", "0"], ["a", "b", "--top", "x"],
                                       ["missing.safetensors", "b.png"], ["a", "b", "--max-pixels", "0"],
                                       ["a", "b", "--batch-size", "0"], ["a", "b", "--workers", "0"],
                                       ["a", "b", "--json", "--csv"]])
def test_bad_arguments_are_one_line_and_status_2(command, arguments):
    status, _, error = command(*arguments)
    expect_one_line(status, error)


def test_a_number_of_threads_that_is_none_is_one_error(command, checkpoint_path, digit, monkeypatch):
    """One for the command, and not one for every picture or in the name of an operation."""
    monkeypatch.setenv("NFNUMPY_THREADS", "many")
    blas_threads.thread_count.cache_clear()
    try:
        status, _, error = command(checkpoint_path, digit, digit)
    finally:
        monkeypatch.undo()
        blas_threads.thread_count.cache_clear()
    expect_one_line(status, error, "NFNUMPY_THREADS", "many")
    assert error.startswith("error: NFNUMPY_THREADS")


def test_a_checkpoint_cut_anywhere_is_refused_in_one_line(checkpoint_path, tmp_path):
    content = checkpoint_path.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in [0, 1, 7, 8, 9, 100, 5000, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.safetensors") as refusal:
            load_classifier(path)
        assert "\n" not in str(refusal.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**9) | st.text(max_size=3) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=4)


@settings(max_examples=100)
@given(data=st.data())
def test_a_checkpoint_with_any_fact_replaced_loads_or_is_refused(checkpoint_path, tmp_path_factory, data):
    state, metadata = weights.read(checkpoint_path)
    facts = json.loads(metadata["nfnumpy"])
    key = data.draw(st.sampled_from(sorted(facts)))
    if isinstance(facts[key], dict) and data.draw(st.booleans()):
        inner = data.draw(st.sampled_from(sorted(facts[key])))
        facts[key][inner] = data.draw(values)
    else:
        facts[key] = data.draw(values)
    path = tmp_path_factory.getbasetemp() / "altered.safetensors"
    path.write_bytes(safetensors.numpy.save(state, {"nfnumpy": json.dumps(facts)}))
    try:
        assert load_classifier(path).model.parameters()
    except InputError as refusal:
        assert "\n" not in str(refusal)
