"""Annotations of GitHub's workflows: lines that GitHub shows beside the code of a pull request."""

import os

from ..verdict import CONFORMS, DIVERGES, Verdict


def annotation(verdict: Verdict, name: str, file: str | None, line: int, fails: bool) -> str | None:
    """The line for a verdict on what is called `name` and defined there; None where it conforms.

    fails: an error, else a warning.
    """
    if verdict.outcome == CONFORMS:
        return None
    text = "\n".join([*verdict.causes(), *([f"right form: {verdict.formula}"] if verdict.formula else [])])
    how = "diverges" if verdict.outcome == DIVERGES else "is a variant"
    return command("error" if fails else "warning", file, line, f"{verdict.kind} {name} {how}", text)


def command(level: str, file: str | None, line: int, title: str, text: str) -> str:
    """`::level file=…,line=…,title=…::text`, all parts escaped; file: relative to the working directory if under it."""
    properties = {"title": title}
    if file is not None:
        properties = {"file": _relative(file), "line": str(line), **properties}
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {given}::{_data(text)}"


def _relative(file):
    path = os.path.relpath(file)
    return file if path.startswith(os.pardir) else path.replace(os.sep, "/")


def _data(text):
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text):
    return _data(text).replace(":", "%3A").replace(",", "%2C")
