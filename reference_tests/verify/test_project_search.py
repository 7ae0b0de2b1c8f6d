"""The search of a repository: what it finds, what it leaves alone, and what nothing in a file can make it do."""

import ast
import json
import os
import re
import textwrap

import pytest
from hypothesis import given, strategies as st

from nfnumpy.errors import InputError
from nfnumpy.verify.project import search
from nfnumpy.verify.project.definitions import definitions
from nfnumpy.verify.project.files import LARGEST
from nfnumpy.verify.project.kinds.networks import variant_named
from reference_tests.helpers.small_repository import FILES, KINDS, NUMPY, write_repository

AGC = textwrap.dedent("""
    def adaptive_clip(grad, param, clipping=0.01, eps=1e-3):
        limit = clipping * max(norm(param), eps)
        return grad * limit / norm(grad) if norm(grad) > limit else grad
    """)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return write_repository(tmp_path_factory.mktemp("small"))


@pytest.fixture
def folder(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path
    return write


def test_all_that_can_be_checked_is_found_and_nothing_else(repository):
    """30 of some sixty definitions; the others are batch norm wrappers, other clippings, other optimizers …"""
    found = search(repository)
    defined = sum(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for text in FILES.values()
                  for node in ast.parse(text).body)
    assert {(finding.file, finding.name): finding.kind for finding in found.findings} == KINDS
    assert defined - len(KINDS) > 20 and len(KINDS) > 20 and not found.unread


def test_a_finding_says_where_it_is_and_what_it_is_written_in(repository):
    by_name = {(finding.file, finding.name): finding for finding in search(repository).findings}
    for (file, name), finding in by_name.items():
        line = FILES[file].splitlines()[finding.line - 1]
        assert re.search(r"\w+(?='\]$|$)", name)[0] in line and finding.why
        assert line.lstrip().startswith(("def ", "class ")) or name.startswith("NONLINEARITIES")
        assert finding.target == f"{repository}/{file}:{name}"
        own = {"port/in_jax.py": "jax", "port/in_keras.py": "tensorflow", "port/arrays.py": "numpy"}.get(file, "torch")
        assert finding.framework == own
    assert by_name["port/training.py", "build.adaptive_clip"].obstacle
    assert not by_name["port/arrays.py", "Ops.weight_standardize"].obstacle


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode),
                         st.text("()[]{}:\n\t @=.,'\"\\#defclasif0x", max_size=200).map(str.encode),
                         st.binary(max_size=60).map(lambda tail: AGC.encode() + tail)),
       suffix=st.sampled_from([".py", ".ipynb"]))
def test_no_content_of_a_file_raises(scratch, content, suffix):
    """Each example replaces the file of the one before."""
    folder = scratch / "any"
    folder.mkdir(exist_ok=True)
    for name in ("file.py", "file.ipynb"):
        (folder / name).unlink(missing_ok=True)
    (folder / f"file{suffix}").write_bytes(content)
    found = search(folder)
    assert found.files + len(found.unread) == 1


DEEP = {"unary": "-" * 50_000 + "1", "sum": "1+" * 50_000 + "1", "attributes": "a" + ".b" * 50_000,
        "calls": "f" + "()" * 50_000, "parentheses": "(" * 5000, "lambdas": "lambda:" * 20_000 + "1",
        "branches": "if a: pass\n" + "elif b: pass\n" * 5000, "strings": "f'{" * 200,
        "inside": "\n".join(f"{' ' * k}def f{k}():" for k in range(90)) + "\n" + " " * 90 + "pass"}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_nesting_is_a_file_that_is_not_read_or_one_that_is(folder, text):
    found = search(folder(deep=text, port=AGC))
    assert [finding.name for finding in found.findings] == ["adaptive_clip"]
    assert found.files + len(found.unread) == 2


def test_nothing_is_imported(folder, tmp_path):
    traces = f"open({str(tmp_path / 'trace')!r}, 'w')\n"
    found = search(folder(port=traces + AGC, conftest=traces, setup=traces, sitecustomize=traces))
    assert len(found.findings) == 1 and not (tmp_path / "trace").exists()


def test_large_files_loops_of_links_and_pipes_are_passed_over(folder, tmp_path):
    root = folder(port=AGC, large="# " + "x" * LARGEST)
    (tmp_path / "loop").symlink_to(root, target_is_directory=True)
    (tmp_path / "copy.py").symlink_to(tmp_path / "port.py")
    os.mkfifo(tmp_path / "pipe.py")
    found = search(root)
    assert [finding.file for finding in found.findings] == ["port.py"] and found.findings[0].also == ()
    assert [file.path for file in found.unread] == ["large.py"]


@pytest.mark.parametrize("name", [".git", "node_modules", "build", "__pycache__", "site-packages", "x.egg-info", "any"])
def test_installed_and_built_code_is_passed_over(folder, tmp_path, name):
    root = folder(port=NUMPY)
    inner = tmp_path / name
    inner.mkdir()
    (inner / "other.py").write_text(AGC)
    if name == "any":
        (inner / "pyvenv.cfg").write_text("")
    assert {finding.file for finding in search(root).findings} == {"port.py"}


def test_the_same_code_is_listed_once_with_its_other_places(folder):
    changed = AGC.replace("eps)", "eps) + eps")
    found = search(folder(port=AGC, vendor__port=AGC.replace("adaptive_clip", "agc"), other=changed)).findings
    assert [finding.file for finding in found] == ["other.py", "port.py"]
    assert [finding.also for finding in found] == [(), ("vendor/port.py:2 agc",)]


def test_tests_and_copies_of_other_projects_come_last(folder):
    files = dict(a__tests__helpers=AGC, third_party__x=AGC.replace("0.01", "0.02"), z=AGC.replace("0.01", "0.03"))
    found = search(folder(**files)).findings
    assert found[0].file == "z.py" and {finding.confidence for finding in found[1:]} == {found[0].confidence / 2}


def test_a_notebook_is_read_and_cannot_be_run(tmp_path):
    cells = [{"cell_type": "markdown", "source": ["def no"]},
             {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install x\n", "import numpy as np\n"]},
             {"cell_type": "code", "source": AGC}]
    (tmp_path / "port.ipynb").write_text(json.dumps({"cells": cells}, indent=1))
    (finding,) = search(tmp_path).findings
    assert finding.kind == "agc" and "notebook" in finding.obstacle
    assert "adaptive_clip" in (tmp_path / "port.ipynb").read_text().splitlines()[finding.line - 1]


def test_bytes_that_are_no_text_leave_the_rest_of_a_file_readable(folder):
    found = search(folder(port=b"\xef\xbb\xbf# \xff\xfe caf\xe9\n" + AGC.encode()))
    assert len(found.findings) == 1


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        search(tmp_path / "nowhere")


def test_a_base_in_another_file_counts(folder):
    found = search(folder(base="import torch.nn as nn\nclass Layer(nn.Conv2d):\n    pass\n", port=textwrap.dedent("""
        from base import Layer
        class StdLayer(Layer):
            def forward(self, x):
                w = (self.weight - self.weight.mean()) / self.weight.std()
                return self._conv_forward(x, w, self.bias)
        """))).findings
    assert [(finding.kind, finding.name) for finding in found] == [("ws_conv", "StdLayer")]


def test_definitions_under_conditions_are_seen():
    text = "if True:\n    try:\n        def a(): pass\n    except E:\n        class B:\n            def c(self): pass\n"
    assert [definition.qualified for definition in definitions(text)] == ["a", "B", "B.c"]


def test_matrix_products_are_layers(folder):
    """As plain JAX writes them."""
    found = search(folder(port="""
        import jax


        def se(params, x):
            hidden = jax.nn.relu(x.mean((1, 2)) @ params["w0"] + params["b0"])
            gate = jax.nn.sigmoid(hidden @ params["w1"] + params["b1"])
            return 2 * x * gate[:, None, None]
        """.replace("\n        ", "\n")))
    assert [(finding.kind, finding.name) for finding in found.findings] == [("se", "se")]


@pytest.mark.parametrize(("name", "ours"), [("ResNet50V2", "resnetv2_50"), ("MobileNet", "mobilenetv1"),
                                            ("mobilenetv2_100", "mobilenetv2"), ("InceptionV3", "inception_v3"),
                                            ("mobilenet_v3_large", None)])
def test_networks_are_known_by_the_names_that_others_give_them(name, ours):
    assert variant_named(name) == ours
