"""How time and memory of our training step grow with batch, resolution and depth, beside the arithmetic."""

import math

import numpy

from ... import models
from ...analysis import count_flops
from .. import table
from ..problem import Problem
from ..report import watched
from .contestants import OURS, take_turns
from .processes import Process

AXES = ("batch", "resolution", "depth")
POINTS = [("with", "axis", ""), ("value", "value", "d"), ("ms", "ms", ".1f"), ("least", "ms_low", ".1f"),
          ("most", "ms_high", ".1f"), ("GB", "memory", table.gigabytes), ("G multiply-adds", "arithmetic", ".2f")]
FITS = [("exponent of", "axis", ""), ("time", "time", ".2f"), ("memory", "memory", ".2f"),
        ("arithmetic", "arithmetic", ".2f")]


def measure(report, plan):
    """The section "growth": points along each axis, and the exponent of a power law fitted to them."""
    model, smallest, _ = plan.growth
    title = f"Growth of a training step around {model} at batch {smallest} (memory: net of the libraries)"
    with report.section("growth", title) as section:
        problems = [(axis, value, problem) for axis in AXES for value, problem in _problems(axis, *plan.growth)]
        for axis, value, problem in watched(problems, "growth"):
            section.add(axis=axis, kind="point", value=value, **_point(problem, plan))
        section.show(POINTS)
        fits = [section.add(axis=axis, kind="fit", **_fit([row for row in section.rows if row["axis"] == axis]))
                for axis in AXES]
        section.show(FITS, fits)
        section.note("A quantity that grows as value^exponent; the arithmetic is what analysis.count_flops counts.")


def _problems(axis, model, batch, points):
    """(value, Problem) along one axis: doubled batches and depths, sides of 1, 1.5, 2 … times the model's."""
    config = models.config_of(model)
    for k in range(points):
        if axis == "batch":
            yield batch * 2**k, Problem(model, batch * 2**k)
        elif axis == "resolution":
            side = config.train_size * (k + 2) // 2
            yield side, Problem(model, batch, changes={"train_size": side, "test_size": side})
        else:
            depths = tuple(depth * 2**k for depth in config.depths)
            yield sum(depths), Problem(model, batch, changes={"depths": depths})


def _point(problem, plan):
    """Time, memory and arithmetic of one training step, once warm."""
    with Process("nfnumpy.bench.cpu.our_network:OurNetwork", problem) as process:
        process.ask("training")
        timings, failures, peaks = take_turns({OURS: process}, plan.repeats, plan, "training")
        if failures:
            raise RuntimeError(failures[OURS])
        memory = peaks[OURS] - process.ask("resident_before")
    model = models.from_config(problem.config, shapes_only=True)
    return {**timings[OURS].facts("ms"), "memory": memory,
            "arithmetic": 1e-9 * problem.batch * count_flops(model, problem.pixels, problem.pixels)}


def _fit(points):
    """The exponents of power laws, by least squares of the logarithms; `excess`: how much faster than arithmetic."""
    exponents = {name: exponent([point["value"] for point in points], [point[key] for point in points])
                 for name, key in (("time", "ms"), ("memory", "memory"), ("arithmetic", "arithmetic"))}
    return {**exponents, "excess": exponents["time"] - exponents["arithmetic"],
            "memory_excess": exponents["memory"] - exponents["arithmetic"]}


def exponent(values, quantities):
    """b of the law a·value^b that fits best."""
    return float(numpy.polyfit([math.log(value) for value in values],
                               [math.log(quantity) for quantity in quantities], 1)[0])
