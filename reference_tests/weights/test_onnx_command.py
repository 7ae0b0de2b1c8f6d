"""The command `export`: from a checkpoint or a file of weights to a file that serves pictures as predict does."""

import importlib.util
import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import nfnumpy as nf
from nfnumpy.datasets.preprocessing import to_input
from nfnumpy.training import checkpoint, load_classifier
from nfnumpy.verify.tolerance import allowed
from nfnumpy.weights import __main__ as command
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.weights.test_formats import written
from reference_tests.weights.test_onnx_export import expect_close, with_random_weights

SEVEN = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "seven.png")


@pytest.fixture
def export(capsys, monkeypatch, tmp_path):
    """export(arguments…) runs the command in an empty folder with two models: (status, output, error stream)."""
    monkeypatch.chdir(tmp_path)
    config = nf.models.config_of("nfnet_8px", num_classes=3)
    state, averaged = (with_random_weights(config, seed=seed).state_dict() for seed in (1, 2))
    written(tmp_path / "weights.pth", "PyTorch", state)
    facts = {"step": 5, "ema_updates": 5, "options": {}, "family": "NFNetConfig",
             "config": {**vars(config), "activation": "silu"}, "classes": ["Katze", "Hünd\n", "\ud800"],
             "image_size": 9, "progress": {}}
    checkpoint.save("run.safetensors", {"model": state, "ema": averaged, "velocity": state}, facts)
    return lambda *arguments: run_command(command.main, capsys, monkeypatch, "export", *arguments)


def logits_of(path, images):
    """What onnxruntime computes with the file at `path`."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["logits"], {"images": images})[0]


def in_float64(model, images):
    """The logits of `model` computed in float64."""
    exact = nf.models.from_config(model.config, dtype="float64")
    exact.load_state_dict(model.state_dict(), cast=True)
    return exact(images.astype("float64")).numpy()


def metadata_of(path):
    """The entries of the file's metadata, each read as JSON."""
    return {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}


def test_of_a_checkpoint_the_averaged_weights_are_exported_and_compared(export):
    status, printed, _ = export("run.safetensors", "out.onnx")
    first, second = printed.splitlines()
    assert status == 0 and "nfnet_8px with 3 classes" in first and "(batch, 3, 9, 9) of normalized float32" in first
    assert f"compared with nfnumpy in float64: logits of onnxruntime {onnxruntime.__version__} differ by" in second
    status, _, _ = export("run.safetensors", "raw.onnx", "--raw")
    images = np.random.default_rng(0).standard_normal((2, 9, 9, 3), np.float32)
    for name, averaged in (("out.onnx", True), ("raw.onnx", False)):
        model = load_classifier("run.safetensors", averaged=averaged).model
        found = logits_of(name, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        expect_close(found, in_float64(model, images), model(images).numpy())


def test_the_file_says_how_to_prepare_pictures_and_what_the_outputs_mean(export):
    export("run.safetensors", "out.onnx", "--image-size", 12, "--layout", "NHWC", "--uint8", "on")
    facts = metadata_of("out.onnx")
    assert facts["classes"] == ["Katze", "Hünd\n", "\ud800"] and facts["network"]["family"] == "NFNet"
    assert facts["network"]["activation"] == "silu" and facts["network"]["widths"] == [32, 64, 96]
    preprocessing = facts["preprocessing"]
    assert preprocessing["image_size"] == 12 and preprocessing["crop_margin"] == 0 and preprocessing["keep_aspect"]
    assert preprocessing["input"] == "uint8" and preprocessing["layout"] == "NHWC"
    assert preprocessing["mean"] == [0.485, 0.456, 0.406] and len(preprocessing["standard_deviation"]) == 3


def test_a_picture_gets_the_probabilities_that_predict_gives_it(export):
    status, printed, _ = export("weights.pth", "out.onnx", "--uint8", "on", "--layout", "NHWC", "--softmax", "on",
                                "--batch", 1)
    assert status == 0 and "images (1, 8, 8, 3) of uint8" in printed
    classifier = load_classifier("weights.pth")
    pixels = classifier.read(SEVEN)
    session = onnxruntime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
    found, = session.run(["probabilities"], {"images": pixels})
    images = to_input(pixels, nf.backend.get("numpy"), "float32")
    exact, own = in_float64(classifier.model, images), classifier.model(images).numpy()
    limit = allowed({"logits": exact}, {"logits": own}, {}, "float32")["logits"] * np.abs(exact).max()
    # A probability changes by at most half the largest change of a logit, and both sides are rounded.
    assert np.abs(found - classifier.probabilities(pixels)).max() <= limit + 16 * np.finfo(np.float32).eps


def test_without_onnxruntime_the_command_says_that_nothing_was_compared(export, monkeypatch):
    assert "not compared: --check off" in export("weights.pth", "out.onnx", "--check", "off")[1]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert importlib.util.find_spec("onnxruntime") is None
    status, printed, _ = export("weights.pth", "out.onnx")
    assert status == 0 and "not compared: onnxruntime is not installed (pip install onnxruntime)" in printed
    status, _, error = export("weights.pth", "other.onnx", "--check", "on")
    expect_one_line(status, error, "--check on: onnxruntime is not installed")
    assert not os.path.exists("other.onnx")


@pytest.mark.parametrize("arguments, complaint", [
    ([], "required"), (["weights.pth"], "required"), (["weights.pth", "out.onnx", "--opset", "new"], "--opset"),
    (["weights.pth", "out.onnx", "--opset", 9], "opset 9"), (["weights.pth", "out.onnx", "--batch", 0], "--batch 0"),
    (["weights.pth", "out.onnx", "--batch", "two"], "--batch two: expected dynamic or a whole number"),
    (["weights.pth", "out.onnx", "--batch", "²"], "--batch ²"), (["weights.pth", "out.onnx", "--uint8", "yes"], "yes"),
    (["weights.pth", "out.onnx", "--image-size", 0], "image size 0"),
    (["weights.pth", "out.onnx", "--image-size", 10**7], "image size 10000000"),
    (["weights.pth", "out.onnx", "--layout", "CHWN"], "CHWN"), (["no.pth", "out.onnx"], "no weight file at no.pth"),
    (["weights.pth", "out.pth"], "name it out.onnx"), (["weights.pth", "no/folder/out.onnx"], "no such folder"),
    (["weights.pth", "."], "nothing may be written"), (["weights.pth", "weights.pth"], "name it weights.onnx"),
    (["text", "out.onnx"], "not a weight file"), (["other", "out.onnx"], "no variant"),
    (["infinite", "out.onnx", "--check", "off"], "blocks.1.conv1.bias is not finite")])
def test_mistakes_are_one_line_and_status_2_and_leave_no_file(export, arguments, complaint):
    with open("text", "w") as file:
        file.write("no weights")
    nf.weights.save("other", {"a": np.zeros(3)})
    bias = np.full(32, np.inf, np.float32)
    nf.weights.save("infinite", {**nf.weights.load("weights.pth"), "blocks.1.conv1.bias": bias})
    before = sorted(os.listdir())
    status, printed, error = export(*arguments)
    expect_one_line(status, error, complaint)
    assert not printed and sorted(os.listdir()) == before


def test_the_file_to_read_is_not_replaced(export):
    os.rename("weights.pth", "weights.onnx")
    status, _, error = export("weights.onnx", "./weights.onnx")
    expect_one_line(status, error, "is the file to read")


def test_gains_are_an_option_for_timm_alone(capsys, monkeypatch, export):
    for to in ("haiku", "nfnumpy"):
        status, _, error = run_command(command.main, capsys, monkeypatch, "convert", "weights.pth", "out", "--to", to,
                                       "--gains", "exact")
        expect_one_line(status, error, "--gains exact", f"got --to {to}")
