"""The bars that a GPU run is held against, each met, missed or not measured."""

import dataclasses
import operator

COMPARISONS = {"≤": operator.le, "<": operator.lt, "≥": operator.ge}
MODEL, BATCH = "nfnet_f0", 128  # what the bars are about; its training images have 192 px


@dataclasses.dataclass(frozen=True)
class Bar:
    """A limit on one value. where: the section and what the row must hold; key: the value's name in the row."""

    name: str
    comparison: str
    limit: float
    section: str
    where: dict
    key: str

    def judge(self, report):
        """{name, value, bar, result}: the value is None, and not measured, where the report has no such row."""
        values = [row[self.key] for row in report.rows(self.section, **self.where) if row.get(self.key) is not None]
        result = "not measured" if not values else \
            "met" if COMPARISONS[self.comparison](values[0], self.limit) else "missed"
        return {"name": self.name, "value": values[0] if values else None, "bar": f"{self.comparison} {self.limit:g}",
                "result": result}


def _step(precision):
    return {"model": MODEL, "batch": BATCH, "work": "training", "precision": precision}


BARS = (
    Bar("AGC and update of F0: share of the copy bandwidth", "≥", 0.8, "update", {"model": MODEL}, "of_copy"),
    Bar("AGC and update of F0: times as fast as timm's loop and torch's SGD", "≥", 5.0, "update", {"model": MODEL},
        "speedup"),
    Bar("weight standardization of F0: share of the tf32 step", "<", 0.03, "kernel files tf32",
        {**_step("tf32"), "file": "weight_standardization"}, "share"),
    Bar("F0 step, tf32: time over PyTorch's", "≤", 1.0, "against PyTorch", _step("tf32"), "ratio"),
    Bar("F0 step, bf16: time over PyTorch's under autocast", "≤", 1.2, "against PyTorch", _step("bf16"), "ratio"),
    Bar("F0 step, tf32: memory over PyTorch's", "≤", 1.0, "against PyTorch", _step("tf32"), "memory_ratio"),
    Bar("F0 step, bf16: memory over PyTorch's", "≤", 1.0, "against PyTorch", _step("bf16"), "memory_ratio"),
)


def judged(report):
    """All bars, judged."""
    return [bar.judge(report) for bar in BARS]
