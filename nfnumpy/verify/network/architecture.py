"""The parts of a network, apart from its parameters, from a configuration of nfnumpy.models, and its rules.

A configuration of FAMILIES has NetworkRules, whose parts are written out in blocks.py and forward.py; any other has
BaselineRules, whose parts are the objects of nfnumpy.models (baselines.py).
"""

import dataclasses
import functools
from typing import Any

from ...models import NFNetConfig, NFRegNetConfig, NFResNetConfig
from ...models.skip_init import block_schedule
from ..variants import KnownVariant, network_catalogue
from ..variants.baselines import catalogue as baseline_catalogue
from ..variants.baselines.rules import BaselineRules
from ..variants.network import NetworkRules, expected_stds, inverse
from .baselines import network_of

Rules = NetworkRules | BaselineRules
FAMILIES = {NFNetConfig: "NFNet", NFResNetConfig: "NFResNet", NFRegNetConfig: "NFRegNet"}


@dataclasses.dataclass(frozen=True)
class BlockArchitecture:
    """One residual block; the names of its parameters begin with `name` and a dot."""

    family: str
    name: str
    stage: int | None
    stride: int
    alpha: float
    beta: float
    activation: str


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A whole network."""

    config: Any
    family: str
    blocks: tuple[BlockArchitecture, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts in order; the input of each is the output of the one before."""
        return ("stem", *(block.name for block in self.blocks), "pooled features", "logits")


def base_rules(config: Any) -> Any:
    """The rules of a configuration's own network."""
    return NetworkRules() if type(config) in FAMILIES else baseline_catalogue.base_rules(config)


@dataclasses.dataclass(frozen=True)
class Catalogues:
    """The known variants of a network: those that change shapes of parameters, outputs of blocks, of stem and head, of
    any part, and gradients or running statistics alone.
    """

    of_shapes: tuple[KnownVariant, ...]
    in_blocks: tuple[KnownVariant, ...]
    in_ends: tuple[KnownVariant, ...]
    in_all_parts: tuple[KnownVariant, ...]
    backward: tuple[KnownVariant, ...]


@functools.lru_cache(maxsize=64)
def catalogues_of(config: Any) -> Catalogues:
    """The Catalogues of a configuration."""
    if type(config) in FAMILIES:
        known = network_catalogue
        return Catalogues(known.OF_SHAPES, known.IN_BLOCKS, known.IN_ENDS, known.IN_ALL_PARTS, known.GRADIENTS)
    outputs = baseline_catalogue.of_outputs(config)
    return Catalogues(baseline_catalogue.of_shapes(config), outputs, outputs, outputs,
                      baseline_catalogue.of_backward(config))


@functools.lru_cache(maxsize=256)
def architecture_of(config: Any, rules: Rules) -> Architecture:
    """The Architecture of a configuration, with betas by the schedule of `rules`."""
    if isinstance(rules, BaselineRules):
        family = type(config).__name__.removesuffix("Config")
        count = len(network_of(config, base_rules(config))[0].blocks)
        return Architecture(config, family, tuple(
            BlockArchitecture(family, f"blocks.{k}", None, 1, 1.0, 1.0, "") for k in range(count)))
    family, scheduled = FAMILIES[type(config)], betas(config.depths, config.alpha, rules)
    blocks: list[BlockArchitecture] = []
    for stage, position, _, _ in block_schedule(config.depths, config.alpha, 0.0):
        stride = 1 if position else config.strides[stage]
        blocks.append(BlockArchitecture(family, f"blocks.{len(blocks)}", stage, stride, config.alpha,
                                        scheduled[len(blocks)], config.activation))
    return Architecture(config, family, tuple(blocks))


def betas(depths: tuple[int, ...], alpha: float, rules: NetworkRules) -> list[float]:
    """beta of every block; without changes, that of nfnumpy.models to the bit."""
    reference = [beta for _, _, beta, _ in block_schedule(depths, alpha, 0.0)]
    if rules.schedule is not expected_stds:
        return [rules.beta(std) for std in rules.schedule(depths, alpha)]
    return [changed_beta(beta, rules) for beta in reference]


def changed_beta(beta: float, rules: NetworkRules) -> float:
    """The reference's beta = 1/expected_std as `rules` have it."""
    return beta if rules.beta is inverse else rules.beta(1.0 / beta)
