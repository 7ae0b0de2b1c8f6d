"""A single residual block of any of the three families.

The reference: the blocks of nfnumpy.models, by rules in verify/network (2101.08692, section 3; 2102.06171, section 4;
and the authors' released code, which decides).
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...autograd import Tensor, no_grad, trust_saved_arrays
from .. import tolerance
from ..adapters import title_of
from ..adapters.block import BlockTarget, block_adapter
from ..compare import Check, InputCase, Outputs, compare
from ..diagnosis import Diagnosis
from ..network.architecture import BlockArchitecture, changed_beta
from ..network.beam_search import BeamSearch
from ..network.blocks import residual_block
from ..network.inputs import floored, random_parameters
from ..network.rounding import allowed
from ..variants import apply
from ..variants.network import NetworkRules
from ..variants.network_catalogue import GRADIENTS, OF_BLOCKS, SHAPING
from ..verdict import Verdict

FEW = 2  # cases whose outputs are compared first
NEAR = 4.0  # times what rounding explains is near enough there
BEAMS_OF_BLOCKS = (4, 3, 2)
NAME = "block"
CATALOGUE = tuple(variant for variant in OF_BLOCKS if not SHAPING & variant.changes.keys())


@dataclasses.dataclass(frozen=True, eq=False)
class BlockCheck(Check):
    """A Check whose gradients are compared relative to the largest of their family, as those of whole networks are."""

    def expected(self, case: InputCase, rules: NetworkRules,
                 precision: str) -> tuple[Outputs, Mapping[str, float], Mapping[str, float]]:
        """See Check."""
        return _expected(case, rules, precision)

    def explained(self, cases: Sequence[InputCase], outputs: Sequence[Outputs], precision: str,
                  simply: bool = True) -> Diagnosis:
        """See Check: the outputs are compared first, where they differ most; gradients only where outputs agree."""
        near = [NEAR * _output_tolerance(case, self.rules, precision) for case in cases]
        errors = [tolerance.distance(found["output"], _output(case, self.rules)) / limit
                  for case, found, limit in zip(cases, outputs, near, strict=True)]
        few = sorted(range(len(cases)), key=lambda k: -errors[k])[:FEW]
        catalogue = self.catalogue if errors[few[0]] > 1.0 / NEAR else GRADIENTS

        def excess(rules):
            return max(difference.excess for difference in self.differences(rules, cases, outputs, precision))

        while True:
            asked = [cases[k] for k in few]
            search = BeamSearch(catalogue, self.rules, functools.partial(_outputs, asked),
                                wanted=[outputs[k]["output"] for k in few], near=[near[k] for k in few], excess=excess,
                                beams=BEAMS_OF_BLOCKS)
            found = next(search.groups(), None)
            further = None if found else self._unlike(search.nearest, cases, outputs, near)
            if further is None or further in few:
                return Diagnosis(found, () if found else search.nearest)
            few = [*few, further]

    def _unlike(self, variants, cases, outputs, near):
        """The position of the case whose output these variants reproduce worst, or None where they reproduce all."""
        rules = apply(self.rules, variants)
        errors = [tolerance.distance(found["output"], _output(case, rules)) / limit
                  for case, found, limit in zip(cases, outputs, near, strict=True)]
        worst = int(np.argmax(errors))
        return worst if errors[worst] > 1.0 else None

    explained_simply = explained


@functools.lru_cache(maxsize=512)
def _expected(case, rules, precision):
    branches = {}
    with np.errstate(all="ignore"):
        exact = reference(case, rules, branches)
        in_float32 = reference(case.cast(np.float32), rules)
    cotangent = np.resize(case.arrays["cotangent"], exact["output"].shape)
    size = branches[NAME] * float(np.linalg.norm(cotangent))
    limits, scales = allowed(exact, in_float32, precision, {"gradient of skip_gain": size})
    return exact, limits, scales


def _output(case, rules):
    with no_grad():
        return forward(case, rules).data


def _outputs(cases, rules):
    return [_output(case, rules) for case in cases]


@functools.lru_cache(maxsize=512)
def _output_tolerance(case, rules, precision):
    """What rounding explains in the output."""
    exact, coarse = _output(case, rules), _output(case.cast(np.float32), rules)
    return tolerance.allowed({"": exact}, {"": coarse}, {}, precision)[""]


def forward(case: InputCase, rules: NetworkRules, leaves: Mapping[str, Tensor] | None = None,
            branches: dict[str, float] | None = None) -> Tensor:
    """The block's output; branches: see residual_block."""
    leaves = {name: Tensor(array) for name, array in case.arrays.items()} if leaves is None else leaves
    parameters = {f"{NAME}.{name}": leaf for name, leaf in leaves.items()}
    options = case.options
    block = BlockArchitecture(options["family"], NAME, 0, options["stride"], options["alpha"],
                              changed_beta(options["beta"], rules), options["activation"])
    return residual_block(parameters, leaves["x"], block, rules, branches)


def reference(case: InputCase, rules: NetworkRules, branches: dict[str, float] | None = None) -> Outputs:
    """The output and all gradients; branches: see residual_block."""
    leaves = {name: Tensor(array, requires_grad=name != "cotangent") for name, array in case.arrays.items()}
    with trust_saved_arrays():
        out = forward(case, rules, leaves, branches)
        out.backward(np.resize(case.arrays["cotangent"], out.shape).astype(out.dtype))
    return {"output": out.data, **{f"gradient of {name}": np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad
                                   for name, leaf in leaves.items() if name != "cotangent"}}


def _case(block, seed, size=(6, 6), count=2, under_the_floor=False):
    """An InputCase for a BlockTarget."""
    random = np.random.default_rng([seed, 29])
    parameters = random_parameters(block.shapes, seed)
    parameters = floored(parameters) if under_the_floor else parameters
    arrays = {"x": random.standard_normal((count, *size, block.in_channels)), **parameters,
              "cotangent": random.standard_normal(101)}
    return InputCase({name: np.asarray(array, dtype=np.float32).astype(np.float64) for name, array in arrays.items()},
                     block.options)


def smaller(case: InputCase) -> Iterator[InputCase]:
    """Fewer examples and pixels."""
    x = case.arrays["x"]
    if len(x) > 1:
        yield InputCase({**case.arrays, "x": x[:1]}, case.options)
    for axis in (1, 2):
        if x.shape[axis] > 1:
            yield InputCase({**case.arrays, "x": np.take(x, range(x.shape[axis] - 1), axis=axis)}, case.options)


def check_block(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
                family: str | None = None, activation: str | None = None, **options: Any) -> Verdict:
    """The Verdict on a residual block.

    target: a torch module class or factory of (in_chs, out_chs, stride=, alpha=, beta=), by their usual names, or a
    module, whose alpha, beta and stride are its attributes or given as options. family: "NFNet", "NFResNet" or
    "NFRegNet", else recognized by the parameters; activation: of the reference, else the family's. Widths, groups and
    the hidden width of squeeze-and-excite are those of the target's shapes. examples: input cases drawn beside the
    fixed ones; options are passed to the target. InputError when it cannot be used.
    """
    adapter, blocks = block_adapter(target, framework, family, activation, options)
    return compare(check_for(blocks), adapter.run, target=name or title_of(target), framework=adapter.framework,
                   examples=min(examples, 2 * len(blocks)), notes=adapter.notes)


def check_for(blocks: Sequence[BlockTarget]) -> BlockCheck:
    """The Check of these blocks of a target."""
    typical = tuple(_case(block, 1 + k) for k, block in enumerate(blocks))
    edges = tuple(_case(block, 11 + k, size=(7, 5), count=3, under_the_floor=True) for k, block in enumerate(blocks))

    def drawn(seed):
        random = np.random.default_rng([23, seed])
        count = int(random.integers(1, 4))
        size = tuple(int(size) for size in random.integers(2, 8, 2))
        return _case(blocks[seed % len(blocks)], 100 + seed, count=count, size=size)

    return BlockCheck("block", reference, NetworkRules(), CATALOGUE, typical, edges, drawn, smaller, is_slow=True)
