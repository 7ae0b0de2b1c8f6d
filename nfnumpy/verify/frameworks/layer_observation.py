"""Watching and changing the calls of single layers inside a network, for a while."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def calling(layer: Any, changed: Callable[[Callable], Callable], by_call: bool) -> Iterator[None]:
    """The layer computes changed(its own call) inside; by_call: whether it has a method `call`, as Keras's have."""
    if by_call:
        object.__setattr__(layer, "call", changed(layer.call))
        try:
            yield
        finally:
            object.__delattr__(layer, "call")
        return
    original = type(layer)
    own = original.__call__

    def called(self, *arguments, **options):
        return changed(lambda *given, **further: own(self, *given, **further))(*arguments, **options)

    object.__setattr__(layer, "__class__", type(original.__name__, (original,), {"__call__": called}))
    try:
        yield
    finally:
        object.__setattr__(layer, "__class__", original)


def keeping(part: str, seen: dict[tuple[str, str], Any]) -> Callable[[Callable], Callable]:
    """For `calling`: the first input and output go to `seen`, as ("input", part) and ("output", part)."""
    def changed(call):
        def watched(*arguments, **options):
            given = arguments[0] if arguments else next(iter(options.values()), None)
            if hasattr(given, "shape"):
                seen.setdefault(("input", part), given)
            returned = call(*arguments, **options)
            output = returned[0] if isinstance(returned, (tuple, list)) else returned
            if hasattr(output, "shape"):
                seen.setdefault(("output", part), output)
            return returned
        return watched
    return changed


def training_alone(call: Callable) -> Callable:
    """For `calling`: the layer is in training, whatever its network is."""
    return lambda *arguments, **options: call(*arguments, **{**options, "training": True})
