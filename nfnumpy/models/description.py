"""The structure of a network in words, as `repr(model)` shows it.

Used by: models/base.py. Test: reference_tests/models/test_outputs.py.
"""

import math
from typing import Any

from ..nn import Conv2D, ConvNorm, Linear, Module


def describe(model: Any) -> str:
    """A line for the ImageClassifier `model`, then a line for each layer outside of blocks and for each block."""
    layers = _layers(model)
    parts = dict(model.named_modules())
    after_blocks = next(k for k, name in enumerate(layers) if name.startswith(("final_", "linear")))
    rows = [(name, _in_words(parts[name])) for name in layers]
    rows[after_blocks:after_blocks] = [(f"blocks.{k}", block.description()) for k, block in enumerate(model.blocks)]
    title = f"{type(model).__name__}: {count_values(model):,} parameters of {model.linear.weight.dtype}"
    width = max(len(name) for name, _ in rows)
    words = max(len(text) for _, text in rows)
    return "\n".join([title, *(f"  {name:<{width}}  {text:<{words}}  {count_values(parts[name]):>11,} parameters"
                               for name, text in rows)])


def count_values(module: Module) -> int:
    """The number of values in the parameters of `module`."""
    return sum(math.prod(parameter.shape) for parameter in module.parameters().values())


def _layers(model: Module) -> list[str]:
    """The names of the outermost modules with parameters, without the blocks."""
    found: list[str] = []
    for name, part in model.named_modules():
        inside = not name or name.startswith("blocks.") or any(name.startswith(f"{layer}.") for layer in found)
        if not inside and part.parameters():
            found.append(name)
    return found


def _in_words(part: Module) -> str:
    """A layer's channels and, of a convolution, its window and stride; the name of its class for other layers."""
    layer = part.conv if isinstance(part, ConvNorm) else part
    if not isinstance(layer, (Conv2D, Linear)):
        return type(layer).__name__
    *window, inputs, outputs = layer.weight.shape
    if isinstance(layer, Linear):
        return f"{inputs} -> {outputs}"
    return f"{inputs * layer.groups} -> {outputs}, {window[0]}×{window[1]}, stride {layer.stride}"
