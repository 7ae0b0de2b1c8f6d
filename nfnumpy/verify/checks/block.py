"""A single residual block of any of the three families.

The reference: the blocks of nfnumpy.models, by changeable rules in verify/networks (2101.08692, section 3; 2102.06171,
section 4; and the authors' released code, which decides).
"""

import dataclasses

import numpy as np

from ...autograd import Tensor
from .. import tolerance
from ..compare import Kind, Problem, judge, worst_differences
from ..network.beam import NARROW_BEAMS, Beam
from ..network.blocks import residual_block
from ..network.catalogue import GRADIENTS, OF_BLOCKS
from ..network.plans import BlockPlan
from ..network.problems import floored, random_parameters
from ..network.rounding import allowed
from ..network.rules import Rules
from ..adapters.blocks import block_subject

FEW = 3  # problems that outputs are compared on first
NEAR = 4.0  # times what rounding explains is near enough there
STRUCTURAL = ("groups", "width", "second_3x3", "excitation.hidden")
NAME = "block"


@dataclasses.dataclass(frozen=True)
class BlockKind(Kind):
    """A Kind whose gradients are held against the largest of their kind, as those of whole networks are."""

    def expected(self, problem, rules, precision):
        """See Kind."""
        with np.errstate(all="ignore"):
            reference = {name: np.asarray(array) for name, array in self.reference(problem, rules).items()}
            in_float32 = self.reference(problem.cast(np.float32), rules)
        branches = {}
        output(problem, rules, branches=branches)
        size = branches[NAME] * float(np.linalg.norm(np.resize(problem.arrays["cotangent"], reference["output"].shape)))
        limits, scales = allowed(reference, in_float32, precision, {"gradient of skip_gain": size})
        return reference, limits, scales

    def explained(self, problems, answers, precision):
        """See Kind: outputs are compared first, where they differ most; gradients only where those agree."""
        near, off = [], []
        for problem, answer in zip(problems, answers):
            exact, coarse = output(problem, self.rules).data, output(problem.cast(np.float32), self.rules).data
            near.append(NEAR * tolerance.allowed({"": exact}, {"": coarse}, {}, precision)[""])
            off.append(tolerance.distance(answer["output"], exact) / near[-1])
        few = sorted(range(len(problems)), key=lambda k: -off[k])[:FEW]
        catalogue = self.catalogue if off[few[0]] > 1.0 / NEAR else GRADIENTS

        def excess(rules):
            return max(difference.error / difference.allowed for difference in
                       worst_differences(self, rules, problems, answers, precision))

        search = Beam(catalogue, self.rules, lambda rules: [output(problems[k], rules).data for k in few],
                      [answers[k]["output"] for k in few], [near[k] for k in few], excess, NARROW_BEAMS)
        found = next(search.groups(), None)
        return found, () if found else search.nearest


def output(problem, rules, leaves=None, branches=None):
    """The block's output, a Tensor; branches: see residual_block."""
    leaves = {name: Tensor(array) for name, array in problem.arrays.items()} if leaves is None else leaves
    parameters = {f"{NAME}.{name}": leaf for name, leaf in leaves.items()}
    options = problem.options
    plan = BlockPlan(options["family"], NAME, 0, options["stride"], options["alpha"],
                     _beta(options["beta"], rules), options["activation"])
    return residual_block(parameters, leaves["x"], plan, rules, branches)


def _beta(beta, rules):
    return {"1/expected_std": beta, "expected_std": 1.0 / beta, "left out": 1.0, "1/expected_std²": beta**2,
            "1/√expected_std": beta**0.5}[rules.beta]


def reference(problem, rules):
    """The output and all gradients."""
    leaves = {name: Tensor(array, requires_grad=name != "cotangent") for name, array in problem.arrays.items()}
    out = output(problem, rules, leaves)
    out.backward(np.resize(problem.arrays["cotangent"], out.shape).astype(out.dtype))
    return {"output": out.data, **{f"gradient of {name}": np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad
                                   for name, leaf in leaves.items() if name != "cotangent"}}


CATALOGUE = tuple(entry for entry in OF_BLOCKS if not set(entry.changes) & set(STRUCTURAL))


def _problem(made, seed, size=(6, 6), count=2, under_the_floor=False):
    """One question to a block that `made` (see subjects/blocks.py) describes."""
    random = np.random.default_rng([seed, 29])
    parameters = random_parameters(made.shapes, seed)
    parameters = floored(parameters) if under_the_floor else parameters
    arrays = {"x": random.standard_normal((count, *size, made.in_channels)), **parameters,
              "cotangent": random.standard_normal(101)}
    return Problem({name: np.asarray(array, dtype=np.float32).astype(np.float64) for name, array in arrays.items()},
                   made.options)


def smaller(problem):
    """Fewer examples and pixels."""
    x = problem.arrays["x"]
    if len(x) > 1:
        yield Problem({**problem.arrays, "x": x[:1]}, problem.options)
    for axis in (1, 2):
        if x.shape[axis] > 1:
            yield Problem({**problem.arrays, "x": np.take(x, range(x.shape[axis] - 1), axis=axis)}, problem.options)


def check_block(target, *, framework="auto", examples=20, name=None, family=None, activation=None, **options):
    """The Verdict on a residual block.

    target: a torch module class or factory of (in_chs, out_chs, stride=, alpha=, beta=), by whatever names these go, or
    a module, whose alpha, beta and stride are read off it or given as options. family: "NFNet", "NFResNet" or
    "NFRegNet", else told by the parameters; activation: of the reference, else the family's. Widths, groups and the
    hidden width of squeeze-and-excite are taken from the target's shapes. examples: questions drawn beside the fixed
    ones; options are passed to the target. InputError when it cannot be used.
    """
    subject, kinds_of_block, notes, framework = block_subject(target, framework, family, activation, options)
    typical = tuple(_problem(made, 1 + k) for k, made in enumerate(kinds_of_block))
    edges = tuple(_problem(made, 11 + k, size=(7, 5), count=3, under_the_floor=True)
                  for k, made in enumerate(kinds_of_block))

    def drawn(seed):
        random = np.random.default_rng([23, seed])
        return _problem(kinds_of_block[seed % len(kinds_of_block)], 100 + seed, count=int(random.integers(1, 4)),
                        size=tuple(int(size) for size in random.integers(2, 8, 2)))

    kind = BlockKind("block", reference, Rules(), CATALOGUE, typical, edges, drawn, smaller)
    return judge(kind, subject, target=name or getattr(target, "__qualname__", type(target).__qualname__),
                 framework=framework, examples=min(examples, 2 * len(kinds_of_block)), notes=notes)
