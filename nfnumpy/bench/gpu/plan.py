"""How much the GPU's run measures."""

import dataclasses
from typing import Any

from ... import models
from ...errors import InputError

FREE = ("models", "tests", "cifar", "cifar_epochs")  # fields that change which parts exist, not what a part measures


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured. steps: of each sample; copy_bytes, product_size: of the arrays that peak rates need.

    The first of `models` is profiled, too. opponent: PyTorch's device; "any" is a GPU where PyTorch finds one, else
    the processor.
    """

    models: tuple = ("nfnet_f0", "nf_resnet50", "nfnet_f1")
    batch_size: int = 128
    repeats: int = 10
    steps: int = 4
    copy_bytes: int = 1 << 31
    product_size: int = 8192
    loss_steps: int = 50
    loss_batch: int = 28  # fifty such batches are all training images but a few
    digits: bool = True
    tests: bool = True
    cifar: str | None = None
    cifar_epochs: int = 10
    cifar_batch: int = 256
    opponent: str = "cuda"
    share_of_estimate: float = 1.0  # of the parts' seconds, which are those of the default plan

    def identity(self) -> dict[str, Any]:
        """What two runs must have in common for their parts to belong together, in JSON's types."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in FREE}


QUICK = Plan(models=("nfnet_8px",), batch_size=8, repeats=2, steps=2, copy_bytes=1 << 22, product_size=256,
             loss_steps=3, loss_batch=4, digits=False, cifar_epochs=1, opponent="any", share_of_estimate=0.1)


def plan_of(given: dict[str, Any]) -> Plan:
    """The Plan of the flags, a dict; InputError for what cannot be measured."""
    base = QUICK if given.pop("quick") else Plan()
    if "models" in given:
        given["models"] = tuple(given["models"].split(","))
    plan = dataclasses.replace(base, **given)
    for name in ("batch_size", "repeats", "cifar_epochs"):
        if getattr(plan, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(plan, name)}: expected a whole number above 0")
    for model in plan.models:
        models.config_of(model)
    if len(set(plan.models)) < len(plan.models):
        raise InputError(f"--models {','.join(plan.models)}: a network is named twice")
    return plan


def from_json(fields: dict[str, Any]) -> Plan:
    """The Plan whose fields went through JSON."""
    return Plan(**{**fields, "models": tuple(fields["models"])})
