"""Training on JPEG files that the loader decodes: how long the step waits for them."""

import tempfile
from typing import Any

from .. import table
from ..cases.data_loading import FILES, write_pictures
from ..cases.networks import NetworkCase
from ..processes import Process
from ..report import Report
from ..timing import Timing, ratio

COLUMNS = [("model", "model", ""), ("batch", "batch", "d"), ("JPEG px", "jpeg_pixels", "d"),
           ("ms a step", "files_ms", ".1f"), ("from memory", "memory_ms", ".1f"), ("ratio", "ratio", ".3f"),
           ("% waiting", "waiting", table.percent), ("most", "waiting_high", table.percent),
           ("images/s decoded", "decoded_per_second", ".0f")]
MAKER = "nfnumpy.bench.implementations.nfnumpy_data_loading:NetworkOnFiles"


def measure(report: Report, plan: Any) -> None:
    """The section "loading", a row for every case of the plan."""
    title = f"Training on {FILES} JPEG files, decoded by the loader's threads while the network computes"
    with report.section("loading", title) as section, tempfile.TemporaryDirectory() as folder:
        for model, batch, steps, pixels in plan.loading_cases:
            paths = write_pictures(folder, pixels)
            case = NetworkCase(model, batch)
            facts = _measured(case, paths, steps, min(3, plan.repeats))
            section.add(**case.facts(), steps=steps, jpeg_pixels=pixels, **facts)
        section.show(COLUMNS)
        section.note("Waiting is the share of the time after the first batch in which the step had no images to work "
                     "on; from memory, the same steps have theirs at hand.")


def _measured(case: NetworkCase, paths: list[str], steps: int, rounds: int) -> dict[str, float]:
    """Times from files and from memory, taken in turns, the share of waiting, and images decoded per second."""
    from_files, waiting, from_memory = [], [], []
    with Process(MAKER, case, paths) as process:
        process.call("from_memory", 1)
        for _ in range(rounds):
            milliseconds, share = process.call("from_files", steps)
            from_files.append(milliseconds)
            waiting.append(share)
            from_memory.append(process.call("from_memory", steps))
        decoded = process.call("decoding", 2 * steps)
    files, memory = Timing(tuple(from_files)), Timing(tuple(from_memory))
    return {"decoded_per_second": decoded, **files.facts("files_ms"), **memory.facts("memory_ms"),
            **ratio(files, memory).facts("ratio"), **Timing(tuple(waiting)).facts("waiting")}
