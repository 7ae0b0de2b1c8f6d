"""Targets: limits for what was measured, each met, missed or not measured; those of the CPU's run and of the GPU's."""

import dataclasses
import operator
from collections.abc import Iterable
from typing import Any

from .cases import scaling, update
from .cases.networks import FOLDED, PRECISIONS, WORKS, NetworkCase, section_of
from .implementations import EAGER, NCHW, TORCH
from .report import Report

COMPARISONS = {"≤": operator.le, "<": operator.lt, "≥": operator.ge}


@dataclasses.dataclass(frozen=True)
class Target:
    """A limit for one value. section, where: the section and the values that pick its row; key: the value's name."""

    name: str
    comparison: str
    limit: float
    section: str
    where: dict
    key: str

    def judge(self, report: Report) -> dict[str, Any]:
        """{name, value, target, result}: value None and result "not measured" where the report has no such row."""
        found = [row.get(self.key) for row in report.rows(self.section, **self.where)]
        values = [value for value in found if isinstance(value, (int, float))]  # not what JSON has as text, such as NaN
        value = values[0] if values else None
        if value is None:
            result = "not measured"
        elif COMPARISONS[self.comparison](value, self.limit):
            result = "met"
        else:
            result = "missed"
        return {"name": self.name, "value": value, "target": f"{self.comparison} {self.limit:g}", "result": result}


def judge_all(targets: Iterable[Target], report: Report) -> list[dict[str, Any]]:
    """Each of the targets, judged."""
    return [target.judge(report) for target in targets]


# ---- on the processor: PyTorch's time is that of its channels-last form, for networks with batch normalization of both

TIME_LIMITS = {("nfnet_f0", "training"): 0.8}  # of our time over PyTorch's; 1 for the others
BASELINE_LIMITS = {"training": 1.2, FOLDED: 1.0}  # the same of networks with batch normalization
EXPONENT_SLACK = 0.1  # of an exponent that was fitted to a few noisy points


def cpu_targets(plan: Any) -> list[Target]:
    """The targets of the models in `plan`, and those of any run."""
    times = [target for model in plan.models for target in _times(model)]
    peaks = [Target(f"{model}, {work}: peak memory over PyTorch's", "≤", 1.0, section_of(model),
                    {"work": work, "implementation": TORCH}, "memory_ratio")
             for model in plan.models for work in WORKS[::-1]]
    of_update = Target(f"AGC and update of {plan.update_model}: time over PyTorch's", "≤", 0.4, "update",
                       {"work": update.TOGETHER, "implementation": EAGER}, "ratio")
    exponents = [Target(f"scaling with {axis}: exponent of {what} beyond the arithmetic's", "≤", EXPONENT_SLACK,
                        "scaling", {"axis": axis, "kind": "fit"}, key)
                 for axis in scaling.AXES for what, key in (("time", "excess"), ("memory", "memory_excess"))]
    return [*times, *peaks, of_update, *exponents]


def _times(model):
    """Of normalizer-free networks beside one form of PyTorch's, of the others beside both."""
    if NetworkCase(model, 1).is_normalizer_free:
        limits, forms = {work: TIME_LIMITS.get((model, work), 1.0) for work in WORKS[::-1]}, [TORCH]
    else:
        limits, forms = BASELINE_LIMITS, [TORCH, NCHW]
    return [Target(f"{model}, {work}: time over {form}'s", "≤", limit, section_of(model),
                   {"work": work, "implementation": form}, "ratio")
            for work, limit in limits.items() for form in forms]


# ---- on a GPU: batch 128 at the training size, the faster one of our forms beside the faster one of PyTorch's. Only
# PyTorch's rows have a ratio.

GPU_MODEL, GPU_BATCH = "nfnet_f0", 128
GPU_LIMITS = {"nfnet_f0": 1.0, "nf_resnet50": 1.1}  # of our time over PyTorch's


def _row(model, precision, work):
    return {"model": model, "batch": GPU_BATCH, "work": work, "precision": precision}


def _time(model, precision, work):
    return Target(f"{model} {work}, {precision}: time over PyTorch's fastest", "≤", GPU_LIMITS[model],
                  f"network {model} {precision}", {**_row(model, precision, work), "fastest": True}, "ratio")


def _memory(precision):
    return Target(f"{GPU_MODEL} training, {precision}: peak memory over PyTorch's", "≤", 1.0,
                  f"network {GPU_MODEL} {precision}", {**_row(GPU_MODEL, precision, "training"), "fastest": True},
                  "memory_ratio")


def _busy(precision):
    where = {**_row(GPU_MODEL, precision, "training"), "fastest": True}
    return Target(f"{GPU_MODEL} training, {precision}: the device is busy", "≥", 0.95,
                  f"host {precision}", where, "busy")


GPU_TARGETS = (
    *(_time("nfnet_f0", precision, work) for work in WORKS[::-1] for precision in PRECISIONS),
    *map(_memory, PRECISIONS),
    *map(_busy, PRECISIONS),
    Target("weight standardization of nfnet_f0: share of the tf32 step", "<", 0.03, "kernel files tf32",
           {**_row(GPU_MODEL, "tf32", "training"), "file": "weight_standardization"}, "share"),
    Target("AGC and update of nfnet_f0: share of the copy bandwidth", "≥", 0.8, "update", {"model": GPU_MODEL},
           "of_copy"),
    Target("AGC and update of nfnet_f0: times as fast as PyTorch's", "≥", 5.0, "update",
           {"model": GPU_MODEL}, "speedup"),
    Target("digits: distance from an accuracy of 0.9916", "≤", 0.006, "digits", {}, "deviation"),
    *(_time("nf_resnet50", precision, "training") for precision in PRECISIONS),
)
