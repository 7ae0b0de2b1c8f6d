"""The parts of a network, apart from its parameters, from a configuration of nfnumpy.models."""

import dataclasses
import functools
from typing import Any

from ...models import NFNetConfig, NFRegNetConfig, NFResNetConfig
from ...models.skip_init import block_schedule
from ..variants.network import NetworkRules, expected_stds, inverse

FAMILIES = {NFNetConfig: "NFNet", NFResNetConfig: "NFResNet", NFRegNetConfig: "NFRegNet"}


@dataclasses.dataclass(frozen=True)
class BlockArchitecture:
    """One residual block; the names of its parameters begin with `name` and a dot."""

    family: str
    name: str
    stage: int
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


@functools.lru_cache(maxsize=256)
def architecture_of(config: Any, rules: NetworkRules) -> Architecture:
    """The Architecture of a configuration, with betas by the schedule of `rules`."""
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
