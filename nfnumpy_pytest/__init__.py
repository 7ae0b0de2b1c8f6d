"""The pytest plugin of nfnumpy: targets that pyproject.toml names are collected as tests.

    [tool.nfnumpy.verify]
    targets = [{kind = "agc", target = "my_port.py:clip"}]

They run where pytest is given no paths, or with --nfnumpy-verify. Nothing of nfnumpy is imported before one of them
runs, and where there is no such section nothing but this file is.
"""

import pytest

SECTION = "tool.nfnumpy"
WANTED = "nfnumpy_verify"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--nfnumpy-verify."""
    parser.getgroup("nfnumpy").addoption(
        "--nfnumpy-verify", action="store_true", help="run the checks that [tool.nfnumpy.verify] of pyproject.toml "
        "lists, also where paths are given")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist, which gets paths in any case, whether pytest was given some."""
    node.workerinput[WANTED] = _is_wanted(node.config)  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose among all tests
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each target."""
    file = config.rootpath / "pyproject.toml"
    if _is_wanted(config) and file.is_file() and SECTION in file.read_text(encoding="utf-8", errors="replace"):
        from .items import items_of
        items.extend(items_of(session, file))


def _is_wanted(config):
    if hasattr(config, "workerinput"):
        return config.workerinput.get(WANTED, False)
    return config.getoption("--nfnumpy-verify") or config.args_source is not pytest.Config.ArgsSource.ARGS
