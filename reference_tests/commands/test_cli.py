"""The line and the exit status of an error, which all commands share, and the command that runs the others."""

import io
import os
import sys

import pytest

from nfnumpy import InputError, __main__, cli, train
from reference_tests.helpers.command_line import expect_one_line, run_command


def raising(error):
    """A command that fails with `error`."""
    def main(arguments):
        raise error
    return main


def run(capsys, monkeypatch, error):
    """(status, error stream) of a command that fails with `error`."""
    status, _, printed = run_command(raising(error), capsys, monkeypatch)
    return status, printed


@pytest.mark.parametrize("error", [AttributeError("no such\nattribute"), ValueError("odd"), RecursionError(),
                                   AssertionError(), KeyError("name"), OSError("without a file")])
def test_an_unexpected_error_is_one_line_and_status_70(capsys, monkeypatch, error):
    """Status 1 is a verdict's and 2 bad input's."""
    status, printed = run(capsys, monkeypatch, error)
    assert status == 70 and printed.count("\n") == 1
    assert printed.startswith(f"error: unexpected {type(error).__name__}: ") and "NFNUMPY_TRACEBACK=1" in printed


@pytest.mark.parametrize("error, status", [(AttributeError("odd"), 70), (InputError("bad"), 2)])
def test_the_traceback_can_be_switched_on(capsys, monkeypatch, error, status):
    monkeypatch.setenv("NFNUMPY_TRACEBACK", "1")
    left, printed = run(capsys, monkeypatch, error)
    assert left == status and "Traceback" in printed and "in main" in printed


@pytest.mark.parametrize("error, status", [(BrokenPipeError(), 141), (KeyboardInterrupt(), 130)])
def test_closed_pipe_and_interruption_have_statuses_of_signals(capfd, monkeypatch, error, status):
    output = os.dup(1)
    try:
        assert run(capfd, monkeypatch, error)[0] == status
    finally:
        os.dup2(output, 1)
        os.close(output)


def test_notes_of_an_error_follow_it_on_its_line(capsys, monkeypatch):
    for error in (InputError("bad"), KeyboardInterrupt(), TypeError("odd")):
        error.add_note("to go on: --resume")
        assert "; to go on: --resume" in run(capsys, monkeypatch, error)[1]


def test_a_missing_file_is_named(capsys, monkeypatch):
    status, printed = run(capsys, monkeypatch, FileNotFoundError(2, "No such file", "the/file"))
    expect_one_line(status, printed, "the/file: No such file")


def test_control_characters_are_printed_as_escapes(capsys, monkeypatch):
    status, printed = run(capsys, monkeypatch, InputError("cannot read \x1b[2J\x07\u202e.png, a ü and a 字"))
    expect_one_line(status, printed, r"\x1b[2J\x07\u202e.png, a ü and a 字")


def test_a_deleted_working_directory_is_named(capsys, monkeypatch, tmp_path):
    (tmp_path / "deleted").mkdir()
    monkeypatch.chdir(tmp_path / "deleted")
    (tmp_path / "deleted").rmdir()
    status, _, printed = run_command(train.main, capsys, monkeypatch, "--epochs", 1)
    expect_one_line(status, printed, "working directory no longer exists")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("error, line", [(InputError("bad"), "error: bad"), (KeyboardInterrupt(), "interrupted")])
def test_an_error_begins_its_own_line_where_a_bar_was(monkeypatch, error, line):
    """What a terminal shows of a line is what stands behind its last carriage return."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = []

    def main(arguments):
        bars.append(cli.progress_bar(total=3))  # kept: what is collected closes itself
        raise error

    with pytest.raises(SystemExit):
        cli.run(main)
    assert "0/3" in terminal.getvalue()
    assert terminal.getvalue().split("\r")[-1].strip("\n") == line


def test_without_a_terminal_there_is_no_bar(capsys):
    assert list(cli.progress_bar([1, 2])) == [1, 2] and capsys.readouterr().err == ""


def test_the_one_command_lists_the_others(capsys, monkeypatch):
    for arguments in ([], ["--help"]):
        status, printed, _ = run_command(__main__.dispatch, capsys, monkeypatch, *arguments)
        assert status == 0 and all(f"nfnumpy {name} " in printed for name in __main__.COMMANDS)


@pytest.mark.parametrize("name", __main__.COMMANDS)
def test_the_one_command_runs_each_of_the_others(capsys, monkeypatch, name):
    """`--help` of a command leaves with status 0 and prints that command's flags."""
    monkeypatch.setattr(sys, "argv", ["nfnumpy", name, "--help"])
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert left.value.code == 0 and f"nfnumpy.{name}" in capsys.readouterr().out


def test_an_unknown_command_is_one_line_with_the_known_ones(capsys, monkeypatch):
    status, _, error = run_command(__main__.dispatch, capsys, monkeypatch, "trian")
    expect_one_line(status, error, "trian", *__main__.COMMANDS)
