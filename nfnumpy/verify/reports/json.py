"""A verdict as JSON."""

import json
import os

from ...files import atomic_write
from ..verdict import Verdict


def json_text(verdict: Verdict) -> str:
    """The verdict as JSON of the standard: numbers that are not finite are "Infinity", "-Infinity" and "NaN"."""
    return json.dumps(verdict.as_json(), indent=1, default=str, allow_nan=False)


def write_json(path: str | os.PathLike[str], verdict: Verdict) -> None:
    """Write the verdict to `path`, whole or not at all."""
    atomic_write(path, json_text(verdict).encode())
