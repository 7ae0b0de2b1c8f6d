"""A first look: every kernel file is launched, and a few training steps give NumPy's losses."""

import collections
import functools
from typing import Any

from ... import backend as backends
from ...backend import cuda, cuda_graph
from ..cases.networks import PRECISIONS
from ..report import Report
from . import checks, exact_convolutions, loss_agreement, normalization_check, single_step
from .launches import recording

KINDS: tuple[dict[str, Any], ...] = ({}, {"precision": "bf16"})
STEPS, BOUND = 4, 1e-4  # the greatest relative error of float32 losses


def measure(report: Report, plan: Any, allowance: Any) -> None:
    """The section "smoke": a row for the losses, each kind of step, and each file of kernels."""
    with report.section("smoke", "Steps of small networks") as section:
        checks.check(section, "losses beside NumPy's, float32", functools.partial(
            loss_agreement.compare_losses, "float32", None, min(STEPS, plan.loss_steps), BOUND, plan.loss_batch))
        checks.check(section, "steps can be captured", _capturing)
        checks.check(section, "the same bits from a CUDA graph", functools.partial(
            loss_agreement.compare_bits, "float32", None, STEPS, plan.loss_batch, {"cuda_graph": "on"}))
        with recording() as launches:
            for kind in KINDS:
                name = f"a step of {single_step.FIRST}, {kind.get('precision', 'float32')}"
                checks.check(section, name, functools.partial(_finite_step, kind))
            for precision in PRECISIONS:
                checks.check(section, f"implicit convolutions, {precision}",
                             functools.partial(exact_convolutions.implicit, precision))
                checks.check(section, f"depthwise convolutions, {precision}",
                             functools.partial(exact_convolutions.depthwise, precision))
                checks.check(section, f"normalizations, {precision}",
                             functools.partial(normalization_check.agree, precision))
        counts = collections.Counter(launch.file for launch in launches)
        for file in cuda.FILES:
            checks.check(section, f"kernels/{file}.cu", functools.partial(_launched, counts[file]))


def _capturing():
    found = cuda_graph.is_available(backends.get("cupy"))
    return found, "cuBLAS's library is at hand" if found else "cuBLAS's library is not found: no CUDA graphs"


def _finite_step(kind):
    loss = single_step.step(single_step.FIRST, kind)
    return True, f"loss {loss:.4f}"


def _launched(count):
    return count > 0, f"{count} launches"
