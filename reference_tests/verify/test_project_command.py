"""`python -m nfnumpy.verify project`: the list, the checks that are picked, the reports, and the exit status."""

import html.parser
import json
import re
import textwrap

import pytest
from hypothesis import given, strategies as st

from nfnumpy.verify import __main__ as command
from nfnumpy.verify.project.command import status_of
from nfnumpy.verify.project.findings import Finding, Search
from nfnumpy.verify.project.running import Result, Settings, result_from, run_check, verdict_from
from nfnumpy.verify.reports import github, project as reports
from nfnumpy.verify.verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict
from reference_tests.helpers.command_line import run_command

PORT = """
import numpy as np
from .sizes import count

def standardize(weight, gain):
    centred = weight - weight.mean((0, 1, 2))
    return gain * centred / np.sqrt(np.maximum(np.square(centred).sum((0, 1, 2)), 1e-4))

def standardize_wrongly(weight, gain):
    var = weight.var((0, 1, 2), ddof=1) * count(weight)
    return gain * (weight - weight.mean((0, 1, 2))) / np.sqrt(np.maximum(var, 1e-4))

def standardize_with_eps(weight, gain, eps=1e-5):
    scale = 1 / np.sqrt((weight.var((0, 1, 2)) + eps) * count(weight))
    return gain * (weight - weight.mean((0, 1, 2))) * scale
"""
HOSTILE = {
    "leaves": "import os\nos._exit(0)\n", "exits": "import sys\nsys.exit(0)\n", "hangs": "while True: pass\n",
    "prints": "import os, sys\nsys.stderr.write('\\x1b[31m lost')\nsys.stderr.flush()\nos.kill(os.getpid(), 9)\n"}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "port").mkdir(parents=True)
    (folder / "port" / "__init__.py").write_text("")
    (folder / "port" / "sizes.py").write_text("def count(weight):\n    return weight[..., 0].size\n")
    (folder / "port" / "ws.py").write_text(PORT)
    return folder


@pytest.fixture
def project(capsys, monkeypatch, repository):
    def run(*arguments):
        return run_command(command.main, capsys, monkeypatch, "project", repository, "--examples", 0, *arguments)
    return run


def verdict(outcome, **fields):
    difference = Difference("standardized weight", float("inf"), 8.0, float("inf"))
    return Verdict(**{"kind": "ws_conv", "target": "f", "framework": "numpy", "outcome": outcome,
                      "precision": "float64", "examples": 1, "differences": (difference,), **fields})


def finding(**fields):
    return Finding(**{"file": "port.py", "line": 3, "kind": "ws_conv", "target": "port.py:f", "name": "f",
                      "framework": "numpy", "why": "it is called f", "confidence": 1.0, **fields})


def test_without_a_pick_the_findings_are_listed_and_nothing_runs(project, repository):
    (repository / "port" / "__init__.py").write_text("raise SystemExit(7)")
    status, out, error = project()
    assert (status, error) == (0, "") and out.count("ws_conv") == 3
    assert re.search(r"port/ws\.py:5 +standardize ", out)
    assert "conform" not in out and "--pick" in out


def test_verdicts_of_a_pick_and_the_report_for_its_author(project, tmp_path):
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    status, out, error = project("--pick", "standardize_wrongly,1", "--html", page, "--json", file)
    assert (status, error) == (1, "") and "1 conform, 1 diverge" in out
    given = {entry["name"]: entry for entry in json.loads(file.read_text())["findings"]}
    assert given["standardize"]["verdict"]["outcome"] == "conforms" and "verdict" not in given["standardize_with_eps"]
    wrong = given["standardize_wrongly"]["verdict"]
    assert wrong["diagnosis"] == ["Bessel-corrected variance"]
    assert "axes (0, 1, 2) of (kh, kw, in, out)" in wrong["formula"]
    assert "from port.ws import standardize_wrongly" in wrong["snippet"]
    for text in (out, html.unescape(page.read_text())):
        for part in ("Bessel-corrected variance", wrong["formula"], "DIVERGES", "port/ws.py:9",
                     *wrong["snippet"].splitlines()):
            assert part in text


def test_all_that_can_be_run_runs_and_what_fails_is_chosen(project, repository):
    (repository / "port" / "ws.py").write_text(PORT.replace("standardize_wrongly", "other").replace(", ddof=1", ""))
    status, out, _ = project("--run", "--fail-on", "variant", "--github")
    assert status == 1 and "2 conform, 1 conform as a named variant" in out
    (noted,) = re.findall("^::.*", out, re.MULTILINE)
    assert re.match(r"::error file=\S+port/ws.py,line=13,title=ws_conv standardize_with_eps is a variant::", noted)


@pytest.mark.parametrize("name", HOSTILE)
def test_code_that_ends_hangs_or_crashes_gives_no_verdict_and_harms_nothing(name, tmp_path):
    text = HOSTILE[name] + textwrap.dedent(PORT).replace("from .sizes import count\n", "")
    (tmp_path / "port.py").write_text(text)
    found = finding(target=f"{tmp_path}/port.py:standardize", name="standardize")
    result = run_check(str(tmp_path), found, Settings(timeout=1.0 if name == "hangs" else 60.0, examples=0))
    assert result.verdict is None and "\n" not in result.problem and "\x1b" not in result.problem
    expected = {"leaves": "SystemExit: 0", "exits": "SystemExit: 0", "hangs": "longer than 1 seconds",
                "prints": r"SIGKILL before it reached a verdict: \x1b[31m lost"}[name]
    assert expected in result.problem
    assert status_of([result], "diverges") == 2


@given(st.one_of(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(st.sampled_from(["verdict", "problem", "outcome", "differences"]), inner)).map(
        json.dumps)))
def test_whatever_a_process_wrote_is_a_result(content):
    """Foreign code finds the file of the result and writes what it likes."""
    result = result_from(finding(), content)
    assert result.verdict is None and result.problem and "\n" not in result.problem


def test_a_verdict_survives_its_file():
    for each in (verdict(DIVERGES, counterexample={"x": [1.0]}, relative_difference=float("nan"), notes=("a", "b")),
                 verdict(CONFORMS, differences=()), verdict(VARIANT, diagnosis=("eps",), explanation=("It is.",))):
        again = verdict_from(json.loads(json.dumps(each.as_json(), allow_nan=False)))
        assert str(again) == str(each) and again.passed == each.passed


@pytest.mark.parametrize("outcomes, fail_on, status", [
    ((CONFORMS, VARIANT), "diverges", 0), ((CONFORMS, VARIANT), "variant", 1), ((CONFORMS, None), "diverges", 2),
    ((None, DIVERGES), "diverges", 1), ((CONFORMS,), "variant", 0), ((None, VARIANT), "diverges", 2)])
def test_the_status_of_several(outcomes, fail_on, status):
    assert status_of([Result(finding(), outcome and verdict(outcome)) for outcome in outcomes], fail_on) == status


@pytest.mark.parametrize("arguments, part", [
    (("--pick", "99"), "--pick 99"), (("--pick", ","), "--pick"), (("--timeout", "0"), "--timeout"),
    (("--json", "/nowhere/x"), "--json /nowhere/x"), (("--option", "eps"), "KEY=VALUE")])
def test_bad_arguments_are_one_line(project, arguments, part):
    status, out, error = project(*arguments)
    assert (status, out) == (2, "") and part in error and error.count("\n") == 1


def test_an_obstacle_is_said_and_nothing_runs(tmp_path):
    (tmp_path / "port.py").write_text("open('trace', 'w')")
    result = run_check(str(tmp_path), finding(obstacle="it is defined inside a function"), Settings())
    assert result.problem == "it is defined inside a function" and not (tmp_path / "trace").exists()


# annotations


def unescaped(text):
    return text.replace("%0A", "\n").replace("%0D", "\r").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")


@given(title=st.text(), text=st.text(), file=st.text("a:,%/\n\r.", min_size=1))
def test_an_annotation_is_one_line_that_gives_back_what_was_put_in(title, text, file):
    line = github.command("error", f"/x/{file}", 3, title, text)
    assert "\n" not in line and "\r" not in line
    head, _, data = line.removeprefix("::error ").partition("::")
    properties = dict(part.split("=", 1) for part in head.split(","))
    assert unescaped(properties["title"]) == title and unescaped(data) == text
    assert unescaped(properties["file"]) == f"/x/{file}" and properties["line"] == "3"


def test_a_check_alone_annotates_the_definition_of_its_target(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "port.py").write_text(PORT.replace("from .sizes import count\n", "count = lambda w: w[..., 0].size\n"))
    for name, status, options in (("standardize_wrongly", 1, ()), ("standardize_with_eps", 0, ()),
                                  ("standardize", 0, ()), ("standardize_with_eps", 1, ("--fail-on", "variant"))):
        left, out, _ = run_command(command.main, capsys, monkeypatch, "ws_conv", f"port.py:{name}", "--examples", 0,
                                   "--github", *options)
        noted = re.findall(r"^::(\w+) file=port\.py,line=(\d+),title=ws_conv (\w+) ", out, re.MULTILINE)
        line = next(number for number, text in enumerate(PORT.splitlines(), 1) if text.startswith(f"def {name}("))
        expected = [] if name == "standardize" else [("error" if status else "warning", str(line), name)]
        assert (left, noted) == (status, expected)


# the page


class Checker(html.parser.HTMLParser):
    """Whether every element that needs it is closed, in order."""

    VOID = ("meta", "line", "circle", "!doctype")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        assert not {name for name, _ in attributes} & {"src", "href", "onload", "onclick"}

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_valid_loads_nothing_and_escapes_names():
    found = [Result(finding(name="<b>&</b>", file="<i>.py"), verdict(DIVERGES, snippet="print('<x>')")),
             Result(finding(), verdict(VARIANT, diagnosis=("<eps>",), explanation=("It is added.",))),
             Result(finding(), verdict(CONFORMS)), Result(finding(), None, "<problem>")]
    listed = Search("<folder>", tuple(result.finding for result in found), 4, ())
    for results in (found, []):
        text, checker = reports.html_page(listed, results), Checker()
        checker.feed(text)
        checker.close()
        assert not checker.open and "<script" not in text and "<b>" not in text and "<x>" not in text
    assert len(text) < 10_000
