"""What the processor can do at best, by name: the roofs that operations are compared with."""

from ..report import Report

PRODUCTS, COPY = "float32 products, one on each of our threads", "copy, read and written, on all our threads"


def rate(report: Report, what: str) -> float | None:
    """The rate that was measured under that name (PRODUCTS in GFLOP/s or COPY in GB/s), or None."""
    rows = report.rows("peaks", what=what)
    return rows[0]["rate"] if rows else None
