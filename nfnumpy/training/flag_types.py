"""What the values of the training command's flags are made of their texts; "off" is None."""

import argparse
from typing import Any

from .ending import duration


def number_or_off(text: str) -> float | None:
    """A number, or None for "off"."""
    return None if text == "off" else float(text)


def int_or_off(text: str) -> int | None:
    """A whole number, or None for "off"."""
    return None if text == "off" else int(text)


def duration_or_off(text: str) -> int | None:
    """The seconds of a duration, or None for "off"."""
    return None if text == "off" else duration(text)


def text_or_off(text: str) -> str | None:
    """The text, or None for "off"."""
    return None if text == "off" else text


number_or_off.__name__ = "number (or off)"  # argparse names the type in its errors
int_or_off.__name__ = "whole number (or off)"
duration_or_off.__name__ = "duration such as 2h30m, 45m or 5400 (or off)"


class JoinedByCommas(argparse.Action):
    """A flag that may be given several times: its values become one text, with commas in between."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        """Take in one more value."""
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")
