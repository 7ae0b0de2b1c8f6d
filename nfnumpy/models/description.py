"""The structure of a network in words, as `repr(model)` shows it.

Used by: models/base.py. Test: reference_tests/models/test_outputs.py.
"""

import math
from typing import Any

from ..nn import Conv2D, Linear, Module


def describe(model: Any) -> str:
    """A line for the ImageClassifier `model`, then a line for each layer outside of blocks and for each block."""
    rows = [(name, _layer(part)) for name, part in model.named_modules()
            if isinstance(part, (Conv2D, Linear)) and not name.startswith("blocks.")]
    blocks = [(f"blocks.{k}", block.description()) for k, block in enumerate(model.blocks)]
    after_blocks = next(k for k, (name, _) in enumerate(rows) if name in ("final_conv", "linear"))
    rows[after_blocks:after_blocks] = blocks
    parts = dict(model.named_modules())
    title = f"{type(model).__name__}: {count_values(model):,} parameters of {model.linear.weight.dtype}"
    width = max(len(name) for name, _ in rows)
    words = max(len(text) for _, text in rows)
    return "\n".join([title, *(f"  {name:<{width}}  {text:<{words}}  {count_values(parts[name]):>11,} parameters"
                               for name, text in rows)])


def count_values(module: Module) -> int:
    """The number of values in the parameters of `module`."""
    return sum(math.prod(parameter.shape) for parameter in module.parameters().values())


def _layer(layer: Conv2D | Linear) -> str:
    """A layer's channels and, of a convolution, its window and stride."""
    *window, inputs, outputs = layer.weight.shape
    if isinstance(layer, Linear):
        return f"{inputs} -> {outputs}"
    return f"{inputs * layer.groups} -> {outputs}, {window[0]}×{window[1]}, stride {layer.stride}"
