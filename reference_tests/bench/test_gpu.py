"""`python -m nfnumpy.bench gpu`: that it compares like with like, counts what it says it counts, and outlives failures.

Where there is no GPU its times mean nothing, and everything else is the same: CuPy's stand-in, PyTorch on the CPU.
"""

import dataclasses
import json
import math
import os
import subprocess
import sys

import cupy
import numpy as np
import pytest
import torch
from reference_tests.helpers.command_line import run_command
from reference_tests.models.test_models_against_torch import BOUND, NFNET, SIZES, batch, difference, random_state
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy import backend as backends
from nfnumpy.bench import (
    __main__ as command,
    bars,
    ceilings,
    compare,
    correctness,
    gpu,
    gpu_bars,
    launches,
    machine,
    ours,
    problem,
    profile,
    report,
    small_steps,
    table,
    theirs,
    timing,
    torch_layers,
    torch_networks,
    torch_update,
    update,
)
from nfnumpy.functional import activations, linear
from nfnumpy.models import registry

TINY = nf.models.NFNetConfig(widths=(8, 16), depths=(1, 1), strides=(1, 2), group_size=4, stem_widths=(4, 4),
                             stem_strides=(1, 2), num_classes=10, train_size=8, test_size=8)
PLAN = gpu.Plan(models=("tiny",), batch_size=2, repeats=1, steps=1, copy_bytes=1 << 16, product_size=16, loss_steps=1,
                loss_batch=3, digits=False, tests=False)


@pytest.fixture(autouse=True)
def tiny_model_and_torch_on_the_cpu(monkeypatch):
    monkeypatch.setitem(registry.VARIANTS, "tiny", TINY)
    monkeypatch.setattr(compare, "DEVICE", "cpu")
    monkeypatch.setattr(compare, "PRECISIONS", ("tf32",))
    monkeypatch.setattr(update, "AHEAD", 0.01)
    monkeypatch.setattr(launches, "GAP", 0.0)


# ---- PyTorch's side is the same network and the same step


def pair(config, seed=1):
    """Our model on NumPy and PyTorch's, both float64 with the same random values."""
    model = nf.models.from_config(config, dtype="float64", seed=seed)
    model.load_state_dict(random_state(model, seed))
    network = torch_networks.network_of(config).double()
    torch_layers.load(network, model.state_dict())
    return model, network.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("config", [NFNET, TINY, dataclasses.replace(NFNET, activation="silu", strides=(2, 1, 2, 1)),
                                    dataclasses.replace(NFNET, activation="relu", alpha=0.5, se_ratio=0.25)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_torch_network_has_our_logits_and_gradients(config, size):
    model, network = pair(config)
    images, labels = batch(size, config.num_classes, seed=2)
    logits = model(images)
    nf.ops.softmax_cross_entropy(logits, labels).backward()
    their_logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    F.cross_entropy(their_logits, torch.from_numpy(labels)).backward()
    their_logits = their_logits.detach().numpy()
    assert np.linalg.norm(logits.numpy() - their_logits) <= BOUND * np.linalg.norm(their_logits)
    parameters = dict(network.named_parameters())
    assert set(parameters) == set(model.parameters())
    assert max(difference(parameter.grad, parameters[name].grad)
               for name, parameter in model.parameters().items()) <= BOUND


def test_the_torch_update_is_our_update():
    """Three steps with given gradients, of which clipping shortens some and leaves some; 1e-13 is 450 epsilons."""
    model, network = pair(NFNET)
    optimizer = nf.optim.SGD(model, lr=0.3, clipping=0.02, weight_decay=1e-2)
    their_update = torch_update.Update(network, lr=0.3, clipping=0.02, weight_decay=1e-2)
    parameters, rng = dict(network.named_parameters()), np.random.default_rng(3)
    for _ in range(3):
        for name, parameter in model.parameters().items():
            parameter.grad = 0.01 * rng.standard_normal(parameter.shape)
            parameters[name].grad = torch_layers.in_torch_layout(parameter.grad).clone()
        optimizer.step()
        their_update.step()
        assert 0.1 < optimizer.clipped_fraction() < 0.9
    assert max(difference(array, parameters[name].detach()) for name, array in model.state_dict().items()) <= 1e-13


def test_images_enter_both_networks_alike():
    images, _ = problem.Problem("tiny", 3, "tf32").images_and_labels()
    ours_in = nf.datasets.preprocessing.to_input(images, backends.get("numpy"), np.dtype("float64"))
    theirs_in = torch_layers.to_input(torch.from_numpy(images), torch.float64)
    assert theirs_in.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(theirs_in.permute(0, 2, 3, 1).numpy(), ours_in, rtol=1e-14, atol=1e-14)


def test_timms_clipping_is_taken_where_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.utils", None)
    assert torch_update.timm_or_loop() == (torch_update.clip_one_by_one, "a loop like timm's")
    installed = type(sys)("timm.utils")
    installed.adaptive_clip_grad = lambda parameters, clip_factor=0.01, eps=1e-3, norm_type=2.0: None
    monkeypatch.setitem(sys.modules, "timm", type(sys)("timm"))
    monkeypatch.setitem(sys.modules, "timm.utils", installed)
    assert torch_update.timm_or_loop() == (installed.adaptive_clip_grad, "timm")


def test_a_timm_that_cannot_be_loaded_is_as_if_it_were_not_there(monkeypatch):
    def raises(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    broken = type(sys)("timm.utils")
    broken.__getattr__ = raises
    monkeypatch.setitem(sys.modules, "timm", type(sys)("timm"))
    monkeypatch.setitem(sys.modules, "timm.utils", broken)
    assert torch_update.timm_or_loop()[1] == "a loop like timm's"


def test_torchs_settings_are_as_they_were_after_a_measurement():
    settings = (torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32"), \
        (torch.backends.cudnn, "benchmark")
    before = [getattr(*setting) for setting in settings]
    with theirs.fast_products():
        assert all(getattr(*setting) for setting in settings)
    assert [getattr(*setting) for setting in settings] == before


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


def test_a_products_operations_are_two_for_every_multiply_add():
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


def test_nothing_is_recorded_once_recording_is_over_not_even_by_an_error():
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
    live = ours.Live(100)
    live.taken(50)
    live.given_back(120)
    live.taken(60)
    assert (live.now, live.most) == (90, 150)


# ---- times


def test_contestants_take_turns_forwards_and_backwards_and_a_failing_one_drops_out():
    asked = []

    def contestant(name, failing_at=None):
        def sample():
            asked.append(name)
            if asked.count(name) == failing_at:
                raise MemoryError("no room")
            return float(len(asked))
        return sample

    timings, failures = timing.take_turns({"b": contestant("b"), "a": contestant("a", failing_at=3)}, 4)
    assert asked == ["b", "a", "a", "b", "b", "a", "b"]
    assert timings == {"b": timing.Timing((1.0, 4.0, 5.0, 7.0))}
    assert failures == {"a": "out of memory: no room"}


def test_a_timing_tells_its_median_and_spread_and_ratios_are_taken_pair_by_pair():
    fast, slow = timing.Timing((1.0, 4.0, 2.0)), timing.Timing((2.0, 2.0, 4.0))
    assert fast.facts("ms") == {"ms": 2.0, "ms_low": 1.0, "ms_high": 4.0}
    assert timing.ratio(fast, slow).samples == (0.5, 2.0, 0.5)


@pytest.mark.parametrize("error, line", [
    (RuntimeError("CUDA out of memory. Tried\nto allocate"), "out of memory: CUDA out of memory. Tried to allocate"),
    (MemoryError(), "out of memory: MemoryError"), (ValueError("two\nlines"), "ValueError: two lines"),
    (ValueError("x" * 999), "ValueError: " + "x" * 148)])
def test_an_error_is_told_in_one_line(error, line):
    assert timing.one_line(error) == line


# ---- telling


def test_tables_fit_100_columns_and_say_what_is_missing():
    rows = [{"name": "kernel" * 30, "ms": 1.23456, "text": "y" * 80}, {"name": "short", "ms": None}]
    lines = table.lines(rows, [("name", "name", ""), ("ms", "ms", ".2f"), ("text", "text", ""),
                               ("share", "share", table.percent)])
    assert all(len(line) <= 98 for line in lines) and lines[0].split() == ["name", "ms", "text", "share"]
    assert "1.23" in lines[1] and "…" in lines[1] and lines[2].split() == ["short", "-", "-", "-"]
    assert all(len(line) <= 100 for line in table.wrapped("word " * 100))


def test_a_section_outlives_what_it_raises_and_the_file_is_whole_after_each(capsys, tmp_path):
    path = tmp_path / "report.json"
    told = report.Report(path, machine={"device": "none"})
    with told.section("first", "First") as section:
        section.add(value=math.nan)
        raise ValueError("broken")
    assert json.loads(path.read_text())["sections"]["first"]["failure"] == "ValueError: broken"
    with told.section("second", "Second") as section:
        section.add(value=2, kind="x")
    read = json.loads(path.read_text())
    assert read["sections"]["first"]["rows"] == [{"value": "nan"}] and read["sections"]["second"]["failure"] is None
    assert read["machine"] == {"device": "none"} and set(read) == {"format", "date", "machine", "bars", "sections"}
    assert told.rows("second", kind="x") == [{"value": 2, "kind": "x"}] and told.rows("third") == []
    assert "stopped: ValueError: broken" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_stops_nothing_before_the_end(capsys, tmp_path):
    told = report.Report(tmp_path / "taken" / "gpu.json")
    with told.section("first", "First") as section:
        section.add(value=1)
    assert told.rows("first") == [{"value": 1}] and "cannot write" in capsys.readouterr().out
    with pytest.raises(nf.InputError, match="cannot write"):
        told.judge([])
    assert "Bars" in capsys.readouterr().out


def test_an_interruption_is_no_failure_of_a_section():
    with pytest.raises(KeyboardInterrupt), report.Report(None).section("first", "First"):
        raise KeyboardInterrupt


def report_with(section, **row):
    """A report of one row."""
    told = report.Report(None)
    with told.section(section, section) as part:
        part.add(**row)
    return told


F0 = {"model": "nfnet_f0", "batch": 128, "work": "training"}


@pytest.mark.parametrize("number, section, row, key, met, missed", [
    (0, "update", {"model": "nfnet_f0"}, "of_copy", 0.8, 0.79),
    (1, "update", {"model": "nfnet_f0"}, "speedup", 5.0, 4.9),
    (2, "kernel files tf32", {**F0, "precision": "tf32", "file": "weight_standardization"}, "share", 0.029, 0.03),
    (3, "against PyTorch", {**F0, "precision": "tf32"}, "ratio", 1.0, 1.01),
    (4, "against PyTorch", {**F0, "precision": "bf16"}, "ratio", 1.2, 1.21),
    (5, "against PyTorch", {**F0, "precision": "tf32"}, "memory_ratio", 1.0, 1.01),
    (6, "against PyTorch", {**F0, "precision": "bf16"}, "memory_ratio", 1.0, 1.01)])
def test_a_bar_is_met_missed_or_not_measured(number, section, row, key, met, missed):
    for value, result in ((met, "met"), (missed, "missed"), (None, "not measured")):
        judged = bars.judged(gpu_bars.BARS, report_with(section, **row, **{key: value}))
        assert (judged[number]["result"], judged[number]["value"]) == (result, value)
        assert sum(bar["result"] == "not measured" for bar in judged) >= len(gpu_bars.BARS) - 1
    for change in {"model": "nfnet_f1", "batch": 64, "work": "inference"}.items():
        if change[0] in row:
            other = report_with(section, **{**row, change[0]: change[1]}, **{key: met})
            assert bars.judged(gpu_bars.BARS, other)[number]["result"] == "not measured"


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
    assert "test_operations_on_cupy.py" in names and "test_gpu.py" not in names


@pytest.mark.parametrize("status, passed", [(0, True), (9, False)])
def test_compute_sanitizer_watches_small_steps(tmp_path, monkeypatch, status, passed):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\necho "ERROR SUMMARY: {status} errors"\n'
                       f'exit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert correctness.sanitize("racecheck") == (passed, f"ERROR SUMMARY: {status} errors")
    said = (tmp_path / "said").read_text().split()
    assert said[:2] == ["--tool", "racecheck"] and said[-1] == "nfnumpy.bench.small_steps"


def test_the_steps_that_are_watched_run_in_every_kind_of_arithmetic(capsys):
    small_steps.run(["tiny"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(small_steps.KINDS)
    assert all(math.isfinite(float(line.rpartition(" ")[2])) for line in lines)


def test_losses_beside_numpys_pass_within_their_bound_alone(monkeypatch):
    lists = {"numpy": [1.0, 2.0], "cupy": [1.0, 2.0002]}
    monkeypatch.setattr(correctness, "losses_of", lambda backend, *_: lists[backend])
    assert correctness.compare_losses("float32", None, 2, 1.1e-4, 3)[0]
    assert not correctness.compare_losses("float32", None, 2, 0.9e-4, 3)[0]


@pytest.mark.parametrize("accuracy, passed", [(0.9916, True), (0.986, True), (0.985, False), (0.998, False)])
def test_the_digits_must_reach_their_accuracy(monkeypatch, accuracy, passed):
    asked = []

    def train(given):
        asked.append(given)
        return [{"test_accuracy": 0.5}, {"test_accuracy": accuracy}]

    monkeypatch.setattr(correctness, "train", train)
    assert correctness.train_the_digits()[0] is passed
    assert asked[0]["backend"] == "cupy" and not os.path.exists(asked[0]["out"])


@pytest.mark.parametrize("row, agree, wrong", [({"passed": True}, True, False), ({"passed": False}, True, True),
                                               ({"passed": True}, False, True)])
def test_a_failed_check_or_another_loss_than_torchs_is_a_failure(row, agree, wrong):
    told = report_with("correctness", what="x", **row)
    told.sections["correctness"].add(what="y", passed=True)
    with told.section("against PyTorch", "") as section:
        section.add(agrees=agree)
    assert correctness.failed(told) is wrong


def test_checks_that_could_not_be_made_are_a_failure():
    told = report.Report(None)
    with told.section("correctness", ""):
        raise OSError("no process")
    assert correctness.failed(told)


# ---- the command


def run(capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command."""
    return run_command(command.main, capsys, monkeypatch, *arguments)


@pytest.fixture
def only_the_bars(monkeypatch):
    """Leave all measuring out, but for a check that passes."""
    for module in (ceilings, compare, profile, update):
        monkeypatch.setattr(module, "measure", lambda *_: None)
    monkeypatch.setattr(correctness, "RUNS", (("float32", None, 1, 1.0),))
    monkeypatch.setattr(correctness, "compare_losses", lambda *_: (True, "nothing"))
    for name in ("property_tests", "sanitize", "train_the_digits"):
        monkeypatch.setattr(correctness, name, lambda *_: (True, "nothing"))


@pytest.mark.parametrize("passed, status", [(True, 0), (False, 1)])
def test_the_status_says_whether_all_is_right_and_everything_is_printed_first(
        capsys, monkeypatch, tmp_path, only_the_bars, passed, status):
    monkeypatch.setattr(correctness, "compare_losses", lambda *_: (passed, "nothing"))
    path = tmp_path / "gpu.json"
    assert run(capsys, monkeypatch, "gpu", "--quick", "--no-tests", "--json", path)[0] == status
    assert [bar["result"] for bar in json.loads(path.read_text())["bars"]] == ["not measured"] * len(gpu_bars.BARS)


@pytest.mark.parametrize("flags, words", [
    ([], ["MEASUREMENT"]), (["tpu"], ["tpu", "gpu"]), (["gpu", "--batch-size", "0"], ["--batch-size 0"]),
    (["gpu", "--repeats", "-1"], ["--repeats -1"]),
    (["gpu", "--models", "nfnet_f0,resnet"], ["resnet", "did you mean"]),
    (["gpu", "--models", "nf_resnet50"], ["nf_resnet50", "NFNets only"]),
    (["gpu", "--json", "/nowhere/gpu.json"], ["/nowhere/gpu.json", "folder"])])
def test_mistakes_are_one_line_and_status_2(capsys, monkeypatch, only_the_bars, flags, words):
    status, printed, error = run(capsys, monkeypatch, *flags)
    assert status == 2 and not printed and error.startswith("error: ") and error.count("\n") == 1, error
    assert all(word in error for word in words), error


def test_without_cupy_it_says_how_to_install_it(capsys, monkeypatch):
    backends.get.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    status, printed, error = run(capsys, monkeypatch, "gpu", "--quick")
    assert status == 2 and not printed and error.count("\n") == 1 and "pip install" in error


def test_outside_of_a_clone_it_says_where_to_run(capsys, monkeypatch, tmp_path, only_the_bars):
    monkeypatch.setattr(correctness, "ROOT", tmp_path)
    status, _, error = run(capsys, monkeypatch, "gpu", "--quick")
    assert status == 2 and error.count("\n") == 1 and "clone" in error and "--no-tests" in error
    assert run(capsys, monkeypatch, "gpu", "--quick", "--no-tests")[0] == 0


def test_help_needs_neither_cupy_nor_torch():
    code = "import sys; sys.modules['cupy'] = sys.modules['torch'] = None; " \
           "from nfnumpy.bench.__main__ import main; main(['gpu', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--no-tests" in done.stdout


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
        patch.setattr(compare, "DEVICE", "cpu")
        patch.setattr(update, "AHEAD", 0.01)
        patch.setattr(launches, "GAP", 0.0)
        patch.setattr(correctness, "RUNS", correctness.RUNS[::3])  # float32, and float64 with SAM
        status = gpu.measure(PLAN, str(path))
    return status, json.loads(path.read_text())


def test_a_whole_run_leaves_a_report_of_every_section(whole_run):
    status, told = whole_run
    assert set(told) == {"format", "date", "machine", "options", "bars", "sections"}
    assert list(told["sections"]) == ["correctness", "ceilings", "against PyTorch", "kernels tf32", "products tf32",
                                      "kernel files tf32", "kernels bf16", "products bf16", "kernel files bf16",
                                      "update"]
    assert {name: section["failure"] for name, section in told["sections"].items() if section["failure"]} == {}
    assert all(section["rows"] for section in told["sections"].values())
    assert {"device", "driver", "cuda", "cupy", "torch"} <= set(told["machine"])
    assert len(told["bars"]) == len(gpu_bars.BARS) and status == 0


def test_a_whole_run_compares_steps_and_inference_in_both_precisions(whole_run):
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
    forward = nf.analysis.operation_costs(nf.models.from_config(TINY, shapes_only=True), 8, 8)
    excitation = sum(cost for name, _, cost in forward if name == "squeeze_excite")
    expected = 2 * 2 * (3 * sum(cost for _, _, cost in forward) - forward[0][2])
    counted = sum(row["size"] for row in whole_run[1]["sections"]["products tf32"]["rows"])
    assert abs(counted - expected) <= 2 * 2 * 3 * excitation  # whose products may be within kernels of their own


def test_a_whole_run_finds_every_file_of_kernels_and_the_share_of_each(whole_run):
    rows = whole_run[1]["sections"]["kernel files tf32"]["rows"]
    assert {"activations", "weight_standardization", "optimizer", "cuBLAS"} <= {row["file"] for row in rows}
    launches_of_files = sum(row["calls"] for row in rows)
    training = [row for row in whole_run[1]["sections"]["against PyTorch"]["rows"] if row["work"] == "training"]
    assert launches_of_files == training[0]["launches"]


def test_a_whole_run_counts_20_bytes_for_every_parameter_of_the_update(whole_run):
    row, = whole_run[1]["sections"]["update"]["rows"]
    assert row["parameters"] == nf.analysis.count_params(nf.models.from_config(TINY, shapes_only=True))
    assert row["rate"] == pytest.approx(20e-6 * row["parameters"] / row["nfnumpy_ms"])
    assert row["speedup"] > 0 and row["launches"] < 10


def test_without_torch_our_side_is_measured_and_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    told = report.Report(None)
    compare.measure(told, PLAN)
    update.measure(told, PLAN, 100.0)
    assert "PyTorch is not installed" in capsys.readouterr().out
    for row in told.rows("against PyTorch") + told.rows("update"):
        assert row["nfnumpy_ms"] > 0 and "torch_ms" not in row and row["failure"] is None


def test_a_torch_that_finds_no_gpu_is_left_out(monkeypatch):
    monkeypatch.setattr(compare, "DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compare.opponent() == (None, "this PyTorch finds no GPU")


@pytest.mark.parametrize("side, other", [(ours.Ours, "torch"), (theirs.Theirs, "nfnumpy")])
def test_a_side_that_runs_out_of_memory_is_a_line_and_the_other_is_measured(monkeypatch, capsys, side, other):
    def out_of_memory(self):
        raise MemoryError("allocating 4 TB")

    monkeypatch.setattr(side, "train", out_of_memory)
    told = report.Report(None)
    compare.measure(told, PLAN)
    for row in told.rows("against PyTorch", work="training"):
        assert "out of memory: allocating 4 TB" in row["failure"] and row[f"{other}_ms"] > 0 and "ratio" not in row
    for row in told.rows("against PyTorch", work="inference"):
        assert row["ratio"] > 0
    assert told.sections["against PyTorch"].failure is None and "4 TB" in capsys.readouterr().out


def test_other_weights_than_ours_are_noticed(monkeypatch, capsys):
    """A network whose residual branches are off, which is how networks start, computes other logits."""
    plain = torch_layers.load

    def load(network, state):
        plain(network, {name: np.zeros_like(array) if name.endswith("skip_gain") else array
                        for name, array in state.items()})

    monkeypatch.setattr(torch_layers, "load", load)
    told = report_with("correctness", passed=True)
    compare.measure(told, PLAN)
    row, = told.rows("against PyTorch", agrees=False)
    assert row["loss_apart"] < 0.02 < row["logits_apart"]  # a fresh network's loss hardly knows
    assert correctness.failed(told) and "computes something else" in capsys.readouterr().out


def test_the_machine_is_told_in_one_line():
    assert machine.summary({"device": "H200", "driver": None, "cuda": "13.0", "cupy": "14.2.0", "torch": None}) == \
        "H200: CUDA 13.0, CuPy 14.2.0"
