"""The command that checks a port: its exit status, its reports, its complaints."""

import json
import re
import sys
import textwrap

import pytest

from nfnumpy import InputError
from nfnumpy.verify import __main__ as command, assert_conforms, check
from nfnumpy.verify.reports.html import html_page
from nfnumpy.verify.targets import load_target
from reference_tests.helpers.command_line import run_command

PORT = """
import numpy as np

def standardize(weight, gain):
    centred = weight - weight.mean((0, 1, 2))
    return gain * centred / np.sqrt(np.maximum(np.square(centred).sum((0, 1, 2)), 1e-4))

def bessel(weight, gain):
    squares = weight.var((0, 1, 2), ddof=1) * weight[..., 0].size
    return gain * (weight - weight.mean((0, 1, 2))) / np.sqrt(np.maximum(squares, 1e-4))

def added(weight, gain, eps=1e-5):
    scale = 1 / np.sqrt((weight.var((0, 1, 2)) + eps) * weight[..., 0].size)
    return gain * (weight - weight.mean((0, 1, 2))) * scale
"""


@pytest.fixture
def port(tmp_path):
    path = tmp_path / "port.py"
    path.write_text(textwrap.dedent(PORT))
    return path


def verify(capsys, monkeypatch, *arguments):
    return run_command(command.main, capsys, monkeypatch, *arguments)


@pytest.mark.parametrize("name, status, first", [
    ("standardize", 0, "conforms"), ("added", 0, "conforms as a named variant"), ("bessel", 1, "DIVERGES")])
def test_the_status_and_the_first_line_say_whether_it_conforms(capsys, monkeypatch, port, name, status, first):
    left, out, error = verify(capsys, monkeypatch, "ws_conv", f"{port}:{name}", "--examples", 3)
    assert (left, error) == (status, "") and out.splitlines()[0] == f"ws_conv {port}:{name} (numpy): {first}"


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_report_that_cannot_be_written_is_refused_at_once(capsys, monkeypatch, port, tmp_path, option):
    missing = tmp_path / "missing" / "report"
    left, out, error = verify(capsys, monkeypatch, "ws_conv", f"{port}:standardize", option, missing)
    assert (left, out) == (2, "") and f"{option} {missing}" in error


def test_options_reach_the_target(capsys, monkeypatch, port):
    _, out, _ = verify(capsys, monkeypatch, "ws_conv", f"{port}:added", "--examples", 1, "--option", "eps=1e-3")
    assert "namely: eps 0.001 added to variance" in out


def test_both_reports_have_the_verdict_and_load_nothing(capsys, monkeypatch, port, tmp_path):
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    verify(capsys, monkeypatch, "ws_conv", f"{port}:bessel", "--examples", 1, "--html", page, "--json", file)
    verdict, text = json.loads(file.read_text()), page.read_text()
    assert verdict["outcome"] == "diverges" and not verdict["passed"] and verdict["diagnosis"]
    assert verdict["differences"][0]["tensor"] == "standardized weight" and verdict["counterexample"]["weight"]
    for part in ("DIVERGES", *verdict["diagnosis"], "<svg", "standardized weight"):
        assert part in text
    assert not re.search(r"<script|src=|href=|url\(|@import", text)


def test_the_name_of_a_target_is_escaped_in_the_page():
    text = html_page(check("ws_conv", lambda weight: weight, examples=0, name="<b>&</b>", framework="numpy"))
    assert "<b>" not in text and "&lt;b&gt;&amp;&lt;/b&gt;" in text


def test_a_verdict_with_an_infinite_error_is_valid_json(capsys, monkeypatch, tmp_path):
    """RFC 8259 has no Infinity and no NaN; a strict parser must read the report."""
    path, file = tmp_path / "shape.py", tmp_path / "report.json"
    path.write_text("def standardize(weight, gain):\n    return weight[..., :1] * float('nan')\n")
    status, out, _ = verify(capsys, monkeypatch, "ws_conv", f"{path}:standardize", "--framework", "numpy", "--examples",
                            0, "--json", file)
    verdict = json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert status == 1 and verdict["differences"][0]["error_eps"] == "Infinity" and "inf" in out


@pytest.mark.parametrize("name", ["numpy", "json", "nfnumpy"])
def test_a_target_file_takes_no_module_of_its_name(capsys, monkeypatch, tmp_path, name):
    path, before = tmp_path / f"{name}.py", sys.modules[name]
    path.write_text(textwrap.dedent(PORT))
    status, _, error = verify(capsys, monkeypatch, "ws_conv", f"{path}:standardize", "--examples", 0)
    assert (status, error) == (0, "") and sys.modules[name] is before and str(tmp_path) not in sys.path


def test_a_target_file_imports_its_neighbours_but_no_namesakes(tmp_path):
    (tmp_path / "neighbour.py").write_text("VALUE = 3")
    (tmp_path / "fractions.py").write_text("raise RuntimeError('this is not the standard library')")
    (tmp_path / "port.py").write_text("import fractions, neighbour\nfound = fractions.Fraction(neighbour.VALUE)")
    sys.modules.pop("fractions", None)
    assert load_target(f"{tmp_path / 'port.py'}:found") == 3


@pytest.mark.parametrize("arguments, part", [
    (["wsconv", "x:y"], "unknown kind 'wsconv'"), (["agc", "nothing"], "expected package.module:attribute"),
    (["agc", "no_such_package.x:y"], "no module named 'no_such_package'"),
    (["agc", "nowhere.py:f"], "no file nowhere.py"),
    (["agc", "math:nothing"], "has no 'nothing'"), (["agc", "math:pi"], "agc"),
    (["agc", "math:sqrt", "--option", "eps"], "expected KEY=VALUE"),
    (["agc", "math:sqrt", "--framework", "theano"],
     "expected auto, keras, tensorflow, torch, haiku, flax, equinox, jax, numpy"),
    (["agc", "math:sqrt", "--examples", "-1"], "expected a whole number"),
    (["vectors", "nowhere"], "no folder nowhere")])
def test_what_cannot_be_run_is_one_line_and_status_2(capsys, monkeypatch, tmp_path, arguments, part):
    monkeypatch.chdir(tmp_path)
    status, out, error = verify(capsys, monkeypatch, *arguments)
    assert status == 2 and out == "" and error.startswith("error: ") and error.count("\n") == 1 and part in error, error


def test_a_file_that_fails_while_it_is_imported_is_one_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise ValueError('first\\nsecond')")
    status, _, error = verify(capsys, monkeypatch, "agc", f"{tmp_path / 'broken.py'}:f")
    assert status == 2 and error.count("\n") == 1 and "ValueError: first" in error


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("where", ["while it is imported", "when it is called"])
def test_a_target_that_exits_gives_no_verdict(capsys, monkeypatch, tmp_path, where, status):
    """The status of sys.exit in a target is not the command's: 0 would say that the target conforms."""
    program = f"import sys\nsys.exit({status})"
    if where == "when it is called":
        program = f"import sys\ndef f(weight, gain):\n    sys.exit({status})"
    (tmp_path / "exiting.py").write_text(program)
    left, out, error = verify(capsys, monkeypatch, "ws_conv", f"{tmp_path / 'exiting.py'}:f")
    assert (left, out) == (2, "") and error.count("\n") == 1 and f"SystemExit: {status}" in error


def test_the_pytest_helper_fails_with_the_whole_report(port):
    assert_conforms(check("ws_conv", load_target(f"{port}:standardize"), examples=1))
    variant = check("ws_conv", load_target(f"{port}:added"), examples=1)
    assert_conforms(variant)
    with pytest.raises(AssertionError, match="eps 1e-05 added to variance"):
        assert_conforms(variant, variants=False)
    with pytest.raises(AssertionError, match="Bessel-corrected"):
        assert_conforms(check("ws_conv", load_target(f"{port}:bessel"), examples=1))


@pytest.mark.parametrize("attribute", ['TABLE["standardize"]', "TABLE['a:b']", "LIST[0]", "LIST[-1]", "Holder.inner",
                                       "holder.method", 'TABLE["deeper"][1].method'])
def test_methods_and_entries_of_tables_are_targets(tmp_path, attribute):
    path = tmp_path / "port.py"
    path.write_text(textwrap.dedent(PORT) + textwrap.dedent("""
        class Holder:
            inner = staticmethod(standardize)
            def method(self, weight, gain):
                return standardize(weight, gain)
        holder = Holder()
        TABLE = {"standardize": standardize, "a:b": standardize, "deeper": (None, holder)}
        LIST = [standardize]
    """))
    assert check("ws_conv", load_target(f"{path}:{attribute}"), examples=0).passed


@pytest.mark.parametrize("attribute, text", [('TABLE["x"]', "no 'x'; it has the keys 'a'"), ("TABLE[3]", "no 3"),
                                             ("TABLE[", "expected an attribute such as"), ("f()", "such as name"),
                                             ("TABLE['a'].b", "has no 'b'")])
def test_an_entry_that_is_not_there_is_one_line(tmp_path, attribute, text):
    (tmp_path / "port.py").write_text("TABLE = {'a': 1}\n")
    with pytest.raises(InputError) as error:
        load_target(f"{tmp_path / 'port.py'}:{attribute}")
    assert text in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("program", ["os._exit(0)", "raise KeyError", "raise BaseException('far out')"])
@pytest.mark.parametrize("place", ["", "def f(weight, gain):\n    "])
def test_the_status_is_0_or_1_only_where_a_verdict_was_reached(capsys, monkeypatch, tmp_path, program, place):
    (tmp_path / "leaving.py").write_text(f"import os\n{place}{program}\n")
    left, out, error = verify(capsys, monkeypatch, "ws_conv", f"{tmp_path / 'leaving.py'}:f")
    assert (left, out) == (2, "") and error.count("\n") == 1


def test_an_exception_of_the_target_is_reported_with_its_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("def f(weight, gain):\n    part = weight[0]\n    return part.nothing\n")
    _, _, error = verify(capsys, monkeypatch, "ws_conv", f"{tmp_path / 'broken.py'}:f", "--framework", "numpy")
    assert "the target raised AttributeError: 'numpy.ndarray' object has no attribute 'nothing' (broken.py, line 3)" \
        in error


def test_means_says_which_argument_is_what(capsys, monkeypatch, tmp_path):
    (tmp_path / "port.py").write_text(
        "from nfnumpy.optim import adaptive_gradient_clip\n"
        "def clip(grad, param, c=0.02, d=1e-3):\n    return adaptive_gradient_clip(grad, param, c, d)\n")
    status, _, error = verify(capsys, monkeypatch, "agc", f"{tmp_path / 'port.py'}:clip", "--examples", 0)
    assert status == 2 and "say --means clipping=c" in error
    status, out, error = verify(capsys, monkeypatch, "agc", f"{tmp_path / 'port.py'}:clip", "--examples", 0,
                                "--means", "clipping=c", "--means", "eps=d")
    assert (status, error) == (0, ""), out + error
    status, _, error = verify(capsys, monkeypatch, "agc", f"{tmp_path / 'port.py'}:clip", "--means", "clipping")
    assert status == 2 and "--means clipping: expected ROLE=NAME" in error


@pytest.mark.parametrize("name", ["standardize", "Standard"])
def test_an_option_can_be_the_targets_alone(capsys, monkeypatch, tmp_path, name):
    """`layout` is the check's, and the target has an argument of that name."""
    (tmp_path / "port.py").write_text(textwrap.dedent("""
        import torch
        from torch import nn

        def standardize(weight, gain, layout):
            assert layout == "mine"
            variance, mean = torch.var_mean(weight, (1, 2, 3), unbiased=False, keepdim=True)
            return gain * (weight - mean) * (variance * weight[0].numel()).clamp(min=1e-4).rsqrt()

        class Standard(nn.Conv2d):
            def __init__(self, layout, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1):
                super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups)
                self.gain, self.layout = nn.Parameter(torch.ones(out_channels, 1, 1, 1)), layout

            def forward(self, x):
                return self._conv_forward(x, standardize(self.weight, self.gain, self.layout), self.bias)
    """))
    arguments = ("ws_conv", f"{tmp_path / 'port.py'}:{name}", "--examples", 0)
    status, out, error = verify(capsys, monkeypatch, *arguments, "--option", "target.layout=mine")
    assert (status, error) == (0, ""), out + error
    status, _, error = verify(capsys, monkeypatch, *arguments, "--option", "target.shape=mine")
    assert status == 2 and "--option target.shape=…: the target takes no 'shape'" in error
