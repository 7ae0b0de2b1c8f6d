"""Names of arrays in two implementations, translated by tables of modules that are read in both directions.

A table pairs the names of modules, such as "blocks.3.conv0.norm" and "layer2.0.bn1"; it is made for the blocks that a
network has. What an array is called within its module depends only on the module's kind: a convolution, a linear layer
or a normalization. Used by: timm.py, keras.py. Tests: reference_tests/weights/test_timm_names.py, test_keras.py.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Pairs = Iterable[tuple[str, str]]
Leaves = Mapping[str, Mapping[str, str]]  # kind of module -> {our name of an array: theirs}

NUMBER = r"0|[1-9]\d{0,4}"  # of a block; names come from files, where a number can have any length


class Naming(NamedTuple):
    """How an implementation calls the modules of a family of networks.

    blocks: a regular expression of the start of a block's name, with groups `stage` and `position`, both counted from 0
    by `numbers`; pairs: (our module, their module) of all that a network with these depths, blocks a stage, can have,
    or (our array, their array) of arrays outside of modules; leaves: names of arrays within a module;
    as_convolutions: ends of our names of the linear layers that are 1×1 convolutions there.
    """

    title: str
    blocks: str
    pairs: Callable[[Sequence[int]], Pairs]
    leaves: Leaves
    as_convolutions: tuple[str, ...] = ()
    numbers: Callable[[str, str], tuple[int, int]] = lambda stage, position: (int(stage), int(position))

    def depths(self, names: Iterable[str]) -> list[int]:
        """The number of blocks a stage in their names, as far as both are numbered without a gap."""
        matches = (re.match(self.blocks, name) for name in names)
        found = {self.numbers(match["stage"], match["position"]) for match in matches if match}
        depths: list[int] = []
        while (len(depths), 0) in found:
            position = 1
            while (len(depths), position) in found:
                position += 1
            depths.append(position)
        return depths


class Table:
    """Both directions of a Naming for a network of known depths."""

    def __init__(self, naming: Naming, depths: Sequence[int]) -> None:
        self.naming = naming
        self._theirs = dict(naming.pairs(depths))
        self._ours = {theirs: ours for ours, theirs in self._theirs.items()}
        self._their_leaves = naming.leaves
        self._our_leaves = {kind: {theirs: ours for ours, theirs in leaves.items()}
                            for kind, leaves in naming.leaves.items()}

    def theirs(self, name: str) -> str | None:
        """Their name of our array; None where there is none."""
        return self._translated(name, self._theirs, lambda our_module, _: self._their_leaves[kind_of(our_module)])

    def ours(self, name: str) -> str | None:
        """Our name of their array; None where there is none."""
        return self._translated(name, self._ours, lambda _, our_module: self._our_leaves[kind_of(our_module)])

    @staticmethod
    def _translated(name: str, modules: Mapping[str, str],
                    leaves: Callable[[str, str], Mapping[str, str]]) -> str | None:
        module, _, leaf = name.rpartition(".")
        if name in modules:
            return modules[name]
        if module not in modules:
            return None
        other = leaves(module, modules[module]).get(leaf)
        return None if other is None else f"{modules[module]}.{other}"


def places(depths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (number of the block, stage, position in stage)."""
    block = 0
    for stage, depth in enumerate(depths):
        for position in range(depth):
            yield block, stage, position
            block += 1


def kind_of(module: str) -> str:
    """ "norm", "linear" or "conv" for the name of a module of ours."""
    last = module.rpartition(".")[2]
    return "norm" if "norm" in last else "linear" if last in ("linear", "fc0", "fc1") else "conv"


def most_fitting(tables: Iterable[Table], translate: Callable[[Table, str], str | None],
                 names: Collection[str]) -> tuple[Table, dict[str, str], list[str]]:
    """(table, {name: translated name}, names without one) of the first table that leaves the fewest names out."""
    best: tuple[Table, dict[str, str], list[str]] | None = None
    for table in tables:
        found = {name: other for name in names if (other := translate(table, name)) is not None}
        if best is None or len(found) > len(best[1]):
            best = table, found, [name for name in names if name not in found]
        if len(found) == len(names):
            break
    assert best is not None
    return best
