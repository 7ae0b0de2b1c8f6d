"""The head of every file of formulas says where they are used, sped up and tested, and names files that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMULAS = sorted(path for path in (ROOT / "nfnumpy" / "functional").glob("*.py") if path.stem != "__init__")
FOLDERS = [ROOT, ROOT / "nfnumpy", ROOT / "nfnumpy" / "functional", ROOT / "nfnumpy" / "backend" / "kernels",
           ROOT / "reference_tests", ROOT / "reference_tests" / "functional"]


@pytest.mark.parametrize("path", FORMULAS, ids=lambda path: path.stem)
def test_the_head_names_users_and_tests_that_exist(path):
    head = ast.get_docstring(ast.parse(path.read_text()))
    assert "Used by: " in head and "Test: " in head
    for name in re.findall(r"[\w/]+(?:\.py|\.cu|/(?=[ ,.]))", head):
        assert any((folder / name).exists() for folder in FOLDERS), name
