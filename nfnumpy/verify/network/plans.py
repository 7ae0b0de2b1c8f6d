"""What a network is made of, apart from its parameters: read off a configuration of nfnumpy.models."""

import dataclasses
import math

from ...models import NFNetConfig, NFRegNetConfig, NFResNetConfig
from ...models.base import block_schedule

FAMILIES = {NFNetConfig: "NFNet", NFResNetConfig: "NFResNet", NFRegNetConfig: "NFRegNet"}


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """One residual block; `name` is what its parameters' names begin with, a dot behind it."""

    family: str
    name: str
    stage: int
    stride: int
    alpha: float
    beta: float
    activation: str


@dataclasses.dataclass(frozen=True)
class NetworkPlan:
    """A whole network."""

    config: object
    family: str
    blocks: tuple

    @property
    def parts(self):
        """The parts in order, each of which turns the output of the one before into its own."""
        return ("stem", *(block.name for block in self.blocks), "pooled features", "logits")


def plan_of(config, rules):
    """The NetworkPlan of a configuration, with betas as `rules` schedule them."""
    family, blocks, scheduled = FAMILIES[type(config)], [], betas(config.depths, config.alpha, rules)
    for stage, position, _, _ in block_schedule(config.depths, config.alpha, 0.0):
        blocks.append(BlockPlan(family, f"blocks.{len(blocks)}", stage, 1 if position else config.strides[stage],
                                config.alpha, scheduled[len(blocks)], config.activation))
    return NetworkPlan(config, family, tuple(blocks))


def betas(depths, alpha, rules):
    """beta of every block."""
    expected_stds = [1.0 / beta for _, _, beta, _ in block_schedule(depths, alpha, 0.0)] \
        if rules.schedule == "reset after a stage's first block" else _expected_stds(depths, alpha, rules.schedule)
    if rules.schedule == "reset after a stage's first block" and rules.beta == "1/expected_std":
        return [beta for _, _, beta, _ in block_schedule(depths, alpha, 0.0)]
    form = {"1/expected_std": lambda std: 1.0 / std, "expected_std": lambda std: std, "left out": lambda std: 1.0,
            "1/expected_std²": lambda std: std**-2, "1/√expected_std": lambda std: std**-0.5}[rules.beta]
    return [form(std) for std in expected_stds]


def _expected_stds(depths, alpha, schedule):
    grown = {"alpha not squared": lambda std: math.sqrt(std**2 + alpha), "alpha added": lambda std: std + alpha,
             "alpha to the fourth": lambda std: math.sqrt(std**2 + alpha**4)}.get(
                 schedule, lambda std: math.sqrt(std**2 + alpha**2))
    std = 1.0
    for depth in depths:
        for position in range(depth):
            if position == 0 and schedule == "reset before a stage's first block":
                std = 1.0
            yield std
            if position == 0 and schedule == "reset to 1 after a stage's first block, alpha forgotten":
                std = 1.0
            elif position == 0 and schedule not in ("never reset", "reset before a stage's first block"):
                std = grown(1.0)
            else:
                std = grown(std)
