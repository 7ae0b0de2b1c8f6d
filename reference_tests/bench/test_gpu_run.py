"""`python -m nfnumpy.bench gpu`: like is compared with like, what is counted is right, and a failure is a line.

Without a GPU its times mean nothing, and everything else is the same: CuPy's stand-in, PyTorch on the CPU.
"""

import dataclasses
import gc
import json
import math
import os
import sys

import cupy
import numpy as np
import pytest
import torch

import nfnumpy as nf
from nfnumpy.backend import cublas_library
from nfnumpy.bench import report
from nfnumpy.bench.cases.networks import NetworkCase
from nfnumpy.bench.gpu import (
    checks,
    digits,
    host,
    launches,
    loss_agreement,
    machine,
    networks,
    opponent,
    parts as gpu_parts,
    profile,
    runner,
    sanitizer_steps,
    single_step,
    smoke,
    turns,
    update,
)
from nfnumpy.bench.gpu.budget import Budget
from nfnumpy.bench.gpu.plan import Plan
from nfnumpy.bench.implementations import (
    COMPILED,
    GRAPH,
    IMPLICIT,
    NCHW,
    NFNUMPY,
    TORCH,
    nfnumpy_cupy,
    torch_device,
)
from nfnumpy.functional import activations, linear
from nfnumpy.functional.fast_cupy import implicit_convolution
from nfnumpy.models import registry
from nfnumpy.ports import torch_parts

TINY = nf.models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(4, 4),
                             stem_strides=(1, 2), num_classes=10, train_size=4, test_size=4)
PLAN = Plan(models=("tiny",), batch_size=2, repeats=1, steps=1, copy_bytes=1 << 16, product_size=16, loss_steps=1,
            loss_batch=3, digits=False, tests=False, opponent="cpu")


@pytest.fixture(autouse=True)
def tiny_model_and_torch_on_the_cpu(monkeypatch):
    monkeypatch.setitem(registry.VARIANTS, "tiny", TINY)
    monkeypatch.setattr(cublas_library, "load", cupy.cuda.cublas.Library)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # it takes as long as a step of this network
    monkeypatch.setattr(single_step, "FIRST", "tiny")
    monkeypatch.setattr(update, "AHEAD", 0.01)
    monkeypatch.setattr(update, "SAMPLES_A_REPEAT", 1)
    monkeypatch.setattr(launches, "GAP", 0.0)


def allowance():
    """Enough time."""
    return Budget(1e6).allowance(1e6)


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


def test_sanitizer_steps_run_in_every_kind_of_arithmetic(capsys):
    sanitizer_steps.run([("tiny", kind) for _, kind in sanitizer_steps.CASES])
    lines = capsys.readouterr().out.splitlines()
    exact = [line for line in lines if "convolutions" in line]
    assert len(exact) == 4 and all(" 0 of " in line for line in exact)
    losses_and_errors = [line for line in lines if line not in exact]
    assert len(losses_and_errors) == len(sanitizer_steps.CASES) + 2
    assert all(math.isfinite(float(line.rpartition(" ")[2])) for line in losses_and_errors)


def test_losses_beside_numpys_pass_within_their_bound(monkeypatch):
    lists = {"numpy": [1.0, 2.0], "cupy": [1.0, 2.0002]}
    monkeypatch.setattr(loss_agreement, "losses_of", lambda backend, *_: lists[backend])
    assert loss_agreement.compare_losses("float32", None, 2, 1.1e-4, 3)[0]
    assert not loss_agreement.compare_losses("float32", None, 2, 0.9e-4, 3)[0]


def test_two_runs_must_have_the_same_bits(monkeypatch):
    runs = iter([[1.0, 2.0], [1.0, np.nextafter(2.0, 3.0)], [1.0, 2.0], [1.0, 2.0]])
    monkeypatch.setattr(loss_agreement, "losses_of", lambda *_, **options: next(runs))
    assert loss_agreement.compare_bits("float32", None, 2, 3, {}) == (False, "step 1 differs")
    assert loss_agreement.compare_bits("float32", None, 2, 3, {})[0]


@pytest.mark.parametrize("accuracy, passed", [(0.9916, True), (0.986, True), (0.985, False), (0.998, False)])
def test_the_digits_must_reach_their_accuracy(monkeypatch, accuracy, passed):
    calls = []

    def train(given):
        calls.append(given)
        return [{"test_accuracy": 0.5}, {"test_accuracy": accuracy}]

    monkeypatch.setattr(digits, "train", train)
    found = report.Report(None)
    digits.measure(found, PLAN, allowance())
    row, = found.rows("digits")
    assert row["passed"] is passed and (row["deviation"] <= 0.006) is passed and row["epochs"] == 2
    assert calls[0]["backend"] == "cupy" and not os.path.exists(calls[0]["out"])


def test_a_file_of_kernels_that_no_step_launches_fails(monkeypatch):
    for check in ("compare_losses", "compare_bits"):
        monkeypatch.setattr(loss_agreement, check, lambda *_: (True, "nothing"))
    found = report.Report(None)
    smoke.measure(found, PLAN, allowance())
    assert [row["what"] for row in found.rows("smoke", passed=False)] == []
    monkeypatch.setitem(nf.backend.cuda.FILES, "unused", None)
    smoke.measure(found, PLAN, allowance())
    assert [row["what"] for row in found.rows("smoke", passed=False)] == ["kernels/unused.cu"]


@pytest.mark.parametrize("row, status, right", [
    ({"passed": True}, "done", True), ({"passed": False}, "done", False), ({"agrees": False}, "done", False),
    ({"passed": None}, "stopped", True), ({"passed": True}, "failed", False)])
def test_a_failed_check_or_another_loss_is_a_failure(row, status, right):
    found = report_with("smoke", what="x", **row)
    found.facts["parts"] = {"smoke": {"status": status}}
    assert checks.is_right(found) is right


# ---- everything at once


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """(status of the parts, the report as JSON has it) of a tiny network's parts, but fewer steps beside NumPy's."""
    path = tmp_path_factory.mktemp("bench") / "gpu.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.VARIANTS, "tiny", TINY)
        patch.setattr(cublas_library, "load", cupy.cuda.cublas.Library)
        patch.setattr(update, "AHEAD", 0.01)
        patch.setattr(launches, "GAP", 0.0)
        patch.setattr(host, "SAMPLES", 1)
        patch.setattr(gc, "collect", lambda: 0)  # it takes as long as a step of this network
        patch.setattr(single_step, "FIRST", "tiny")
        patch.setattr(loss_agreement, "RUNS", loss_agreement.RUNS[-1:])  # float64 with SAM
        patch.setattr(loss_agreement, "compare_bits", lambda *_: (True, "two more runs of the same"))
        found = report.Report(str(path), machine=machine.facts(), options={}, parts={})
        parts = [part for part in gpu_parts.parts_of(PLAN) if not part.name.startswith(("compiled", "implicit"))]
        runner.run_parts(found, PLAN, parts, Budget(1e6), "now")
    read = json.loads(path.read_text())
    return {name: entry["status"] for name, entry in read["parts"].items()}, read


def test_a_whole_run_leaves_a_report_of_every_section(whole_run):
    status, found = whole_run
    assert status == {"smoke": "done", "tiny-bf16": "done", "tiny-tf32": "done", "peaks": "done", "update": "done",
                      "kernels-tf32": "done", "kernels-bf16": "done", "tests": "left out", "losses": "done",
                      "digits": "left out", "sanitizer-memcheck": "left out", "sanitizer-racecheck": "left out",
                      "cifar10": "left out"}
    sections = [name for entry in found["parts"].values() for name in entry["sections"]]
    assert sections == list(found["sections"])
    assert {name: section["failure"] for name, section in found["sections"].items() if section["failure"]} == {}
    assert all(section["rows"] for section in found["sections"].values())
    assert {"device", "driver", "cuda", "cupy", "torch"} <= set(found["machine"])


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_whole_run_compares_three_implementations(whole_run, precision):
    rows = whole_run[1]["sections"][f"network tiny {precision}"]["rows"]
    assert [(row["work"], row["implementation"]) for row in rows] == [
        (work, name) for work in ("training", "inference") for name in (NFNUMPY, GRAPH, TORCH, NCHW)]
    for row in rows:
        assert row["failure"] is None and row["images_per_second"] == pytest.approx(2e3 / row["ms"])
        if row["implementation"] in (NFNUMPY, GRAPH):
            assert row["memory"] > 0 and (row["implementation"] == GRAPH or row["launches"] > 20)
        if row["work"] == "training":
            assert row["agrees"] is True
    for work in ("training", "inference"):
        plain, graph, *theirs = [row for row in rows if row["work"] == work]
        ours = min(plain, graph, key=lambda row: row["ms"])
        assert ours["fastest"] and [row["fastest"] for row in (plain, graph)].count(True) == 1
        fastest, = [row for row in theirs if row["fastest"]]
        assert fastest["ms"] == min(row["ms"] for row in theirs)
        assert [row["ratio"] for row in theirs] == pytest.approx([ours["ms"] / row["ms"] for row in theirs])
        assert all(row["ours"] == ours["implementation"] for row in theirs)


def test_a_whole_run_says_how_long_the_host_takes(whole_run):
    row, graph = whole_run[1]["sections"]["host tf32"]["rows"]
    assert graph["implementation"] == GRAPH and graph["step_ms"] > 0
    launched = sum(kernel["ms"] for kernel in whole_run[1]["sections"]["kernel files tf32"]["rows"])
    assert row["launches_ms"] == pytest.approx(launched) and row["busy"] == pytest.approx(launched / row["step_ms"])
    assert 0 < row["host_ms"] <= row["alone_ms"] and row["implementation"] == NFNUMPY


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
    training = whole_run[1]["sections"]["network tiny tf32"]["rows"][0]
    assert launches_of_files == training["launches"]


def test_a_whole_run_counts_20_bytes_a_parameter_updated(whole_run):
    row, = whole_run[1]["sections"]["update"]["rows"]
    assert row["parameters"] == nf.analysis.count_params(nf.models.from_config(TINY, shapes_only=True))
    assert row["rate"] == pytest.approx(20e-6 * row["parameters"] / row["nfnumpy_ms"])
    assert row["speedup"] > 0 and row["launches"] < 10


def measured_network(**changes):
    """The report of the tiny network in tf32."""
    found = report.Report(None)
    networks.measure(found, dataclasses.replace(PLAN, **changes), allowance(), "tiny", "tf32")
    return found


def test_the_compiled_form_has_a_section_of_its_own(monkeypatch):
    """Compiling itself takes a minute: here it returns the network, and counts."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    found = report.Report(None)
    networks.measure(found, PLAN, allowance(), "tiny", "tf32", COMPILED)
    rows = found.rows("network tiny tf32, compiled")
    assert [row["implementation"] for row in rows] == [NFNUMPY, GRAPH, COMPILED] * 2
    assert rows[2]["agrees"] is True and rows[2]["ratio"] > 0 and len(compiled) == 2


def test_implicit_convolutions_have_a_section_beside_the_other_forms(monkeypatch):
    monkeypatch.setattr(implicit_convolution, "LEAST_FILLED", 0)
    before = dict(cupy._raw.launches)
    found = report.Report(None)
    networks.measure(found, PLAN, allowance(), "tiny", "tf32", IMPLICIT)
    rows = found.rows("network tiny tf32, implicit")
    assert [row["implementation"] for row in rows] == [NFNUMPY, GRAPH, IMPLICIT] * 2
    assert rows[2]["agrees"] is True and rows[2]["ratio"] > 0
    assert sum(count - before.get(name, 0) for name, count in cupy._raw.launches.items() if "convolve" in name) > 0


@pytest.mark.parametrize("name", ["nf_resnet_32px", "nf_regnet_32px"])
def test_networks_of_all_families_agree_with_pytorchs(name):
    """In float32, since a processor has no TF32; their first answers, without the times."""
    case = NetworkCase(name, 2, "tf32", {"train_size": 8})
    ours = nfnumpy_cupy.CupyNetwork(case)
    theirs = torch_device.TorchNetwork(case, ours.state(), "cpu")
    assert networks._agreement(ours.answer(), theirs.answer(), TORCH, "tf32")["agrees"]


def test_without_torch_our_side_is_measured(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = measured_network()
    update.measure(found, PLAN, allowance())
    assert "PyTorch is not installed" in capsys.readouterr().out
    rows = found.rows("network tiny tf32")
    assert [row["implementation"] for row in rows] == [NFNUMPY, GRAPH] * 2
    assert all(row["ms"] > 0 and row["failure"] is None for row in rows)
    row, = found.rows("update")
    assert row["nfnumpy_ms"] > 0 and "torch_ms" not in row and row["failure"] is None


def test_a_torch_that_finds_no_gpu_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with report.Report(None).section("x", "x") as section:
        assert opponent.torch_network(dataclasses.replace(PLAN, opponent="cuda"), section) is None
        assert section.notes == ["PyTorch's side is left out: this PyTorch finds no GPU"]
        assert opponent.torch_network(dataclasses.replace(PLAN, opponent="any"), section) is not None


FORMS_OF = {TORCH: (NFNUMPY, GRAPH), NFNUMPY: (TORCH, NCHW)}  # the side that fails beside the other


@pytest.mark.parametrize("side, other", [(nfnumpy_cupy.CupyNetwork, TORCH), (torch_device.TorchNetwork, NFNUMPY)])
def test_a_side_out_of_memory_is_a_line_beside_the_other(monkeypatch, capsys, side, other):
    def out_of_memory(self):
        raise MemoryError("allocating 4 TB")

    monkeypatch.setattr(side, "train", out_of_memory)
    found = measured_network()
    section = found.sections["network tiny tf32"]
    for row in section.rows:
        if row["implementation"] == other:
            assert row["ms"] > 0 and row["failure"] is None and "ratio" not in row
        elif row["implementation"] in FORMS_OF[other]:
            assert "out of memory: allocating 4 TB" in row["failure"]
    assert section.failure is None and "4 TB" in capsys.readouterr().out


def test_networks_that_do_not_fit_together_take_turns_with_the_memory(monkeypatch):
    released = []
    monkeypatch.setattr(turns, "release_all", lambda: released.append(1))
    failures = iter([True, False, False])

    def work():
        if next(failures):
            raise MemoryError("out of memory")
        return 1

    both = turns.Turns({})
    assert both.turn(work) == 1 and len(released) == 1 and not both.together
    assert both.turn(work) == 1 and len(released) == 2  # from now on before every turn
    with pytest.raises(ZeroDivisionError):
        turns.Turns({}).turn(lambda: 1 // 0)


def test_a_graph_that_keeps_its_memory_gives_way(monkeypatch):
    monkeypatch.setattr(turns, "release_all", lambda: None)
    networks_there = {GRAPH: "graph", NFNUMPY: "plain"}

    def work():
        if GRAPH in networks_there:
            raise MemoryError("out of memory")
        return 1

    def never():
        raise MemoryError("out of memory")

    several = turns.Turns(networks_there)
    assert several.turn(work) == 1 and networks_there == {NFNUMPY: "plain"}
    with pytest.raises(MemoryError):
        several.turn(never)
    timings, failures = several.take("train", [GRAPH], PLAN, lambda: True)
    assert timings == {} and "given to the other networks" in failures[GRAPH]


def test_other_weights_than_ours_are_noticed(monkeypatch, capsys):
    """A network whose residual branches are off, which is how networks start, computes other logits."""
    plain = torch_parts.load_state

    def load(network, state):
        plain(network, {name: np.zeros_like(array) if name.endswith("skip_gain") else array
                        for name, array in state.items()})

    monkeypatch.setattr(torch_parts, "load_state", load)
    found = measured_network()
    row = found.rows("network tiny tf32", agrees=False)[0]
    assert row["loss_error"] < 0.02 < row["logits_error"]  # a fresh network's loss hardly knows
    assert not checks.is_right(found) and "computes something else" in capsys.readouterr().out


def test_the_machine_is_one_line():
    assert machine.summary({"device": "H200", "driver": None, "cuda": "13.0", "cupy": "14.2.0", "torch": None}) == \
        "H200: CUDA 13.0, CuPy 14.2.0"
