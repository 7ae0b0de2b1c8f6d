"""`python -m nfnumpy.predict`: classifies pictures, and refuses what is not a checkpoint or a picture."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st
from command_line import run_command
from PIL import Image

from nfnumpy import InputError, datasets, predict, weights
from nfnumpy.training import load_classifier, train


@pytest.fixture(scope="module")
def checkpoint_path(tmp_path_factory):
    """A checkpoint of a short run on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train({"epochs": 3, "batch_size": 64, "out": str(folder)})
    return folder / "checkpoint.safetensors"


def run(capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command."""
    return run_command(predict.main, capsys, monkeypatch, *arguments)


def test_pictures_of_test_digits_are_mostly_recognized_and_probabilities_fall(capsys, monkeypatch, tmp_path,
                                                                            checkpoint_path):
    test = datasets.open_dataset("digits").test
    paths = [tmp_path / f"{k}.png" for k in range(40)]
    for k, path in enumerate(paths):
        Image.fromarray(test.read(k)).save(path)
    status, printed, _ = run(capsys, monkeypatch, checkpoint_path, *paths, "--top", 3)
    lines = printed.splitlines()
    assert status == 0 and len(lines) == 40
    right = 0
    for path, line, label in zip(paths, lines, test.labels):
        name, _, guesses = line.partition(": ")
        classes, shares = zip(*(guess.split(" ")[:2] for guess in guesses.split(", ")))
        assert name == str(path) and len(classes) == 3
        assert [float(share) for share in shares] == sorted(map(float, shares), reverse=True)
        right += classes[0] == str(label)
    assert right >= 36


def test_probabilities_are_those_of_the_model_on_the_same_pixels(checkpoint_path):
    classifier = load_classifier(checkpoint_path)
    images = datasets.open_dataset("digits").test.take(np.arange(5))
    probabilities = classifier.probabilities(images)
    # A softmax over ten classes: ten roundings of the sum and one a class.
    assert np.abs(probabilities.sum(axis=1) - 1.0).max() <= 16 * np.finfo(np.float32).eps
    assert not np.array_equal(probabilities, load_classifier(checkpoint_path, averaged=False).probabilities(images))


@pytest.mark.parametrize("make", ["missing", "text", "empty", "folder"])
def test_what_is_not_a_picture_is_one_line_that_names_it(capsys, monkeypatch, tmp_path, checkpoint_path, make):
    path = tmp_path / "picture.png"
    if make == "folder":
        path.mkdir()
    elif make != "missing":
        path.write_bytes(b"hello" if make == "text" else b"")
    status, _, error = run(capsys, monkeypatch, checkpoint_path, path)
    assert status == 2 and error.count("\n") == 1 and "picture.png" in error


@pytest.mark.parametrize("arguments", [[], ["only_checkpoint"], ["a", "b", "--top", "0"], ["a", "b", "--top", "x"],
                                       ["missing.safetensors", "b.png"]])
def test_bad_arguments_are_one_line_and_status_2(capsys, monkeypatch, arguments):
    status, _, error = run(capsys, monkeypatch, *arguments)
    assert status == 2 and error.count("\n") == 1 and error.startswith("error: ")


def test_a_checkpoint_cut_anywhere_is_refused_in_one_line(checkpoint_path, tmp_path):
    content, path = checkpoint_path.read_bytes(), tmp_path / "cut.safetensors"
    for length in [0, 1, 7, 8, 9, 100, 5000, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="cut.safetensors") as refusal:
            load_classifier(path)
        assert "\n" not in str(refusal.value)


values = st.recursive(st.none() | st.booleans() | st.integers(-2, 10**9) | st.text(max_size=3) | st.floats(),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                      max_leaves=4)


@settings(max_examples=100)
@given(data=st.data())
def test_a_checkpoint_with_any_fact_replaced_by_anything_loads_or_is_refused_by_an_input_error(
        checkpoint_path, tmp_path_factory, data):
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
