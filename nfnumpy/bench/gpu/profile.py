"""Where a training step's time goes: every kernel with the bandwidth it reaches, every product with its rate."""

from typing import Any

from ..cases.networks import NetworkCase
from ..implementations.nfnumpy_cupy import PLAIN, CupyNetwork
from ..report import Report
from ..table import percent
from . import host, peak_rates
from .keep_device_busy import KeepDeviceBusy
from .launches import Launch, recording, summed
from .opponent import release_all
from .turns import Turns

SHOWN = 25  # rows printed of each table; the JSON has all
TIMES = [("calls", "calls", "d"), ("ms", "ms", ".3f"), ("% of step", "share", percent)]
KERNEL_COLUMNS = [("kernel", "kernel", ""), *TIMES, ("GB/s", "rate", ".0f"), ("% of copy", "of_copy", percent)]
PRODUCT_COLUMNS = [("product", "product", ""), *TIMES, ("TFLOP/s", "rate", ".1f")]


def measure(report: Report, plan: Any, allowance: Any, model: str, precision: str) -> None:
    """The sections "kernels", "products", "kernel files" and "host" of that precision."""
    case = NetworkCase(model, plan.batch_size, precision)
    copy_rate = peak_rates.copy_rate(report)
    title = f"{case.model}, {case.pixels} px, batch {case.batch}, {case.precision}"
    facts = {**case.facts(), "work": "training"}
    launches: list[Launch] = []
    step = 0.0
    with report.section(f"kernels {case.precision}", f"Kernels of a training step: {title}") as section:
        network = CupyNetwork(case, **PLAIN)
        step = _step_milliseconds(network, plan, allowance)
        launches = _launches_of(network)
        kernels = summed((launch for launch in launches if launch.kind == "kernel"), lambda launch: launch.name)
        for name, total in kernels.items():
            section.add(**facts, kernel=name, **_rated(total, step, 1e-6, copy_rate))
        section.show(KERNEL_COLUMNS, section.rows[:SHOWN])
        known = sum(launch.milliseconds for launch in launches)
        section.note(f"A step takes {step:.2f} ms; {len(launches)} launches account for {known:.2f} ms of it, CuPy's "
                     f"own functions and gaps for the rest. Bytes are those of all arrays a kernel is given: an upper "
                     f"bound of what it moves.")
    if not launches:
        return
    with report.section(f"products {case.precision}", f"Products of a training step: {title}") as section:
        products = summed((launch for launch in launches if launch.kind == "product"), lambda launch: launch.name)
        for name, total in products.items():
            section.add(**facts, product=name, **_rated(total, step, 1e-9, None))
        section.show(PRODUCT_COLUMNS, section.rows[:SHOWN])
    with report.section(f"kernel files {case.precision}", f"By file: {title}") as section:
        for name, total in summed(launches, lambda launch: launch.file).items():
            section.add(**facts, file=name, calls=total["calls"], ms=total["ms"], share=total["ms"] / step)
        section.show([("file", "file", ""), *TIMES])
    host.measure(report, plan, allowance, case, sum(launch.milliseconds for launch in launches))
    del network
    release_all()


def _step_milliseconds(network, plan, allowance):
    """The median of a step, several in a row."""
    timings, failures = Turns({"step": network}).take("train", ["step"], plan, allowance.lasts)
    if failures:
        raise RuntimeError(failures["step"])
    return timings["step"].median


def _launches_of(network: CupyNetwork) -> list[Launch]:
    """All launches of one step, timed and done."""
    keep_busy = KeepDeviceBusy(network.milliseconds)
    with recording(keep_busy) as launches:
        metrics = network.train()
    metrics.read()
    if launches:
        launches[-1].end.synchronize()
    return launches


def _rated(total, step, unit, peak):
    """calls, ms, size, share of the step, and size per second in 1/unit per millisecond, also as a share of `peak`."""
    rate = unit * total["size"] / total["ms"] if total["size"] and total["ms"] else None
    facts = {**total, "share": total["ms"] / step, "rate": rate}
    if unit == 1e-6:
        facts["of_copy"] = rate / peak if rate and peak else None
    return facts
