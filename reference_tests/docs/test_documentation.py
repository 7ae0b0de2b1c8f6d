"""What the pages print is what runs: every Python block, in order; and the tests are run as README says."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/library.md", "docs/weights.md"])
def test_every_python_block_of_a_page_runs(page, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert blocks and capsys.readouterr().out
    if page == "docs/library.md":
        assert names["accuracy"] > 0.5


def test_continuous_integration_runs_the_test_command_of_the_readme():
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", (ROOT / "README.md").read_text())
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))])
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target
