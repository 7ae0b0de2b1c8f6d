"""The pages print what runs: every Python and shell block of every page, found by its fence.

A page's blocks run in order, in a folder of their own that holds `docs/` and `data/`; Python blocks share their names.
Of a shell block every line is one command:

* `python -m nfnumpy.X …` and `nfnumpy X …` run inside this process. Training runs for one epoch unless the line has
  another number.
* `python PATH …` must name a file of this repository that compiles; `python -m pytest PATH …` must name tests.
* `pip install` must name extras that pyproject.toml defines; `ruff` and `mypy` must be commands that continuous
  integration runs, and so must the test command of README.md.

A block that needs what a test machine lacks names it after its language (```sh needs="a GPU"): the parser of each
command reads its line, and the command does not run.
"""

import argparse
import ast
import importlib
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from nfnumpy.__main__ import COMMANDS
from reference_tests.helpers.command_line import run_command

ROOT = Path(__file__).parents[2]
PAGES = sorted(str(path.relative_to(ROOT)) for folder in ("docs", "data") for path in (ROOT / folder).rglob("*.md"))
PAGES = ["README.md", *PAGES]
FENCE = re.compile(r"^( *)```(python|py|sh|bash|shell|console)\b([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


class Parsed(Exception):
    """The command's parser has accepted its arguments."""


def blocks_of(page):
    """(language, what follows it on the fence's line, text) of every block of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(language, rest.strip(), re.sub(rf"^{indent}", "", body, flags=re.MULTILINE))
            for indent, language, rest, body in FENCE.findall(text)]


HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<'?(\w+)'?\n(.*?)^\2$\n?", re.MULTILINE | re.DOTALL)


def commands_of(text):
    """The words of every command of a shell block, without the assignments before them.

    A file that the block writes with `cat > FILE <<END` is written on the way.
    """
    for name, _, body in HERE_DOCUMENT.findall(text):
        Path(name).write_text(body, encoding="utf-8")
    for line in HERE_DOCUMENT.sub("", text).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        command = []
        for word in [*words, "&&"]:
            if word == "&&":
                if command:
                    yield command
                command = []
            elif command or not re.fullmatch(r"[A-Z_]+=\S*", word):
                command.append(word)


def run_shell_command(words, capsys, monkeypatch, only_parse):
    """Run one command as the module's docstring says."""
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "nfnumpy":
        program, arguments = "python", ["-m", f"nfnumpy.{arguments[0]}", *arguments[1:]]
    if program == "pip" or arguments[:2] == ["-m", "venv"]:
        assert {extra for word in words for extra in re.findall(r"\[(.*)\]", word)
                for extra in extra.split(",")} <= EXTRAS, words
    elif program.startswith("python") and arguments[:2] == ["-m", "pytest"]:
        assert all((ROOT / path).exists() for path in arguments[2:] if not path.startswith("-"))
    elif program.startswith("python") and arguments[0] == "-m":
        run_module(arguments[1], arguments[2:], capsys, monkeypatch, only_parse)
    elif program.startswith("python"):
        ast.parse((ROOT / arguments[0]).read_text(encoding="utf-8"))
    elif program in ("ruff", "mypy"):
        assert " ".join(words) in (ROOT / ".ci" / "run").read_text()
    else:
        pytest.fail(f"unknown program: {' '.join(words)}")


def run_module(module, arguments, capsys, monkeypatch, only_parse):
    """Run `python -m module`, or only let its parser read the arguments."""
    package, _, name = module.partition(".")
    assert package == "nfnumpy" and name in {"", *COMMANDS}, module
    folder = (ROOT / "nfnumpy" / name).is_dir()
    main = importlib.import_module(f"{module}.__main__" if folder else module).main
    if only_parse:
        parse = argparse.ArgumentParser.parse_args

        def parse_and_stop(self, *args, **options):
            parse(self, *args, **options)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        with pytest.raises(Parsed):
            main(arguments)
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
        return
    if name == "train" and "--epochs" not in arguments:
        arguments = [*arguments, "--epochs", "1"]
    status, _, errors = run_command(main, capsys, monkeypatch, *arguments)
    assert status == 0, f"{module} {' '.join(arguments)}: status {status}: {errors}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_every_block_of_a_page_runs(page, tmp_path, capsys, monkeypatch):
    for name in ("docs", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    names = {"__name__": "page"}
    for language, rest, text in blocks_of(page):
        assert not rest or re.fullmatch(r'needs="[^"]+"', rest), f"{page}: ```{language} {rest}"
        if language in ("python", "py"):
            code = compile(text, page, "exec")
            if not rest:
                exec(code, names)
        else:
            for words in commands_of(text):
                run_shell_command(words, capsys, monkeypatch, only_parse=bool(rest))
    assert page != "docs/library.md" or names["accuracy"] > 0.5


def test_every_fence_is_a_known_language_or_output():
    for page in PAGES:
        for language in re.findall(r"^ *```(\S+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE):
            assert language in ("python", "sh", "json", "text", "yaml"), f"{page}: ```{language}"


def test_continuous_integration_runs_the_readmes_test_command():
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", (ROOT / "README.md").read_text())
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target


PATH = re.compile(r"`((?:nfnumpy|reference_tests|docs|data|\.ci)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    """A word in capitals, such as TOPIC, stands for a part of a name."""
    for path in PATH.findall((ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / path).exists() or re.search("[A-Z]{3}", path), path
