"""Tables, reports and targets: what was measured is printed and kept whole, and judged against its limits."""

import json
import math

import pytest

import nfnumpy as nf
from nfnumpy.bench import report, table, targets
from nfnumpy.bench.cases import update
from nfnumpy.bench.cpu import command as cpu
from nfnumpy.bench.implementations import EAGER, NCHW, TORCH


def report_with(section, **row):
    """A report of one row."""
    made = report.Report(None)
    made.sections[section] = report.Section(section, section)
    made.sections[section].add(**row)
    return made


def test_tables_fit_100_columns_and_a_missing_value_is_a_dash():
    rows = [{"name": "kernel" * 30, "ms": 1.23456, "text": "y" * 80}, {"name": "short", "ms": None}]
    lines = table.lines(rows, [("name", "name", ""), ("ms", "ms", ".2f"), ("text", "text", ""),
                               ("share", "share", table.percent)])
    assert all(len(line) <= 98 for line in lines) and lines[0].split() == ["name", "ms", "text", "share"]
    assert "1.23" in lines[1] and "…" in lines[1] and lines[2].split() == ["short", "-", "-", "-"]
    assert all(len(line) <= 100 for line in table.wrapped("word " * 100))


def test_a_failed_section_is_a_line_and_the_file_is_whole(capsys, tmp_path):
    """After each section."""
    path = tmp_path / "report.json"
    made = report.Report(path, machine={"device": "none"})
    with made.section("first", "First") as section:
        section.add(value=math.nan)
        raise ValueError("broken")
    assert json.loads(path.read_text())["sections"]["first"]["failure"] == "ValueError: broken"
    with made.section("second", "Second") as section:
        section.add(value=2, kind="x")
    read = json.loads(path.read_text())
    assert read["sections"]["first"]["rows"] == [{"value": "nan"}] and read["sections"]["second"]["failure"] is None
    assert read["machine"] == {"device": "none"} and set(read) == {"format", "date", "machine", "targets", "sections"}
    assert made.rows("second", kind="x") == [{"value": 2, "kind": "x"}] and made.rows("third") == []
    assert "stopped: ValueError: broken" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_stops_the_run_at_its_end(capsys, tmp_path):
    made = report.Report(tmp_path / "taken" / "gpu.json")
    with made.section("first", "First") as section:
        section.add(value=1)
    assert made.rows("first") == [{"value": 1}] and "cannot write" in capsys.readouterr().out
    with pytest.raises(nf.InputError, match="cannot write"):
        made.judge([])
    assert "Targets" in capsys.readouterr().out


def test_an_interruption_is_no_failure_of_a_section():
    with pytest.raises(KeyboardInterrupt), report.Report(None).section("first", "First"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("section, row, key, limit", [
    ("network nfnet_f0", {"work": "training", "implementation": TORCH}, "ratio", 0.8),
    ("network nfnet_f0", {"work": "inference", "implementation": TORCH}, "ratio", 1.0),
    ("network nf_resnet50", {"work": "training", "implementation": TORCH}, "ratio", 1.0),
    ("network nf_regnet_32px", {"work": "training", "implementation": TORCH}, "memory_ratio", 1.0),
    ("network resnet50", {"work": "training", "implementation": TORCH}, "ratio", 1.2),
    ("network efficientnet_b0", {"work": "folded", "implementation": NCHW}, "ratio", 1.0),
    ("update", {"work": update.TOGETHER, "implementation": EAGER}, "ratio", 0.4),
    ("scaling", {"axis": "depth", "kind": "fit"}, "excess", targets.EXPONENT_SLACK)])
def test_a_cpu_target_is_met_missed_or_not_measured(section, row, key, limit):
    wanted = targets.cpu_targets(cpu.Plan())
    for value, result in ((limit, "met"), (limit + 1e-3, "missed"), (None, "not measured")):
        judged = targets.judge_all(wanted, report_with(section, **row, **{key: value}))
        others = [target for target in judged if target["result"] != "not measured"]
        assert [target["result"] for target in others] == [result] * (value is not None)
    other = report_with(section, **{**row, "implementation": "another", "kind": "point"}, **{key: limit})
    assert all(target["result"] == "not measured" for target in targets.judge_all(wanted, other))


F0 = {"model": "nfnet_f0", "batch": 128, "work": "training"}
FASTEST = {**F0, "fastest": True}
NF_RESNET = {**FASTEST, "model": "nf_resnet50"}


@pytest.mark.parametrize("section, row, key, met, missed", [
    ("network nfnet_f0 tf32", {**FASTEST, "precision": "tf32"}, "ratio", 1.0, 1.01),
    ("network nfnet_f0 bf16", {**FASTEST, "precision": "bf16"}, "ratio", 1.0, 1.01),
    ("network nfnet_f0 bf16", {**FASTEST, "precision": "bf16", "work": "inference"}, "ratio", 1.0, 1.01),
    ("network nfnet_f0 tf32", {**FASTEST, "precision": "tf32"}, "memory_ratio", 1.0, 1.01),
    ("network nf_resnet50 bf16", {**NF_RESNET, "precision": "bf16"}, "ratio", 1.1, 1.11),
    ("host bf16", {**F0, "precision": "bf16", "fastest": True}, "busy", 0.95, 0.94),
    ("kernel files tf32", {**F0, "precision": "tf32", "file": "weight_standardization"}, "share", 0.029, 0.03),
    ("update", {"model": "nfnet_f0"}, "of_copy", 0.8, 0.79),
    ("update", {"model": "nfnet_f0"}, "speedup", 5.0, 4.9),
    ("digits", {}, "deviation", 0.006, 0.0061)])
def test_a_gpu_target_is_met_missed_or_not_measured(section, row, key, met, missed):
    for value, result in ((met, "met"), (missed, "missed"), (None, "not measured"), ("nan", "not measured")):
        judged = targets.judge_all(targets.GPU_TARGETS, report_with(section, **row, **{key: value}))
        assert [(one["value"], one["result"]) for one in judged if one["result"] != "not measured"] == \
            [(value, result)] * (result != "not measured")
    for name, value in {"model": "nfnet_f1", "batch": 64, "fastest": False}.items():
        if name in row:
            other = report_with(section, **{**row, name: value}, **{key: met})
            assert all(one["result"] == "not measured" for one in targets.judge_all(targets.GPU_TARGETS, other))
