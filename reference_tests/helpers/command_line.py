"""Running one of the commands inside the test's own process."""

import sys

import pytest

from nfnumpy import cli


def run_command(main, capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command `main` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.run(main)
    output = capsys.readouterr()
    return left.value.code, output.out, output.err
