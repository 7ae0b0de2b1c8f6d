"""docs/verdicts.md: its tables are those of docs/verdicts.toml, and what these say of the packages that the tests
install is what the checks find.

Not run: rows of other packages, which nothing here installs, and the few whose JAX code is compiled for a minute, which
the page marks as run by hand; the audit has such functions in JAX. `python -m reference_tests.tools.verdicts --check
NAME` runs those of a package that is installed.
"""

import importlib.metadata
import re
import tomllib

import pytest

from nfnumpy.verify import KINDS, Outcome
from reference_tests.tools import verdicts

PACKAGES = verdicts.packages()
PINS = dict(re.findall(r"^([\w-]+)==([\w.]+)", "\n".join(tomllib.loads(
    (verdicts.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]), re.MULTILINE))
RUN = [package for package in PACKAGES if package["name"] == "nfnumpy" or package["name"] in PINS]
ROWS = [pytest.param(package, row, id=f"{row['kind']}-{row['object']}") for package in RUN for row in package["rows"]
        if not row.get("by_hand")]


def version_of(package):
    """The installed version, for messages."""
    try:
        return importlib.metadata.version(package["name"])
    except importlib.metadata.PackageNotFoundError:
        return "another build of it"


def test_the_page_shows_the_table():
    assert verdicts.page() == verdicts.PAGE.read_text(encoding="utf-8"), "run python -m reference_tests.tools.verdicts"


def test_every_row_has_a_kind_a_verdict_and_what_was_read():
    outcomes = {*(str(outcome) for outcome in Outcome), verdicts.NO_VERDICT}
    for package in PACKAGES:
        assert package["name"] == "nfnumpy" or package["version"]
        for row in package["rows"]:
            assert row["kind"] in KINDS and row["verdict"] in outcomes and row["why"], row
            assert ("because" in row) <= (row["verdict"] not in ("conforms", verdicts.NO_VERDICT)), row


def test_the_versions_of_what_the_tests_install_are_those_of_the_table():
    """torch, JAX, Keras and TensorFlow are pinned: a pin moves together with the table, after the new code was read."""
    stated = {package["name"]: package["version"] for package in RUN if package["name"] != "nfnumpy"}
    assert stated == {name: PINS[name] for name in ("torch", "jax", "keras", "tensorflow-cpu")}


@pytest.mark.parametrize(("package", "row"), ROWS)
def test_the_verdict_is_the_one_of_the_table(package, row):
    versions = f"the table is for {package.get('version', 'these sources')}, installed is {version_of(package)}"
    assert verdicts.found(row) == verdicts.stated(row), f"{versions}: read the code, then correct docs/verdicts.toml"
