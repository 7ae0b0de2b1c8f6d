"""`python -m nfnumpy.bench gpu`: like is compared with like, what is counted is right, and a failure is a line.

Without a GPU its times mean nothing, and everything else is the same: CuPy's stand-in, PyTorch on the CPU.
"""

import dataclasses
import json
import math
import os
import sys

import cupy
import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy import backend as backends
from nfnumpy.bench import __main__ as command, report, targets
from nfnumpy.bench.gpu import (
    command as gpu,
    correctness,
    launches,
    loss_agreement,
    machine,
    networks,
    peak_rates,
    profile,
    sanitizer_steps,
    update,
)
from nfnumpy.bench.implementations import nfnumpy_cupy, torch_device
from nfnumpy.functional import activations, linear
from nfnumpy.models import registry
from nfnumpy.ports import torch as torch_port
from reference_tests.helpers.command_line import run_command

TINY = nf.models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(4, 4),
                             stem_strides=(1, 2), num_classes=10, train_size=4, test_size=4)
PLAN = gpu.Plan(models=("tiny",), batch_size=2, repeats=1, steps=1, copy_bytes=1 << 16, product_size=16, loss_steps=1,
                loss_batch=3, digits=False, tests=False)


@pytest.fixture(autouse=True)
def tiny_model_and_torch_on_the_cpu(monkeypatch):
    monkeypatch.setitem(registry.VARIANTS, "tiny", TINY)
    monkeypatch.setattr(networks, "DEVICE", "cpu")
    monkeypatch.setattr(networks, "PRECISIONS", ("tf32",))
    monkeypatch.setattr(update, "AHEAD", 0.01)
    monkeypatch.setattr(launches, "GAP", 0.0)


def report_with(section, **row):
    """A report of one row."""
    found = report.Report(None)
    with found.section(section, section) as part:
        part.add(**row)
    return found


# ---- what is counted


def test_a_kernels_bytes_are_those_of_its_arrays():
    x = cupy.ones((7, 5), dtype=cupy.float32)
    with launches.recording() as recorded:
        activations.scaled_nonlinearity(x, name="relu", scale=2.0)
        activations.scaled_nonlinearity_vjp(x, x, name="relu", scale=2.0)
        activations.scaled_nonlinearity(x[:0], name="relu", scale=2.0)  # of nothing: starts nothing
    assert [(launch.kind, launch.file, launch.size) for launch in recorded] == [
        ("kernel", "activations", 2 * 140), ("kernel", "activations", 3 * 140)]
    assert recorded[0].name == "scaled_nonlinearity float32 relu"


def test_a_product_counts_two_operations_a_multiply_add():
    x, weight = cupy.ones((3, 5), dtype=cupy.float32), cupy.ones((5, 4), dtype=cupy.float32)
    with launches.recording() as recorded:
        linear.linear(x, weight)
    products = [launch for launch in recorded if launch.kind == "product"]
    assert [(launch.name, launch.size) for launch in products] == [("float32 3×4×5", 2 * 3 * 4 * 5)]


def test_a_batch_of_products_counts_each_of_them():
    """A convolution in 2 groups of 4 to 6 channels, on 2 images of 3×3."""
    x, weight = cupy.ones((2, 3, 3, 8), dtype=cupy.float64), cupy.ones((1, 1, 4, 12), dtype=cupy.float64)
    with launches.recording() as recorded:
        nf.functional.convolution.conv2d(x, weight, groups=2)
    assert sum(launch.size for launch in recorded if launch.kind == "product") == 2 * (2 * 9) * 4 * 12


def test_recording_ends_even_by_an_error():
    from cupy.cuda import cublas
    plain = nf.backend.cuda.KernelFile.launch, cublas.gemmStridedBatchedEx
    with pytest.raises(ZeroDivisionError), launches.recording():
        assert nf.backend.cuda.KernelFile.launch is not plain[0] and cublas.gemmStridedBatchedEx is not plain[1]
        raise ZeroDivisionError
    assert (nf.backend.cuda.KernelFile.launch, cublas.gemmStridedBatchedEx) == plain


def test_launches_are_added_up_by_key_longest_first(monkeypatch):
    monkeypatch.setattr(cupy.cuda, "get_elapsed_time", lambda start, end: end - start)
    recorded = [launches.Launch("kernel", "a", "f", 100.0, 0, 1), launches.Launch("kernel", "b", "g", 50.0, 1, 6),
                launches.Launch("kernel", "a", "f", 20.0, 6, 8)]
    sums = launches.summed(recorded, lambda launch: launch.file)
    assert list(sums.items()) == [("b", {"calls": 1, "ms": 5, "size": 50.0}),
                                  ("a", {"calls": 2, "ms": 3, "size": 120.0})]


def test_rates_are_bytes_or_operations_over_time():
    """10 MB in 2 ms are 5 GB/s; 8 GFLOP in 2 ms are 4 TFLOP/s."""
    kernel = profile._rated({"calls": 1, "ms": 2.0, "size": 1e7}, 8.0, 1e-6, 20.0)
    product = profile._rated({"calls": 1, "ms": 2.0, "size": 8e9}, 8.0, 1e-9, None)
    unknown = profile._rated({"calls": 1, "ms": 2.0, "size": 0.0}, 8.0, 1e-6, 20.0)
    assert (kernel["rate"], kernel["of_copy"], kernel["share"]) == pytest.approx((5.0, 0.25, 0.25))
    assert product["rate"] == pytest.approx(4.0) and "of_copy" not in product
    assert unknown["rate"] is None and unknown["of_copy"] is None


def test_live_bytes_remember_their_peak():
    live = nfnumpy_cupy.LiveBytes(100)
    live.taken(50)
    live.given_back(120)
    live.taken(60)
    assert (live.now, live.most) == (90, 150)


# ---- correctness


@pytest.mark.parametrize("body, passed, word", [("pass", True, "1 passed"), ("assert False", False, "1 failed")])
def test_property_tests_run_in_a_process_of_their_own(tmp_path, monkeypatch, capfd, body, passed, word):
    monkeypatch.setattr(correctness, "ROOT", tmp_path)
    (tmp_path / "test_here_on_cupy.py").write_text(f"def test_it():\n    {body}\n")
    assert correctness.test_files(tmp_path) == [str(tmp_path / "test_here_on_cupy.py")]
    found = correctness.property_tests(correctness.test_files(tmp_path))
    assert found[0] is passed and word in found[1]
    assert ("def test_it" in capfd.readouterr().err) is not passed


def test_the_property_tests_of_this_clone_are_found():
    names = {os.path.basename(file) for file in correctness.test_files()}
    assert "test_operations_on_cupy.py" in names and "test_gpu_run.py" not in names


@pytest.mark.parametrize("status, passed", [(0, True), (9, False)])
def test_compute_sanitizer_runs_the_sanitizer_steps(tmp_path, monkeypatch, status, passed):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/written\necho "ERROR SUMMARY: {status} errors"\n'
                       f'exit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert correctness.sanitize("racecheck") == (passed, f"ERROR SUMMARY: {status} errors")
    written = (tmp_path / "written").read_text().split()
    assert written[:2] == ["--tool", "racecheck"] and written[-1] == "nfnumpy.bench.gpu.sanitizer_steps"


def test_sanitizer_steps_run_in_every_kind_of_arithmetic(capsys):
    sanitizer_steps.run(["tiny"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(sanitizer_steps.KINDS)
    assert all(math.isfinite(float(line.rpartition(" ")[2])) for line in lines)


def test_losses_beside_numpys_pass_within_their_bound(monkeypatch):
    lists = {"numpy": [1.0, 2.0], "cupy": [1.0, 2.0002]}
    monkeypatch.setattr(loss_agreement, "losses_of", lambda backend, *_: lists[backend])
    assert loss_agreement.compare_losses("float32", None, 2, 1.1e-4, 3)[0]
    assert not loss_agreement.compare_losses("float32", None, 2, 0.9e-4, 3)[0]


@pytest.mark.parametrize("accuracy, passed", [(0.9916, True), (0.986, True), (0.985, False), (0.998, False)])
def test_the_digits_must_reach_their_accuracy(monkeypatch, accuracy, passed):
    calls = []

    def train(given):
        calls.append(given)
        return [{"test_accuracy": 0.5}, {"test_accuracy": accuracy}]

    monkeypatch.setattr(correctness, "train", train)
    assert correctness.train_the_digits()[0] is passed
    assert calls[0]["backend"] == "cupy" and not os.path.exists(calls[0]["out"])


@pytest.mark.parametrize("row, agree, wrong", [({"passed": True}, True, False), ({"passed": False}, True, True),
                                               ({"passed": True}, False, True)])
def test_a_failed_check_or_another_loss_is_a_failure(row, agree, wrong):
    found = report_with("correctness", what="x", **row)
    found.sections["correctness"].add(what="y", passed=True)
    with found.section("against PyTorch", "") as section:
        section.add(agrees=agree)
    assert correctness.failed(found) is wrong


def test_checks_that_could_not_be_made_are_a_failure():
    found = report.Report(None)
    with found.section("correctness", ""):
        raise OSError("no process")
    assert correctness.failed(found)


# ---- the command


def run(capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command."""
    return run_command(command.main, capsys, monkeypatch, *arguments)


@pytest.fixture
def only_the_targets(monkeypatch):
    """Leave all measuring out, but for a check that passes."""
    for module in (peak_rates, networks, profile, update):
        monkeypatch.setattr(module, "measure", lambda *_: None)
    monkeypatch.setattr(loss_agreement, "RUNS", (("float32", None, 1, 1.0),))
    monkeypatch.setattr(loss_agreement, "compare_losses", lambda *_: (True, "nothing"))
    for name in ("property_tests", "sanitize", "train_the_digits"):
        monkeypatch.setattr(correctness, name, lambda *_: (True, "nothing"))


@pytest.mark.parametrize("passed, status", [(True, 0), (False, 1)])
def test_the_status_says_whether_all_is_right(
        capsys, monkeypatch, tmp_path, only_the_targets, passed, status):
    monkeypatch.setattr(loss_agreement, "compare_losses", lambda *_: (passed, "nothing"))
    path = tmp_path / "gpu.json"
    assert run(capsys, monkeypatch, "gpu", "--quick", "--no-tests", "--json", path)[0] == status
    results = [target["result"] for target in json.loads(path.read_text())["targets"]]
    assert results == ["not measured"] * len(targets.GPU_TARGETS)


@pytest.mark.parametrize("flags, words", [
    ([], ["MEASUREMENT"]), (["tpu"], ["tpu", "gpu"]), (["gpu", "--batch-size", "0"], ["--batch-size 0"]),
    (["gpu", "--repeats", "-1"], ["--repeats -1"]),
    (["gpu", "--models", "nfnet_f0,resnet"], ["resnet", "did you mean"]),
    (["gpu", "--models", "nf_resnet50"], ["nf_resnet50", "NFNets only"]),
    (["gpu", "--json", "/nowhere/gpu.json"], ["/nowhere/gpu.json", "folder"])])
def test_mistakes_are_one_line_and_status_2(capsys, monkeypatch, only_the_targets, flags, words):
    status, printed, error = run(capsys, monkeypatch, *flags)
    assert status == 2 and not printed and error.startswith("error: ") and error.count("\n") == 1, error
    assert all(word in error for word in words), error


def test_without_cupy_a_line_says_how_to_install_it(capsys, monkeypatch):
    backends.get.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    status, printed, error = run(capsys, monkeypatch, "gpu", "--quick")
    assert status == 2 and not printed and error.count("\n") == 1 and "pip install" in error


def test_outside_of_a_clone_a_line_says_where_to_run(capsys, monkeypatch, tmp_path, only_the_targets):
    monkeypatch.setattr(correctness, "ROOT", tmp_path)
    status, _, error = run(capsys, monkeypatch, "gpu", "--quick")
    assert status == 2 and error.count("\n") == 1 and "clone" in error and "--no-tests" in error
    assert run(capsys, monkeypatch, "gpu", "--quick", "--no-tests")[0] == 0


def test_flags_change_the_plan_and_quick_changes_their_defaults():
    given = {"quick": False, "models": "nfnet_f1,nfnet_f0", "batch_size": 64, "tests": False}
    assert gpu.plan_of(given) == dataclasses.replace(gpu.Plan(), models=("nfnet_f1", "nfnet_f0"), batch_size=64,
                                                     tests=False)
    assert gpu.plan_of({"quick": True, "repeats": 3}) == dataclasses.replace(gpu.QUICK, repeats=3)


# ---- everything at once


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """(status, the report as JSON has it) of all measurements of a tiny network, but fewer steps beside NumPy's."""
    path = tmp_path_factory.mktemp("bench") / "gpu.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.VARIANTS, "tiny", TINY)
        patch.setattr(networks, "DEVICE", "cpu")
        patch.setattr(update, "AHEAD", 0.01)
        patch.setattr(launches, "GAP", 0.0)
        patch.setattr(loss_agreement, "RUNS", loss_agreement.RUNS[-1:])  # float64 with SAM
        status = gpu.measure(PLAN, str(path))
    return status, json.loads(path.read_text())


def test_a_whole_run_leaves_a_report_of_every_section(whole_run):
    status, found = whole_run
    assert set(found) == {"format", "date", "machine", "options", "targets", "sections"}
    assert list(found["sections"]) == ["correctness", "peaks", "against PyTorch", "kernels tf32", "products tf32",
                                      "kernel files tf32", "kernels bf16", "products bf16", "kernel files bf16",
                                      "update"]
    assert {name: section["failure"] for name, section in found["sections"].items() if section["failure"]} == {}
    assert all(section["rows"] for section in found["sections"].values())
    assert {"device", "driver", "cuda", "cupy", "torch"} <= set(found["machine"])
    assert len(found["targets"]) == len(targets.GPU_TARGETS) and status == 0


def test_a_whole_run_compares_both_works_in_both_precisions(whole_run):
    rows = whole_run[1]["sections"]["against PyTorch"]["rows"]
    assert [(row["precision"], row["work"]) for row in rows] == [
        ("tf32", "training"), ("tf32", "inference"), ("bf16", "training"), ("bf16", "inference")]
    for row in rows:
        assert row["failure"] is None and row["launches"] > 20 and row["memory"] > 0
        assert row["ratio"] == pytest.approx(row["nfnumpy_ms"] / row["torch_ms"])
        assert row["images_per_second"] == pytest.approx(2e3 / row["nfnumpy_ms"])
    assert all(row["agrees"] for row in rows if row["work"] == "training")


def test_a_whole_run_accounts_for_the_products_of_a_step(whole_run):
    """As many operations as three passes take: forward, back to the inputs, back to the weights, but not to images."""
    model = nf.models.from_config(TINY, shapes_only=True)
    forward = nf.analysis.operation_costs(model, TINY.train_size, TINY.train_size)
    excitation = sum(cost for name, _, cost in forward if name == "squeeze_excite")
    expected = 2 * 2 * (3 * sum(cost for _, _, cost in forward) - forward[0][2])
    counted = sum(row["size"] for row in whole_run[1]["sections"]["products tf32"]["rows"])
    assert abs(counted - expected) <= 2 * 2 * 3 * excitation  # whose products may be within kernels of their own


def test_a_whole_run_finds_every_file_of_kernels(whole_run):
    rows = whole_run[1]["sections"]["kernel files tf32"]["rows"]
    assert {"activations", "weight_standardization", "optimizer", "cuBLAS"} <= {row["file"] for row in rows}
    launches_of_files = sum(row["calls"] for row in rows)
    training = [row for row in whole_run[1]["sections"]["against PyTorch"]["rows"] if row["work"] == "training"]
    assert launches_of_files == training[0]["launches"]


def test_a_whole_run_counts_20_bytes_a_parameter_updated(whole_run):
    row, = whole_run[1]["sections"]["update"]["rows"]
    assert row["parameters"] == nf.analysis.count_params(nf.models.from_config(TINY, shapes_only=True))
    assert row["rate"] == pytest.approx(20e-6 * row["parameters"] / row["nfnumpy_ms"])
    assert row["speedup"] > 0 and row["launches"] < 10


def test_without_torch_our_side_is_measured(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = report.Report(None)
    networks.measure(found, PLAN)
    update.measure(found, PLAN, 100.0)
    assert "PyTorch is not installed" in capsys.readouterr().out
    for row in found.rows("against PyTorch") + found.rows("update"):
        assert row["nfnumpy_ms"] > 0 and "torch_ms" not in row and row["failure"] is None


def test_a_torch_that_finds_no_gpu_is_left_out(monkeypatch):
    monkeypatch.setattr(networks, "DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert networks.opponent() == (None, "this PyTorch finds no GPU")


@pytest.mark.parametrize("side, other", [(nfnumpy_cupy.CupyNetwork, "torch"), (torch_device.TorchNetwork, "nfnumpy")])
def test_a_side_out_of_memory_is_a_line_beside_the_other(monkeypatch, capsys, side, other):
    def out_of_memory(self):
        raise MemoryError("allocating 4 TB")

    monkeypatch.setattr(side, "train", out_of_memory)
    found = report.Report(None)
    networks.measure(found, PLAN)
    for row in found.rows("against PyTorch", work="training"):
        assert "out of memory: allocating 4 TB" in row["failure"] and row[f"{other}_ms"] > 0 and "ratio" not in row
    for row in found.rows("against PyTorch", work="inference"):
        assert row["ratio"] > 0
    assert found.sections["against PyTorch"].failure is None and "4 TB" in capsys.readouterr().out


def test_other_weights_than_ours_are_noticed(monkeypatch, capsys):
    """A network whose residual branches are off, which is how networks start, computes other logits."""
    plain = torch_port.load_reference_state

    def load(network, state):
        plain(network, {name: np.zeros_like(array) if name.endswith("skip_gain") else array
                        for name, array in state.items()})

    monkeypatch.setattr(torch_port, "load_reference_state", load)
    found = report_with("correctness", passed=True)
    networks.measure(found, PLAN)
    row, = found.rows("against PyTorch", agrees=False)
    assert row["loss_error"] < 0.02 < row["logits_error"]  # a fresh network's loss hardly knows
    assert correctness.failed(found) and "computes something else" in capsys.readouterr().out


def test_the_machine_is_one_line():
    assert machine.summary({"device": "H200", "driver": None, "cuda": "13.0", "cupy": "14.2.0", "torch": None}) == \
        "H200: CUDA 13.0, CuPy 14.2.0"
