"""Options in TOML files: read for --config, and written as the config.toml of every run.

A file has a line for each option, such as `batch_size = 128` or `agc = "off"`, and no tables. TOML has no word for
None, so "off" stands for it.
"""

import dataclasses
import difflib
import json
import os
import tomllib
from typing import Any

from ..errors import InputError
from ..files import atomic_write
from . import recipes
from .ending import duration
from .options import TrainingOptions, check_option

OFF = "off"
FIELDS = {field.name: field for field in dataclasses.fields(TrainingOptions)}
LARGEST = 16_000  # characters; a file with all options has 3,000, and tomllib's time grows with a key's length squared


def read_config(source: str) -> dict[str, Any]:
    """The options in the TOML file `source`, or in the recipe NAME of "recipe:NAME", as `train` takes them.

    InputError, one line, for a file that cannot be read or parsed, for an unknown option, with the nearest name, and
    for a value of the wrong type.
    """
    kind, _, name = source.partition(":")
    text = recipes.text_of(name) if kind == "recipe" else _text(source)
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for a number with too many digits
        raise InputError(f"--config {source}: not valid TOML: {error}") from None
    return {name: _value(source, name, value) for name, value in given.items()}


def _text(path: str) -> str:
    """The text of the file at `path`."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--config {path}: cannot be read: {reason}; a recipe is recipe:NAME, and --config list "
                         f"names them") from None
    if len(text) > LARGEST:
        raise InputError(f"--config {path}: more than {LARGEST:,} characters, expected a small TOML file")
    return text


def _value(source: str, name: str, value: Any) -> Any:
    """The option's value as TrainingOptions has it; InputError if it cannot be."""
    if name not in FIELDS:
        near = difflib.get_close_matches(name.replace("-", "_"), FIELDS, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FIELDS)}"
        raise InputError(f"--config {source}: unknown option {name!r}: {hint}")
    if isinstance(value, dict):
        raise InputError(f"--config {source}: {name} is a table, expected {name} = value")
    try:
        if value == OFF and "None" in str(FIELDS[name].type):
            value = None
        elif name == "time_limit" and isinstance(value, str):
            value = duration(value)
        check_option(name, value)
    except InputError as error:
        raise InputError(f"--config {source}: {error}") from None
    return value


def write_config(path: str | os.PathLike[str], options: TrainingOptions) -> None:
    """Write all options but `out` to the TOML file at `path`, which --config takes.

    Without `out`, a run with the same options gets a folder of its own.
    """
    lines = ["# The options of this run; python -m nfnumpy.train --config takes the file. \"off\": not used."]
    lines += [f"{name} = {_toml(getattr(options, name))}" for name in FIELDS if name != "out"]
    atomic_write(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def _toml(value: Any) -> str:
    """A value of an option in TOML: None, a bool, a number, a text, or a tuple of these."""
    if value is None:
        return f'"{OFF}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
