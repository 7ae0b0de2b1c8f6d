"""Changes of a network object of nfnumpy.models in place, and the parts of blocks that several of them share."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from .... import ops
from ....autograd import Tensor
from ....nn import EVALUATION, Mode
from .. import KnownVariant


def variant(name: str, field: str, change: Any, explanation: str, benign: bool = False) -> KnownVariant:
    """The known variant that replaces one field of the rules."""
    return KnownVariant(name, {field: change}, explanation, benign)


def parts_of(model: Any, kind: type | tuple[type, ...]) -> Iterator[Any]:
    """The modules of a kind."""
    return (module for module in model.modules() if isinstance(module, kind))


def overriding(block: Any, **methods: Callable) -> None:
    """Give one object methods of its own, special ones too: method(block, *arguments)."""
    block.__class__ = type(type(block).__name__, (type(block),), methods)


def shortcut_of(block: Any, x: Tensor, mode: Mode) -> Tensor:
    """The shortcut of a ResNet's block."""
    if block.conv_shortcut is None:
        return x
    if getattr(block, "stride", 1) > 1:
        x = ops.avg_pool(x, window=2)
    return block.conv_shortcut(x, mode)


def branch_of(block: Any, x: Tensor, mode: Mode, not_activated: int | None = None) -> Tensor:
    """The branch of a ResNet's block, without the nonlinearity after its convolution number `not_activated`."""
    convs = [block.conv0, block.conv1, *([block.conv2] if hasattr(block, "conv2") else [])]
    for position, conv in enumerate(convs):
        x = conv(x, mode)
        if position < len(convs) - 1 and position != not_activated:
            x = block.activation(x)
    return block.squeeze_excite(x) if hasattr(block, "squeeze_excite") else x


@functools.cache
def with_branches(shortcut: Callable, branch: Callable) -> Callable:
    """A method `branches` of two functions of (block, x, mode)."""
    return lambda block, x, mode=EVALUATION: (shortcut(block, x, mode), branch(block, x, mode))


def each(kind: Any, **methods: Callable) -> Callable[[Any], None]:
    """A change that gives all modules of a kind methods of their own."""
    def change(model):
        for block in parts_of(model, kind):
            overriding(block, **methods)
    return change


def wrapped(kind: Any, name: str, operation: Any) -> Callable[[Any], None]:
    """A change of the method `name` of all modules of a kind: operation(original method, module, *arguments)."""
    def change(model):
        for block in parts_of(model, kind):
            overriding(block, **{name: functools.partialmethod(_call, operation, getattr(type(block), name))})
    return change


def _call(block, operation, original, *arguments):
    return operation(original, block, *arguments)
