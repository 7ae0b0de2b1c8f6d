"""How time and memory of our training step grow with batch, resolution and depth, beside the arithmetic."""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ... import models
from ...analysis import count_flops
from .. import table
from ..cases.networks import NetworkCase
from ..cases.scaling import AXES, cases_along
from ..implementations import NFNUMPY
from ..processes import Process
from ..report import Report, watched
from ..rounds import take_turns

POINTS = [("with", "axis", ""), ("value", "value", "d"), ("ms", "ms", ".1f"), ("least", "ms_low", ".1f"),
          ("most", "ms_high", ".1f"), ("GB", "memory", table.gigabytes), ("G multiply-adds", "arithmetic", ".2f")]
FITS = [("exponent of", "axis", ""), ("time", "time", ".2f"), ("memory", "memory", ".2f"),
        ("arithmetic", "arithmetic", ".2f")]


def measure(report: Report, plan: Any) -> None:
    """The section "scaling": points along each axis, and the exponent of a power law fitted to them."""
    model, smallest, _ = plan.scaling
    title = f"Scaling of a training step around {model} at batch {smallest} (memory: net of the libraries)"
    with report.section("scaling", title) as section:
        points = [(axis, value, case) for axis in AXES for value, case in cases_along(axis, *plan.scaling)]
        measured = {}  # by batch and configuration: the axes start at the same point
        for axis, value, case in watched(points, "scaling"):
            key = case.batch, case.config
            if key not in measured:
                measured[key] = _point(case, plan)
            section.add(axis=axis, kind="point", value=value, **measured[key])
        section.show(POINTS)
        fits = [section.add(axis=axis, kind="fit", **_fit([row for row in section.rows if row["axis"] == axis]))
                for axis in AXES]
        section.show(FITS, fits)
        section.note("A quantity that grows as value^exponent; the arithmetic is what analysis.count_flops counts.")


def _point(case: NetworkCase, plan: Any) -> dict[str, float]:
    """Time, memory and arithmetic of one training step, once warm."""
    with Process("nfnumpy.bench.implementations.nfnumpy_network:NfnumpyNetwork", case) as process:
        process.call("training")
        timings, failures, peaks = take_turns({NFNUMPY: process}, plan.repeats, plan, "training")
        if failures:
            raise RuntimeError(failures[NFNUMPY])
        memory = peaks[NFNUMPY] - process.call("resident_before")
    model = models.from_config(case.config, shapes_only=True)
    arithmetic = 1e-9 * case.batch * count_flops(model, case.pixels, case.pixels)
    return {**timings[NFNUMPY].facts("ms"), "memory": memory, "arithmetic": arithmetic}


def _fit(points):
    """The exponents of power laws, by least squares of the logarithms; `excess`: how much faster than arithmetic."""
    exponents = {name: exponent([point["value"] for point in points], [point[key] for point in points])
                 for name, key in (("time", "ms"), ("memory", "memory"), ("arithmetic", "arithmetic"))}
    return {**exponents, "excess": exponents["time"] - exponents["arithmetic"],
            "memory_excess": exponents["memory"] - exponents["arithmetic"]}


def exponent(values: Sequence[float], quantities: Sequence[float]) -> float:
    """b of the law a·value^b that fits best."""
    return float(numpy.polyfit([math.log(value) for value in values],
                               [math.log(quantity) for quantity in quantities], 1)[0])
