"""Running one of the commands inside the test's own process."""

import sys
from collections.abc import Callable

import pytest

from nfnumpy import cli


def run_command(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
                *arguments: object) -> tuple[int, str, str]:
    """(status, standard output, error stream) of the command `main` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.run(main)
    output = capsys.readouterr()
    return left.value.code, output.out, output.err


def expect_one_line(status: int, error: str, *words: object) -> None:
    """Status 2 and one line on the error stream that holds each of `words`."""
    assert status == cli.BAD_INPUT and error.startswith("error: ") and error.count("\n") == 1, error
    for word in words:
        assert str(word) in error, error
