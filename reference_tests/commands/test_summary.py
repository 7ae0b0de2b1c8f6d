"""`python -m nfnumpy.summary` adds up to what analysis counts, for variants and for files."""

import json

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import summary
from nfnumpy.training.memory import Recording, peak_of_inference
from reference_tests.helpers.command_line import expect_one_line, run_command


@pytest.fixture
def command(capsys, monkeypatch):
    """The command: arguments -> (status, standard output, error stream)."""
    return lambda *arguments: run_command(summary.main, capsys, monkeypatch, *arguments)


@pytest.mark.parametrize("name, size", [
    ("nfnet_16px", 26), ("nf_resnet_32px", 26), ("nf_regnet_32px", 26), ("resnet_32px", 26), ("resnetv2_18", 26),
    ("densenet121", 33), ("inception_v3", 75)])
def test_parts_have_the_shapes_of_a_pass_and_add_up(command, name, size):
    status, printed, _ = command(name, "--image-size", size, "--json")
    found = json.loads(printed)
    model = nf.models.create(name, shapes_only=True)
    outputs = model.outputs(np.zeros((1, size, size, 3), np.float32), model.output_names())
    shapes = {part: list(output.shape[1:]) for part, output in outputs.items() if part != "features"}
    shapes["classifier"] = shapes.pop("logits")
    assert status == 0 and {block["name"]: block["output_shape"] for block in found["blocks"]} == shapes
    assert found["parameters"] == nf.analysis.count_params(model) == sum(b["parameters"] for b in found["blocks"])
    assert found["multiply_adds"] == nf.analysis.count_flops(model, size, size)
    assert found["buffers"] == sum(array.size for array in model.buffers().values())
    assert found["multiply_adds"] == sum(block["multiply_adds"] for block in found["blocks"])
    memory = found["memory"]
    assert memory["training"] == sum(memory[k] for k in ("state", "passes", "scratch", "spare", "checkpoint"))
    assert memory["batch_size"] == 32 and memory["inference"] < memory["training"]


def test_the_table_has_every_part_and_the_totals(command):
    status, printed, _ = command("nfnet_8px", "--batch-size", 4)
    lines = printed.splitlines()
    assert status == 0 and lines[0] == "nfnet_8px, images of 8 px"
    names = [line.split()[0] for line in lines[2:8]]
    assert names == ["stem", "blocks.0", "blocks.1", "blocks.2", "head", "classifier"]
    count = nf.analysis.count_flops(nf.models.create("nfnet_8px"), 8, 8)
    assert lines[8].split() == ["in", "all", "88,933", f"{count:,}"]
    assert "4 images at a time" in lines[9]


def test_running_statistics_have_a_line_of_their_own(command):
    """A mean and a variance for each of a norm's gammas; networks without any have no such line."""
    model = nf.models.create("resnet18", shapes_only=True)
    count = 2 * sum(parameter.data.size for name, parameter in model.parameters().items() if name.endswith("gamma"))
    _, printed, _ = command("resnet18", "--image-size", 32)
    assert f"running statistics: {count:,} values" in printed
    assert "running statistics" not in command("nfnet_8px")[1]


def test_a_checkpoint_and_weights_are_described_as_their_variant(command, finished_run, tmp_path):
    weights = tmp_path / "weights.safetensors"
    nf.weights.save(weights, nf.models.create("nfnet_8px").state_dict())
    variant, *others = (json.loads(command(model, "--json")[1])
                        for model in ("nfnet_8px", finished_run / "checkpoint.safetensors", weights))
    for other in others:
        assert {**other, "model": "nfnet_8px"} == variant


@pytest.mark.parametrize("arguments, words", [
    (["nfnet_f9"], ["unknown model 'nfnet_f9'", "did you mean"]),
    (["nfnet_8px", "--image-size", "0"], ["--image-size 0"]), (["docs/digits.png"], ["docs/digits.png"]),
    (["nfnet_8px", "--batch-size", "-1"], ["--batch-size -1", "whole number"])])
def test_what_cannot_be_described_is_one_line(command, arguments, words):
    status, _, error = command(*arguments)
    expect_one_line(status, error, *words)


def test_inference_holds_inputs_and_output_of_one_operation():
    """The largest sum of them over the operations, when nothing but the input is needed later."""
    model = nf.models.create("nfnet_8px", depths=(1,), widths=(32,), strides=(1,))
    recording = Recording(model, 8, 8)
    sizes = recording.sizes(5, int)
    largest = max(sum(sizes[number] for number in {*one.inputs, one.output} - recording.parameters)
                  for one in recording.operations)
    assert largest <= peak_of_inference(recording, 5) <= 2 * largest
