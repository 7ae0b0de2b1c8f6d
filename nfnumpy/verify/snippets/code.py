"""The text of a program, line by line, in the target's framework."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..frameworks import FRAMEWORKS
from ..verdict import LAYOUTS, Verdict
from .place import Place

OF_JAX = ("haiku", "flax", "equinox")  # whose arrays are JAX's
IMPORTS = {"torch": ("import torch",), "numpy": ("import numpy as np",),
           "jax": ("import jax", "import jax.numpy as jnp", "", 'jax.config.update("jax_enable_x64", True)'),
           "tensorflow": ("import tensorflow as tf",), "keras": ("import keras",)}
ARRAYS = {"torch": "torch.tensor({}, dtype=torch.{})", "numpy": "np.array({}, dtype=np.{})",
          "jax": "jnp.array({}, dtype=jnp.{})", "tensorflow": "tf.constant({}, dtype=tf.{})",
          "keras": "keras.ops.array({}, dtype='{}')"}
SCALARS = ("peak", "scalar", "gradient of scalar")  # arrays of no dimension


class Program:
    """A program about one tensor of a verdict's counterexample; forms add lines that end with an assignment to `yours`.

    is_short: whether numbers are written with the digits of float32; means: {role: the target's name of it}.
    """

    def __init__(self, place: Place, verdict: Verdict, tensor: str, is_short: bool, means: Mapping[str, str]):
        self.place, self.verdict, self.tensor = place, verdict, tensor
        self.is_short, self.means = is_short, means
        self.name = "jax" if verdict.framework in OF_JAX else verdict.framework
        self.framework = FRAMEWORKS[verdict.framework]()
        self.dtype = verdict.precision
        given = verdict.counterexample or {}
        self.arrays = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()
                       if isinstance(value, list) or name in SCALARS}
        self.options: Mapping[str, Any] = {name: value for name, value in given.items() if name not in self.arrays}
        noted = next((name for name in LAYOUTS if any(name in note for note in verdict.notes)), None)
        self.layout = noted or self.framework.layout
        self.lines: list[str] = []

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return sum(array.size for array in self.arrays.values())

    def with_lines(self, *lines: str) -> "Program":
        """The same program with these lines."""
        made = copy.copy(self)
        made.lines = list(lines)
        return made

    def weight(self, array: np.ndarray) -> np.ndarray:
        """A weight (kh, kw, in, out) or (in, out) in the target's layout."""
        if self.layout == "HWIO" or array.ndim not in (2, 4):
            return array
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T

    def in_layout(self, result: np.ndarray) -> np.ndarray:
        """A result, in the target's layout: a weight or its gradient, or images, or anything else."""
        if "weight" in self.tensor or self.verdict.kind == "agc":
            return self.weight(result)
        return self.images(result) if result.ndim == 4 else result

    def images(self, array: np.ndarray) -> np.ndarray:
        """Images (N, H, W, C) in the target's layout."""
        return self.framework.images(array)

    def literal(self, array: np.ndarray) -> str:
        """An expression for an array in the target's framework."""
        text = _numbers(np.asarray(array).tolist(), self.is_short)
        return ARRAYS[self.name].format(text, self.dtype)

    def keywords(self, given: Mapping[str, Any]) -> str:
        """", name=value, …" of a call."""
        return "".join(f", {name}={value!r}" for name, value in given.items())

    def text(self) -> str:
        """The whole program."""
        results = (self.verdict.results or {})[self.tensor]
        right = self.in_layout(np.asarray(results["reference"], dtype=np.float64))
        heading = [*self.place.heading(self.verdict.kind, self.tensor), *IMPORTS[self.name], "",
                   self.place.import_line(), ""]
        ending = [f"right = {self.literal(right)}", 'print("yours:", yours)', 'print("right:", right)', ""]
        return "\n".join([*heading, *(line for part in (*self.lines, *ending) for line in wrapped(part))])


def _numbers(value, is_short):
    if isinstance(value, list):
        return f"[{', '.join(_numbers(item, is_short) for item in value)}]"
    if not np.isfinite(value):
        return f'float("{value}")'
    return repr((float(str(np.float32(value))) if is_short else float(value)) + 0.0)  # -0.0 as 0.0


def wrapped(line: str, width: int = 110) -> Iterator[str]:
    """A line of code, broken after commas where it is longer than `width`; only lines with a bracket are so long."""
    indent = line[:len(line) - len(line.lstrip())] + "    "
    start = line.find("(")
    while len(line) > width and start >= 0 and (end := line.rfind(", ", start + 1, width)) > 0:
        yield line[:end + 1]
        line, start = indent + line[end + 2:], len(indent)
    yield line

