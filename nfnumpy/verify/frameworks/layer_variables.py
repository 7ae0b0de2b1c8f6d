"""The variables of Keras's layers and TensorFlow's modules, named by the attributes that lead to them.

Keras's own names are not unique: two layers of a network may both be called "conv2d".
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Place:
    """A variable, and the object, list or dict that has it under `key`."""

    variable: Any
    owner: Any
    key: Any

    def replace(self, variable: Any) -> None:
        """Put another variable in its place."""
        if isinstance(self.owner, (list, dict)):
            self.owner[self.key] = variable
        else:
            setattr(self.owner, self.key, variable)


def places_of(root: Any, is_variable: Callable[[Any], bool], is_layer: Callable[[Any], bool],
              internal: Collection[str]) -> dict[str, Place]:
    """{name: Place} of every variable below `root`, each once, in the order in which attributes were set.

    internal: the names of attributes that all layers have for their own use.
    """
    found: dict[str, Place] = {}
    for path, place in _walk(root, (), is_variable, is_layer, internal, {id(root)}):
        name, count = ".".join(path), 1
        while name in found:
            name, count = f"{'.'.join(path)}_{count}", count + 1
        found[name] = place
    return found


def layers_of(root: Any, is_layer: Callable[[Any], bool], internal: Collection[str]) -> dict[str, Any]:
    """{path: layer or module} of all that are below `root`; the root itself is ""."""
    def is_seen(value):
        return is_layer(value) and value is not root

    found = {".".join(path): place.variable
             for path, place in _walk(root, (), is_seen, is_layer, internal, set(), also_inside=True)}
    return {"": root, **found}


def _walk(owner, path, is_variable, is_layer, internal, visited, also_inside=False) -> Iterator[tuple[tuple, Place]]:
    for key, value in _children(owner, internal):
        if id(value) in visited:
            continue
        inner = (*path, str(key).lstrip("_"))
        if is_variable(value):
            visited.add(id(value))
            yield inner, Place(value, owner, key)
            if not also_inside:
                continue
        if is_layer(value) or isinstance(value, (list, tuple, dict)):
            visited.add(id(value))
            yield from _walk(value, inner, is_variable, is_layer, internal, visited, also_inside)


def _children(owner, internal):
    if isinstance(owner, dict):
        yield from list(owner.items())
        return
    if isinstance(owner, (list, tuple)):
        yield from enumerate(owner)
        return
    if not internal.isdisjoint(vars(owner)) and hasattr(owner, "get_layer"):  # a network: its layers have unique names
        if _is_built_of_layers(owner):
            yield from ((layer.name, layer) for layer in in_order_of_creation(owner.layers))
    attributes = {**vars(owner).get("_modules", {}), **vars(owner)}  # with PyTorch below, layers are kept in _modules
    yield from ((key, value) for key, value in attributes.items()
                if key not in internal and not key.startswith("_self_"))  # TensorFlow's own bookkeeping


def in_order_of_creation(layers: Iterable[Any]) -> list[Any]:
    """The layers of a graph, which Keras sorts by depth, with those of one automatic name in order of their numbers.

    So "conv2d_3" comes after "conv2d_2", wherever it stands in the graph; layers of different names keep their places.
    """
    found = list(layers)
    names = [_without_number(layer.name) for layer in found]
    groups: dict[str, list[tuple[int, Any]]] = {}
    for (name, number), layer in zip(names, found, strict=True):
        groups.setdefault(name, []).append((number, layer))
    queues = {name: iter(sorted(group, key=lambda each: each[0])) for name, group in groups.items()}
    return [next(queues[name])[1] for name, _ in names]


def _without_number(name: str) -> tuple[str, int]:
    """("conv2d", 3) of "conv2d_3", ("conv2d", 0) of "conv2d"."""
    start, _, end = name.rpartition("_")
    return (start, int(end)) if start and end.isdigit() else (name, 0)


def _is_built_of_layers(network):
    """Whether a network is a graph or a sequence of layers, and not a class with a `call` of its own."""
    return any(base.__name__ in ("Functional", "Sequential") for base in type(network).__mro__)
