"""Whether the host keeps the device busy: its time to launch a step, beside the time of the launches."""

import statistics
from typing import Any

import cupy

from ...backend.collector import without_collector
from ..cases.networks import NetworkCase
from ..implementations.nfnumpy_cupy import FORMS, CupyNetwork
from ..report import Report
from ..table import percent
from ..timing import host_milliseconds
from .opponent import release_all
from .turns import Turns

COLUMNS = [("implementation", "implementation", ""), ("host ms", "host_ms", ".2f"), ("alone ms", "alone_ms", ".2f"),
           ("step ms", "step_ms", ".2f"), ("launches ms", "launches_ms", ".2f"), ("% busy", "busy", percent)]
SAMPLES = 5


def measure(report: Report, plan: Any, allowance: Any, case: NetworkCase, launches: float) -> None:
    """The section "host" of the case's precision; launches: milliseconds of all launches of a step, each on its own.

    host_ms: from the call of a training step to its return, which waits for nothing, while the device had nothing to
    do before; where a step has more launches than the device's queue (about 1000) it includes waiting for a place.
    alone_ms: until the device is done with that step. step_ms: a step of several in a row. busy: launches over step.
    """
    with report.section(f"host {case.precision}", f"The host's time to launch a step: {case.precision}") as section:
        for name, options in FORMS.items():
            network = CupyNetwork(case, **options)
            timings, failures = Turns({name: network}).take("train", [name], plan, allowance.lasts)
            if failures:
                section.note(f"{name}: {failures[name]}")
                continue
            launching, alone = _launching(network)
            step = timings[name].median
            section.add(**case.facts(), work="training", implementation=name, host_ms=launching, alone_ms=alone,
                        step_ms=step, launches_ms=launches, busy=launches / step)
            del network
            release_all()
        for row in section.rows:
            row["fastest"] = row["step_ms"] == min(other["step_ms"] for other in section.rows)
        section.show(COLUMNS)


def _launching(network: CupyNetwork) -> tuple[float, float]:
    """Medians, in milliseconds, of the host's time for a step, and of the time until the device is done with it."""
    launching, alone = [], []
    for _ in range(SAMPLES):
        cupy.cuda.Stream.null.synchronize()
        with without_collector():
            launched = host_milliseconds(network.train)
            waited = host_milliseconds(cupy.cuda.Stream.null.synchronize)
        launching.append(launched)
        alone.append(launched + waited)
    return statistics.median(launching), statistics.median(alone)
