"""How modules of JAX's libraries are called: flags for training and random numbers by their names."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

TRAINING = ("is_training", "training", "train", "use_batch_stats")
EVALUATION = ("deterministic", "use_running_average", "inference", "eval", "evaluation", "test")
KEYS = ("key", "rng", "rng_key", "prng_key", "rngs")


def names_of(function: Callable) -> list[str]:
    """The names of a callable's parameters; none where it has no signature."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def flags(names: Iterable[str], training: bool) -> dict[str, bool]:
    """{name: value} of the flags for training or evaluation among `names`."""
    return {name: training if name in TRAINING else not training for name in names if name in (*TRAINING, *EVALUATION)}


def required_names(target: Any) -> list[str]:
    """The parameters of a function or a class that must be given."""
    try:
        parameters = inspect.signature(_called(target)).parameters
    except (TypeError, ValueError):
        return []
    return [name for name, parameter in parameters.items() if parameter.default is parameter.empty]


def all_names(target: Any) -> set[str]:
    """The parameters of a function, or of a class and those of its bases."""
    owners = target.__mro__ if isinstance(target, type) else (target,)
    return {name for owner in owners for name in names_of(_called(owner))}


def _called(target):
    return target.__init__ if isinstance(target, type) else target


def leaves_of(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, leaf) of a nested dict, in its order."""
    for key, value in tree.items():
        if hasattr(value, "items"):
            yield from leaves_of(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def nested(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """The reverse."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        place = tree
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = leaf
    return tree


def in_training(call: Callable, signature: inspect.Signature) -> Callable:
    """The call with its flags set as in training, whatever is given."""
    def called(*arguments, **options):
        bound = signature.bind(*arguments, **options)
        bound.arguments.update(flags(signature.parameters, True))
        return call(*bound.args, **bound.kwargs)
    return called


def attribute_at(root: Any, path: str) -> Any:
    """What is at a path of attributes, indices and keys; the root itself for ""."""
    for step in path.split(".") if path else ():
        if hasattr(root, step):
            root = getattr(root, step)
        else:
            root = root[int(step) if step.isdigit() else step]
    return root
