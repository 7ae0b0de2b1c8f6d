"""`python -m nfnumpy.bench cpu`: a whole run, its sections, its pictures and its command.

Its times mean nothing here, and nothing is asserted of them but that they are there.
"""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy.bench import __main__ as command, report, rounds
from nfnumpy.bench.cases import operations as operation_cases, peak_rates as peaks, update as update_cases
from nfnumpy.bench.cases.networks import FOLDED, WORKS
from nfnumpy.bench.cpu import command as cpu, data_loading, machine, networks, update
from nfnumpy.bench.implementations import NCHW, NFNUMPY, REFERENCE, TORCH
from nfnumpy.bench.plots import draw, draw_all
from reference_tests.helpers.command_line import run_command
from reference_tests.helpers.in_process import process_or_not

CASES = operation_cases.cases(shrunk=128)
PLAN = dataclasses.replace(cpu.QUICK, copy_bytes=1 << 16, product_size=32)


@pytest.fixture(autouse=True, scope="module")
def small_and_in_one_process():
    """One thread, few processes, an operation of each kind."""
    some = list({case.operation: case for case in CASES[::-1]}.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NFNUMPY_THREADS", "1")
        for module in (rounds, data_loading):
            patch.setattr(module, "Process", process_or_not)
        patch.setattr("nfnumpy.bench.cpu.operations.cases", lambda shrunk: some)
        patch.setattr("nfnumpy.bench.cases.data_loading.FILES", 4)
        patch.setattr("nfnumpy.bench.plots.figure.DPI", 30)
        without(patch, "jax")  # test_cases compares JAX's side, which takes seconds to compile
        yield some


@pytest.fixture(scope="module")
def whole_run(small_and_in_one_process, tmp_path_factory):
    """(status, the report as JSON has it, its folder) of a quick run of everything."""
    path = tmp_path_factory.mktemp("bench") / "cpu.json"
    status = cpu.measure(PLAN, str(path))
    return status, json.loads(path.read_text()), path.parent


def test_a_whole_run_leaves_a_report_of_every_section(whole_run):
    status, found, _ = whole_run
    assert set(found) == {"format", "date", "machine", "options", "targets", "sections"}
    assert list(found["sections"]) == ["peaks", "network nfnet_8px", "update", "operations", "scaling", "loading"]
    assert {name: section["failure"] for name, section in found["sections"].items() if section["failure"]} == {}
    rows = [row for section in found["sections"].values() for row in section["rows"]]
    assert not [row["failure"] for row in rows if row.get("failure")] and status == 0
    assert all(section["rows"] for section in found["sections"].values())
    assert {"processor", "threads", "blas", "torch", "timm", "jax", "numpy"} <= set(found["machine"])
    assert {target["result"] for target in found["targets"]} <= {"met", "missed"}


def test_a_whole_run_compares_all_in_both_kinds_of_work(whole_run):
    rows = whole_run[1]["sections"]["network nfnet_8px"]["rows"]
    for work in WORKS:
        by_name = {row["implementation"]: row for row in rows if row["work"] == work}
        assert {NFNUMPY, REFERENCE, TORCH, NCHW} <= set(by_name)
        ours, in_torch = by_name[NFNUMPY], by_name[TORCH]
        assert in_torch["ratio"] == pytest.approx(ours["ms"] / in_torch["ms"])  # one pair, whose ratio is the median
        assert in_torch["memory_ratio"] == pytest.approx(ours["memory"] / in_torch["memory"])
        assert ours["memory"] > ours["memory_before"] > 0
    assert [row["agrees"] for row in rows if "agrees" in row] == [True] * (len(rows) // 2 - 1)


def test_networks_with_batch_normalization_are_compared_folded_too(small_and_in_one_process):
    plan = dataclasses.replace(PLAN, models=("resnet_8px",), repeats=2)  # of which reference mode has one
    made = report.Report(None)
    networks.measure(made, plan)
    rows = made.rows("network resnet_8px")
    assert not networks.failed(made) and not [row["failure"] for row in rows if row["failure"]]
    for work in (WORKS[0], FOLDED, WORKS[1]):
        assert {row["implementation"] for row in rows if row["work"] == work} == {NFNUMPY, REFERENCE, TORCH, NCHW}
    assert [row["logits_error"] > 0 for row in rows if row["work"] == FOLDED and row["implementation"] != NFNUMPY]


def test_a_whole_run_rates_the_update_and_the_operations(whole_run, small_and_in_one_process):
    sections = whole_run[1]["sections"]
    values = nf.analysis.count_params(nf.models.create("nfnet_8px", shapes_only=True))
    for row in sections["update"]["rows"]:
        assert row["rate"] == pytest.approx(1e-6 * update_cases.BYTES[row["work"]] * values / row["ms"])
    peak = next(row["rate"] for row in sections["peaks"]["rows"] if row["what"] == peaks.PRODUCTS)
    products = [row for row in sections["operations"]["rows"] if row["operations"]]
    assert products and len(sections["operations"]["rows"]) == 2 * len(small_and_in_one_process)
    for row in products:
        assert row["rate"] == pytest.approx(1e-6 * row["operations"] / row["nfnumpy_ms"])
        assert row["of_peak"] == pytest.approx(row["rate"] / peak)


def test_a_whole_run_leaves_three_pictures(whole_run):
    for name in ("bars", "roofline", "scaling"):
        assert (whole_run[2] / f"cpu-{name}.png").read_bytes().startswith(b"\x89PNG")


# ---- what is said of other implementations


def running(logits, loss):
    """An implementation whose first results these are."""
    made = networks._Running(type("Process", (), {"call": lambda self, what: 0})())
    made.results = {"inference": np.array(logits), "training": loss}
    return made


@pytest.mark.parametrize("logits, loss, agrees", [
    ([3.0, 4.0], 2.0, True), ([3.0, 4.0001], 2.0, True), ([3.0, 4.001], 2.0, False), ([3.0, 4.0], 2.001, False)])
def test_another_result_than_ours_is_a_failure(logits, loss, agrees):
    found = networks._agreement({NFNUMPY: running([3.0, 4.0], 2.0), "it": running(logits, loss)}, "it", "training")
    assert found["agrees"] is agrees
    made = report.Report(None)
    with made.section("network x", "") as section:
        section.add(**found)
    assert networks.failed(made) is not agrees


@pytest.mark.parametrize("milliseconds, lines", [(3.0, 1), (5.0, 0)])
def test_faster_channels_first_are_a_remark(milliseconds, lines):
    rows = [{"work": "training", "implementation": TORCH, "ms": 4.0, "ratio": 0.5},
            {"work": "training", "implementation": NCHW, "ms": milliseconds, "ratio": 2.0 / milliseconds},
            {"work": "inference", "implementation": NCHW}]
    found = list(networks._remarks(rows))
    assert len(found) == lines and all("channels first" in line and "0.667" in line for line in found)


def test_ratios_of_memory_are_with_and_without_the_libraries():
    ours, its = {"memory": 300, "memory_before": 100}, {"memory": 600, "memory_before": 200}
    assert networks._memory_ratios(ours, its) == {"memory_ratio": 0.5, "net_memory_ratio": 0.5}
    assert networks._memory_ratios(ours, {}) == {} == networks._memory_ratios({"memory": None}, its)


# ---- what is not installed


def without(monkeypatch, *packages):
    """As if these were not installed."""
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name in packages else plain(name, *rest))


def test_without_torch_our_side_is_measured(monkeypatch, capsys):
    without(monkeypatch, "torch")
    made = report.Report(None)
    update.measure(made, PLAN)
    networks.measure(made, PLAN)
    assert capsys.readouterr().out.count("PyTorch is not installed: its side is left out.") == 2
    rows = made.rows("update") + made.rows("network nfnet_8px")
    assert {row["implementation"] for row in rows} == {NFNUMPY, REFERENCE}
    assert all(row["ms"] > 0 and row["failure"] is None for row in rows)


def test_without_matplotlib_a_line_says_how_to_install_it(monkeypatch, capsys, tmp_path):
    without(monkeypatch, "matplotlib")
    draw_all(report.Report(None), str(tmp_path / "cpu"))
    assert capsys.readouterr().out == f"{draw.INSTALL}\n" and not os.listdir(tmp_path)


def test_what_was_not_measured_is_not_drawn(capsys, tmp_path):
    draw_all(report.Report(None), str(tmp_path / "cpu"))
    assert not os.listdir(tmp_path) and not capsys.readouterr().out


# ---- the command


def test_the_machine_is_one_line():
    facts = {"processor": "EPYC", "cores": 4, "threads": 1, "numpy": "2", "torch": None, "timm": None, "jax": "1",
             "blas": [{"name": "openblas", "version": "0.3", "kernels": "Zen"}]}
    assert machine.summary(facts) == "EPYC, 1 thread of 4 cores; openblas 0.3 with its Zen kernels; NumPy 2, " \
                                     "PyTorch not installed, timm not installed, JAX 1"
    assert set(facts) <= set(machine.facts())


@pytest.mark.parametrize("flags, words", [
    (["--repeats", "0"], ["--repeats 0"]), (["--models", "nfnet_f0,resnet"], ["resnet", "did you mean"]),
    (["--only", "networks", "everything"], ["--only everything", "peaks"]), (["--only"], ["--only"]),
    (["--json", "/nowhere/cpu.json"], ["/nowhere/cpu.json", "folder"])])
def test_mistakes_are_one_line_and_status_2(capsys, monkeypatch, flags, words):
    status, printed, error = run_command(command.main, capsys, monkeypatch, "cpu", *flags)
    assert status == 2 and not printed and error.startswith("error: ") and error.count("\n") == 1, error
    assert all(word in error for word in words), error


def test_flags_change_the_plan_and_quick_changes_their_defaults():
    assert cpu.plan_of({"quick": False, "models": "nfnet_f0,nf_resnet50", "repeats": 9}) == \
        dataclasses.replace(cpu.Plan(), models=("nfnet_f0", "nf_resnet50"), repeats=9)
    assert cpu.plan_of({"quick": True}) == cpu.QUICK
    assert cpu.Plan().batch_of("nf_resnet50") == 8 and cpu.Plan().batch_of("nf_regnet_32px") == 128


def test_only_the_wanted_sections_are_measured(capsys, monkeypatch, tmp_path):
    """And the status says whether all agree."""
    measured = []
    for name, part in cpu.PARTS.items():
        monkeypatch.setattr(part, "measure", lambda made, plan, name=name: measured.append(name))
    monkeypatch.setattr(networks, "failed", lambda made: True)
    monkeypatch.setattr(machine, "busy", lambda: 1.5)
    path = tmp_path / "cpu.json"
    status, printed, _ = run_command(command.main, capsys, monkeypatch, "cpu", "--json", path, "--only", "loading",
                                     "peaks")
    assert measured == ["peaks", "loading"] and status == 1
    assert "not measured" in printed and "1.5 cores were busy" in printed
    assert json.loads(path.read_text())["targets"]


def test_help_needs_no_torch_matplotlib_or_cupy():
    """Of both measurements; one process for both."""
    code = """
import contextlib, io, sys
for name in ("torch", "matplotlib", "cupy", "jax"):
    sys.modules[name] = None
from nfnumpy.bench.__main__ import main
for measurement, flag in (("cpu", "--only"), ("gpu", "--no-tests")):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([measurement, "--help"])
    assert flag in printed.getvalue()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
