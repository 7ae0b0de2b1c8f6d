"""The pytest plugin: the targets of pyproject.toml as tests, and nothing at all where there are none."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nfnumpy_pytest.items import items_of

ROOT = Path(__file__).parents[2]
PORT = """
import numpy as np

def right(weight, gain):
    centred = weight - weight.mean((0, 1, 2))
    return gain * centred / np.sqrt(np.maximum(np.square(centred).sum((0, 1, 2)), 1e-4))

def with_eps(weight, gain, eps=1e-5):
    scale = 1 / np.sqrt((weight.var((0, 1, 2)) + eps) * weight[..., 0].size)
    return gain * (weight - weight.mean((0, 1, 2))) * scale
"""
SECTION = """
[tool.nfnumpy.verify]
targets = [
    {kind = "ws_conv", target = "port.py:right", examples = 0},
    {kind = "ws_conv", target = "port.py:with_eps", examples = 0, options = {eps = 1e-3}},
    {kind = "ws_conv", target = "port:with_eps", examples = 0, fail-on = "variant"},
    {kind = "ws_conv", target = "port.py:nothing", framework = "numpy"},
]
"""
TEST = "import sys\ndef test_alone():\n    assert 'nfnumpy' not in sys.modules\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "port.py").write_text(PORT)
    (tmp_path / "test_own.py").write_text(TEST)
    (tmp_path / "pyproject.toml").write_text(SECTION)
    return tmp_path


def run(folder, *arguments):
    """(status, output) of pytest with the plugin and no other, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "nfnumpy_pytest", "-p", "no:cacheprovider", "-v", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HOME": str(folder)})
    return done.returncode, done.stdout + done.stderr


def test_targets_are_tests_that_fail_with_the_report(folder):
    status, out = run(folder)
    assert status == 1 and "2 failed, 3 passed" in out
    for name, outcome in (("port.py:right", "PASSED"), ("port.py:with_eps", "PASSED"), ("port:with_eps", "FAILED"),
                          ("port.py:nothing", "FAILED")):
        assert f"pyproject.toml::ws_conv[{name}] {outcome}" in out
    assert "eps 1e-05 added to variance" in out and "has no 'nothing'" in out and "Traceback" not in out


def test_with_paths_nothing_is_collected_or_imported_but_what_is_asked_for(folder):
    assert run(folder, "test_own.py")[0] == 0
    status, out = run(folder, "test_own.py", "--nfnumpy-verify", "-k", "right")
    assert status == 0 and "ws_conv[port.py:right] PASSED" in out and "4 deselected" in out


@pytest.mark.parametrize("text, part", [
    ("targets = 3", "expected a list"), ("targets = [3]", "expected a table"), ("targets = [{kind = 'agc'}]", "target"),
    ("targets = [{kind = 'agc', target = 'a:b', example = 1}]", "unknown 'example'"),
    ("targets = [{kind = 'agc', target = 'a:b', examples = true}]", "is no int"),
    ("targets = [{kind = 'agc', target = 'a:b', fail-on = 'x'}]", "fail-on"), ("targets = [", "pyproject.toml")])
def test_a_section_that_is_no_list_of_targets_is_one_line(tmp_path, text, part):
    (tmp_path / "pyproject.toml").write_text(f"[tool.nfnumpy.verify]\n{text}\n")
    with pytest.raises(pytest.UsageError, match=part) as raised:
        list(items_of(None, tmp_path / "pyproject.toml"))
    assert "\n" not in str(raised.value)


def test_a_section_without_targets_has_no_tests(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nnfnumpy.other = 1\n")
    assert not list(items_of(None, tmp_path / "pyproject.toml"))


def test_pytest_finds_the_plugin_by_its_entry_point():
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ((name, module),) = given["project"]["entry-points"]["pytest11"].items()
    assert hasattr(importlib.import_module(module), "pytest_collection_modifyitems") and name == module
    assert module in given["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
