"""`python -m nfnumpy.bench cpu`: that all sides compute the same, that what it says is what it measured, and that what
is not there, or breaks, is a line.

Its times mean nothing here, and nothing is asserted of them but that they are there.
"""

import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from reference_tests.helpers.command_line import run_command
from hypothesis import given, strategies as st
from reference_tests.models.test_models_against_torch import BOUND, FAMILIES, SIZES, batch, difference, random_state
from torch.nn import functional as F

import nfnumpy as nf
from nfnumpy.bench import __main__ as command, bars, problem, report, timing, torch_layers, torch_networks
from nfnumpy.bench.cpu import (
    cases,
    ceilings,
    command as cpu,
    contestants,
    fed_network,
    growth,
    input_side,
    limits,
    machine,
    memory,
    networks,
    operations,
    our_network,
    our_operation,
    our_update,
    pictures,
    processes,
    torch_operation,
    torch_update,
    update,
)

EPSILON = float(np.finfo(np.float32).eps)


@pytest.fixture(autouse=True)
def one_thread_in_every_process(monkeypatch):
    """PyTorch's threads wait for each other busily, and the other worker of these tests is on the other core."""
    monkeypatch.setenv("NFNUMPY_THREADS", "1")


# ---- PyTorch's side computes what ours does


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_torch_networks_have_our_logits_and_gradients(family, size):
    config = FAMILIES[family]
    model = nf.models.from_config(config, dtype="float64", seed=1)
    model.load_state_dict(random_state(model, 1))
    network = torch_networks.network_of(config).double()
    torch_layers.load(network, model.state_dict())
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


def sides_of(case, direction):
    """The same case on our side and on PyTorch's."""
    for side in (our_operation.OurOperation(False), our_operation.OurOperation(True), torch_operation.TorchOperation()):
        side.prepare(case, direction, least=0.0)
        yield side


@pytest.mark.parametrize("case", cases.cases(shrunk=128), ids=lambda case: case.title)
def test_operations_are_the_same_on_all_sides_and_have_the_shape_they_say(case):
    """A value is a sum of at most n products of standard normal numbers, n the size of a weight or of an image: it is
    at most some √n·5 and rounding at most √n epsilons of that, were errors random; the bound is ten times as much."""
    terms = max(math.prod(shape) for shape in case.shapes)
    ours, plain, theirs = sides_of(case, cases.FORWARD)
    results = [ours.forward().numpy(), plain.forward().numpy(), theirs.forward().detach()]
    results[2] = (results[2].permute(2, 3, 1, 0) if case.operation == "standardize_weight" else
                  results[2].permute(0, 2, 3, 1) if results[2].ndim == 4 else results[2]).numpy()
    for result in results:
        assert result.shape == case.output_shape() and result.dtype == np.float32
        assert np.abs(result - results[1]).max() <= 10 * math.sqrt(terms) * EPSILON * np.abs(results[1]).max()


def test_our_derivatives_and_theirs_are_of_the_same_inputs():
    for case in cases.cases(shrunk=128):
        ours, _, theirs = sides_of(case, cases.BACK)
        ours.back(ours.forward())
        assert tuple(tensor.grad is not None for tensor in ours.inputs) == case.wanted
        assert tuple(tensor.requires_grad for tensor in theirs.inputs) == case.wanted


def test_no_network_hides_from_its_loss():
    """What starts at 0 is not 0 here: the skip gains, and the last weight of an NF-RegNet."""
    for model in ("nfnet_8px", "nf_resnet_32px", "nf_regnet_32px"):
        network = our_network.OurNetwork(problem.Problem(model, 2))
        assert len(set(network.inference().ravel().tolist())) > 2
        gains = [parameter.data for name, parameter in network.session.model.parameters().items()
                 if name.endswith("skip_gain")]
        assert gains and all(gain == 1.0 for gain in gains)


def test_reference_mode_is_reference_mode(monkeypatch):
    asked = []
    for formula in nf.backend.formulas():
        monkeypatch.setitem(formula.fast_paths, "numpy",
                            lambda *_, name=formula.__name__, **__: asked.append(name) or NotImplemented)
    our_network.OurNetwork(problem.Problem("nfnet_8px", 2), plain=True).training()
    assert not asked
    our_network.OurNetwork(problem.Problem("nfnet_8px", 2)).training()
    assert asked


def test_both_updates_change_as_many_values():
    tiny = problem.Problem("nfnet_8px", 1)
    ours, theirs = our_update.OurUpdate(tiny), torch_update.TorchUpdate(tiny, True)
    expected = nf.analysis.count_params(nf.models.create("nfnet_8px", shapes_only=True))
    assert ours.parameters() == theirs.parameters() == expected
    for side in (ours, theirs):
        for work in update.BYTES:
            side.work(work)
    assert theirs.source() in ("timm", "a loop like timm's")


# ---- processes and their memory


def test_a_process_does_what_it_is_asked_and_tells_what_went_wrong_in_one_line():
    with processes.Process("collections:Counter", "abba") as process:
        assert process.ask("most_common", 1) == [("a", 2)]
        with pytest.raises(timing.OneLine, match="^AttributeError: .*nonsense"):
            process.ask("nonsense")
        milliseconds, peak = process.sample(0.0, "update", "b")
        assert milliseconds > 0.0 and peak > 0 and process.ask("total") == 6  # one is not counted
    assert not process._process.is_alive()


@pytest.mark.parametrize("least, counted", [(0.0, 1), (7.0, 1), (70.0, 7), (75.0, 8)])
def test_a_turn_is_as_many_calls_as_it_takes_after_one_that_does_not_count(monkeypatch, least, counted):
    """On a clock that goes on by 10 ms a call, but by 30 in the first of those that count."""
    clock, calls = [0.0], []

    def work():
        calls.append(clock[0])
        clock[0] += 0.03 if len(calls) == 2 else 0.01

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    assert timing.steady_milliseconds(work, least) == pytest.approx((10 * counted + 20) / counted)
    assert len(calls) == 1 + counted


@pytest.mark.parametrize("maker, line", [("nowhere:Thing", "ModuleNotFoundError"),
                                         ("builtins:nothing", "AttributeError")])
def test_what_cannot_be_made_is_a_note(maker, line):
    with report.Report(None).section("x", "x") as section, contextlib.ExitStack() as stack:
        found = contestants.opened(stack, section, {"good": ("builtins:list",), "bad": (maker,)})
        assert list(found) == ["good"]
    assert len(section.notes) == 1 and section.notes[0].startswith(f"bad is left out: {line}")


def test_a_process_that_dies_is_a_line():
    with processes.Process("importlib:import_module", "os") as process:
        with pytest.raises(timing.OneLine, match="^its process ended with status 3$"):
            process.ask("_exit", 3)
    with processes.Process("importlib:import_module", "os") as process:
        os.kill(process.ask("getpid"), signal.SIGKILL)
        with pytest.raises(timing.OneLine, match="status -9; out of memory[?]"):
            process.ask("getpid")


def test_a_peak_of_memory_is_that_of_the_call_alone():
    size = 1 << 26
    with processes.Process("numpy.random:default_rng", 0) as process:
        small = process.sample(0.0, "random", 1)[1]
        large = process.sample(0.0, "random", size // 8)[1]
        again = process.sample(0.0, "random", 1)[1]
    assert large - small >= 0.9 * size and large - again >= 0.9 * size


def test_where_the_system_tells_less_a_peak_is_that_of_the_whole_life(monkeypatch):
    assert memory.forget_peak() and 0 < memory.resident() <= memory.peak()
    monkeypatch.setattr(memory, "STATUS", "/nowhere/status")
    monkeypatch.setattr(memory, "CLEAR", "/nowhere/clear_refs")
    assert not memory.forget_peak() and memory.peak() == memory.resident() > 1 << 20


# ---- what is counted


def test_a_convolutions_operations_are_two_for_every_multiply_add():
    inner = cases.convolution("x", 2, 5, 8, 12, 3, stride=2, groups=4)
    assert inner.output_shape() == (2, 3, 3, 12)
    assert inner.operations(cases.FORWARD) == 2 * (2 * 3 * 3 * 12) * (3 * 3 * 2)
    assert inner.operations(cases.BACK) == 2 * inner.operations(cases.FORWARD)
    images, weight, bias, output = 2 * 5 * 5 * 8, 3 * 3 * 2 * 12, 12, 2 * 3 * 3 * 12
    assert inner.bytes(cases.FORWARD) == 4 * (images + weight + bias + output)
    assert inner.bytes(cases.BACK) == 4 * (2 * (images + weight + bias) + output)


def test_nobody_wants_the_cotangent_of_images():
    stem = cases.convolution("x", 2, 5, 3, 12, 3)
    assert stem.operations(cases.BACK) == stem.operations(cases.FORWARD)
    assert stem.bytes(cases.BACK) == stem.bytes(cases.FORWARD) + 4 * (3 * 3 * 3 * 12 + 12)


def test_other_operations_are_counted_in_bytes():
    residual, = (case for case in cases.cases() if case.operation == "skip_init")
    size = math.prod(residual.shapes[0])
    assert residual.operations(cases.FORWARD) is None
    assert residual.bytes(cases.FORWARD) == residual.bytes(cases.BACK) == 12 * size


@given(st.floats(-3, 3), st.floats(0.1, 10), st.lists(st.integers(1, 1000), min_size=2, max_size=6, unique=True))
def test_the_exponent_of_a_power_law_is_found(power, factor, values):
    """Logarithms err by an epsilon of at most 21; the fit divides by their spread, at least log(1000/999) = 1e-3."""
    found = growth.exponent(values, [factor * value**power for value in values])
    assert found == pytest.approx(power, abs=1e-9)


def test_growth_goes_along_one_axis_at_a_time():
    config = nf.models.config_of("nfnet_8px")
    points = {axis: list(growth._problems(axis, "nfnet_8px", 2, 3)) for axis in growth.AXES}
    assert [value for value, _ in points["batch"]] == [2, 4, 8]
    assert [problem.pixels for _, problem in points["resolution"]] == [8, 12, 16]
    assert [sum(problem.config.depths) for _, problem in points["depth"]] == [3, 6, 12]
    for axis, along in points.items():
        assert along[0][1].pixels == 8 and along[0][1].batch == 2 and along[0][1].config.depths == config.depths


# ---- bars


def report_with(section, **row):
    """A report of one row."""
    told = report.Report(None)
    with told.section(section, section) as part:
        part.add(**row)
    return told


@pytest.mark.parametrize("section, row, key, limit", [
    ("network nfnet_f0", {"work": "training", "contestant": contestants.TORCH}, "ratio", 0.8),
    ("network nfnet_f0", {"work": "inference", "contestant": contestants.TORCH}, "ratio", 1.0),
    ("network nf_resnet50", {"work": "training", "contestant": contestants.TORCH}, "ratio", 1.0),
    ("network nf_regnet_32px", {"work": "training", "contestant": contestants.TORCH}, "memory_ratio", 1.0),
    ("update", {"work": update.TOGETHER, "contestant": update.EAGER}, "ratio", 0.4),
    ("growth", {"axis": "depth", "kind": "fit"}, "excess", limits.SLACK)])
def test_a_bar_is_met_missed_or_not_measured(section, row, key, limit):
    wanted = limits.bars_of(cpu.Plan())
    for value, result in ((limit, "met"), (limit + 1e-3, "missed"), (None, "not measured")):
        judged = bars.judged(wanted, report_with(section, **row, **{key: value}))
        others = [bar for bar in judged if bar["result"] != "not measured"]
        assert [bar["result"] for bar in others] == [result] * (value is not None)
    other = report_with(section, **{**row, "contestant": "somebody", "kind": "point"}, **{key: limit})
    assert all(bar["result"] == "not measured" for bar in bars.judged(wanted, other))


def contestant(logits, loss):
    """A contestant whose first answers these are."""
    made = networks._Contestant(type("Process", (), {"ask": lambda self, what: 0})())
    made.answers = {"inference": np.array(logits), "training": loss}
    return made


@pytest.mark.parametrize("logits, loss, agrees", [
    ([3.0, 4.0], 2.0, True), ([3.0, 4.0001], 2.0, True), ([3.0, 4.001], 2.0, False), ([3.0, 4.0], 2.001, False)])
def test_whoever_computes_something_else_is_noticed(logits, loss, agrees):
    found = networks._agreement({contestants.OURS: contestant([3.0, 4.0], 2.0), "it": contestant(logits, loss)}, "it")
    assert found["agrees"] is agrees
    assert networks.failed(report_with("network x", **found)) is not agrees


@pytest.mark.parametrize("milliseconds, lines", [(3.0, 1), (5.0, 0)])
def test_where_channels_first_are_faster_it_says_so(milliseconds, lines):
    rows = [{"work": "training", "contestant": contestants.TORCH, "ms": 4.0, "ratio": 0.5},
            {"work": "training", "contestant": contestants.NCHW, "ms": milliseconds, "ratio": 2.0 / milliseconds},
            {"work": "inference", "contestant": contestants.NCHW}]
    found = list(networks._remarks(rows))
    assert len(found) == lines and all("channels first" in line and "0.667" in line for line in found)


def test_a_ratio_of_memory_is_told_with_and_without_the_libraries():
    ours, its = {"memory": 300, "memory_before": 100}, {"memory": 600, "memory_before": 200}
    assert networks._memory_ratios(ours, its) == {"memory_ratio": 0.5, "net_memory_ratio": 0.5}
    assert networks._memory_ratios(ours, {}) == {} == networks._memory_ratios({"memory": None}, its)


# ---- the input side


def test_pictures_are_decoded_for_training_and_the_wait_is_a_share(tmp_path):
    paths = input_side.write_pictures(tmp_path, 16)
    assert len(paths) == input_side.FILES and nf.datasets.read_image(paths[0]).shape == (12, 16, 3)
    network = fed_network.FedNetwork(problem.Problem("nfnet_8px", 4), paths)
    milliseconds, waiting = network.from_files(2)
    assert milliseconds > 0.0 and 0.0 <= waiting <= 1.0
    assert network.from_memory(1) > 0.0 and network.decoding(2) > 0.0


# ---- everything at once


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """(status, the report as JSON has it, its folder) of a quick run of everything."""
    path = tmp_path_factory.mktemp("bench") / "cpu.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NFNUMPY_THREADS", "1")
        status = cpu.measure(cpu.QUICK, str(path))
    return status, json.loads(path.read_text()), path.parent


def test_a_whole_run_leaves_a_report_of_every_section(whole_run):
    status, told, _ = whole_run
    assert set(told) == {"format", "date", "machine", "options", "bars", "sections"}
    assert list(told["sections"]) == ["ceilings", "network nfnet_8px", "update", "operations", "growth", "input"]
    assert {name: section["failure"] for name, section in told["sections"].items() if section["failure"]} == {}
    rows = [row for section in told["sections"].values() for row in section["rows"]]
    assert not [row["failure"] for row in rows if row.get("failure")] and status == 0
    assert all(section["rows"] for section in told["sections"].values())
    assert {"processor", "threads", "blas", "torch", "timm", "jax", "numpy"} <= set(told["machine"])
    assert {bar["result"] for bar in told["bars"]} <= {"met", "missed"}


def test_a_whole_run_compares_everyone_in_both_kinds_of_work(whole_run):
    rows = whole_run[1]["sections"]["network nfnet_8px"]["rows"]
    for work in networks.WORKS:
        by_name = {row["contestant"]: row for row in rows if row["work"] == work}
        assert {contestants.OURS, contestants.PLAIN, contestants.TORCH, contestants.NCHW} <= set(by_name)
        ours, theirs = by_name[contestants.OURS], by_name[contestants.TORCH]
        assert theirs["ratio"] == pytest.approx(ours["ms"] / theirs["ms"])  # one pair, whose ratio is the median
        assert theirs["memory_ratio"] == pytest.approx(ours["memory"] / theirs["memory"])
        assert ours["memory"] > ours["memory_before"] > 0
    assert [row["agrees"] for row in rows if "agrees" in row] == [True] * (len(rows) // 2 - 1)


def test_a_whole_run_rates_the_update_and_the_operations(whole_run):
    sections = whole_run[1]["sections"]
    values = nf.analysis.count_params(nf.models.create("nfnet_8px", shapes_only=True))
    for row in sections["update"]["rows"]:
        assert row["rate"] == pytest.approx(1e-6 * update.BYTES[row["work"]] * values / row["ms"])
    peak = next(row["rate"] for row in sections["ceilings"]["rows"] if row["what"] == ceilings.PRODUCTS)
    products = [row for row in sections["operations"]["rows"] if row["operations"]]
    assert len(sections["operations"]["rows"]) == 2 * len(cases.cases())
    for row in products:
        assert row["rate"] == pytest.approx(1e-6 * row["operations"] / row["nfnumpy_ms"])
        assert row["of_peak"] == pytest.approx(row["rate"] / peak)


def test_a_whole_run_leaves_three_pictures(whole_run):
    for name in ("bars", "roofline", "growth"):
        assert (whole_run[2] / f"cpu-{name}.png").read_bytes().startswith(b"\x89PNG")


def without(monkeypatch, *packages):
    """As if these were not installed."""
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name in packages else plain(name, *rest))


def test_without_torch_our_side_is_measured_and_it_says_so(monkeypatch, capsys):
    without(monkeypatch, "torch")
    told = report.Report(None)
    update.measure(told, cpu.QUICK)
    networks.measure(told, cpu.QUICK)
    assert capsys.readouterr().out.count("PyTorch is not installed: its side is left out.") == 2
    rows = told.rows("update") + told.rows("network nfnet_8px")
    assert {row["contestant"] for row in rows} == {contestants.OURS, contestants.PLAIN}
    assert all(row["ms"] > 0 and row["failure"] is None for row in rows)


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch, capsys, tmp_path):
    without(monkeypatch, "matplotlib")
    pictures.draw_all(report.Report(None), str(tmp_path / "cpu"))
    assert capsys.readouterr().out == f"{pictures.INSTALL}\n" and not os.listdir(tmp_path)


def test_what_was_not_measured_is_not_drawn(capsys, tmp_path):
    pictures.draw_all(report.Report(None), str(tmp_path / "cpu"))
    assert not os.listdir(tmp_path) and not capsys.readouterr().out


# ---- the command


def test_the_machine_is_told_in_one_line():
    facts = {"processor": "EPYC", "cores": 4, "threads": 1, "numpy": "2", "torch": None, "timm": None, "jax": "1",
             "blas": [{"name": "openblas", "version": "0.3", "kernels": "Zen"}]}
    assert machine.summary(facts) == "EPYC, 1 thread of 4 cores; openblas 0.3 with its Zen kernels; NumPy 2, " \
                                     "PyTorch not installed, timm not installed, JAX 1"
    assert set(facts) <= set(machine.facts())


@pytest.mark.parametrize("flags, words", [
    (["--repeats", "0"], ["--repeats 0"]), (["--models", "nfnet_f0,resnet"], ["resnet", "did you mean"]),
    (["--only", "networks", "everything"], ["--only everything", "ceilings"]), (["--only"], ["--only"]),
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


def test_only_what_is_asked_for_is_measured_and_the_status_says_whether_all_agree(capsys, monkeypatch, tmp_path):
    asked = []
    for module in (ceilings, networks, update, operations, growth, input_side):
        monkeypatch.setattr(module, "measure", lambda told, plan, module=module: asked.append(module))
    monkeypatch.setattr(networks, "failed", lambda told: True)
    monkeypatch.setattr(machine, "busy", lambda: 1.5)
    path = tmp_path / "cpu.json"
    status, printed, _ = run_command(command.main, capsys, monkeypatch, "cpu", "--json", path, "--only", "input",
                                     "ceilings")
    assert asked == [ceilings, input_side] and status == 1
    assert "not measured" in printed and "1.5 cores were busy" in printed
    assert json.loads(path.read_text())["bars"]


def test_help_needs_neither_torch_nor_matplotlib():
    code = "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = sys.modules['cupy'] = None; " \
           "from nfnumpy.bench.__main__ import main; main(['cpu', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--only" in done.stdout
