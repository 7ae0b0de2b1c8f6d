"""Bars: limits that what was measured is held against, each met, missed or not measured."""

import dataclasses
import operator

COMPARISONS = {"≤": operator.le, "<": operator.lt, "≥": operator.ge}


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


def judged(bars, report):
    """The `bars`, judged."""
    return [bar.judge(report) for bar in bars]
