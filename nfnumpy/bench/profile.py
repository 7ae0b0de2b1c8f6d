"""Where a training step's time goes: every kernel with the bandwidth it reaches, every product with its rate."""

from .launches import recording, summed
from .occupation import Occupation
from .ours import Ours
from .problem import PRECISIONS, Problem
from .table import percent
from .timing import take_turns

SHOWN = 25  # rows printed of each table; the JSON has all
TIMES = [("calls", "calls", "d"), ("ms", "ms", ".3f"), ("% of step", "share", percent)]
KERNEL_COLUMNS = [("kernel", "kernel", ""), *TIMES, ("GB/s", "rate", ".0f"), ("% of copy", "of_copy", percent)]
PRODUCT_COLUMNS = [("product", "product", ""), *TIMES, ("TFLOP/s", "rate", ".1f")]


def measure(report, plan, copy_rate):
    """The sections "kernels", "kernel files" and "products", for the first model in each precision.

    copy_rate: GB/s of a copy, or None.
    """
    for precision in PRECISIONS:
        _profile(report, plan, Problem(plan.models[0], plan.batch_size, precision), copy_rate)


def _profile(report, plan, problem, copy_rate):
    title = f"{problem.model}, {problem.pixels} px, batch {problem.batch}, {problem.precision}"
    facts = {**problem.facts(), "work": "training"}
    launches, step = [], None
    with report.section(f"kernels {problem.precision}", f"Kernels of a training step: {title}") as section:
        ours = Ours(problem)
        step = _step_milliseconds(ours, plan)
        launches = _launches_of(ours)
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
    with report.section(f"products {problem.precision}", f"Products of a training step: {title}") as section:
        products = summed((launch for launch in launches if launch.kind == "product"), lambda launch: launch.name)
        for name, total in products.items():
            section.add(**facts, product=name, **_rated(total, step, 1e-9, None))
        section.show(PRODUCT_COLUMNS, section.rows[:SHOWN])
    with report.section(f"kernel files {problem.precision}", f"By file: {title}") as section:
        for name, total in summed(launches, lambda launch: launch.file).items():
            section.add(**facts, file=name, calls=total["calls"], ms=total["ms"], share=total["ms"] / step)
        section.show([("file", "file", ""), *TIMES])


def _step_milliseconds(ours, plan):
    """The median of a step, several in a row."""
    ours.release()
    ours.train()
    timings, failures = take_turns({"step": lambda: ours.milliseconds(
        lambda: [ours.train() for _ in range(plan.steps)]) / plan.steps}, plan.repeats)
    if failures:
        raise RuntimeError(failures["step"])
    return timings["step"].median


def _launches_of(ours):
    """All launches of one step, timed and done."""
    occupy = Occupation(ours.milliseconds)
    with recording(occupy) as launches:
        figures = ours.train()
    figures.read()
    launches[-1].end.synchronize()
    return launches


def _rated(total, step, unit, ceiling):
    """calls, ms, size, share of the step, and size per second in 1/unit per millisecond, also as share of `ceiling`."""
    rate = unit * total["size"] / total["ms"] if total["size"] and total["ms"] else None
    return {**total, "share": total["ms"] / step, "rate": rate,
            **({"of_copy": rate / ceiling if rate and ceiling else None} if unit == 1e-6 else {})}
