"""Training on JPEG files that the loader decodes: what the step waits for them."""

import os
import tempfile

import numpy
from PIL import Image

from .. import table
from ..problem import Problem
from ..timing import Timing
from .processes import Process

FILES = 64
COLUMNS = [("model", "model", ""), ("batch", "batch", "d"), ("JPEG px", "jpeg_pixels", "d"),
           ("ms a step", "fed_ms", ".1f"), ("from memory", "memory_ms", ".1f"), ("ratio", "ratio", ".3f"),
           ("% waiting", "waiting", table.percent), ("most", "waiting_high", table.percent),
           ("images/s decoded", "decoded_per_second", ".0f")]


def measure(report, plan):
    """The section "input", a row for every case of the plan."""
    title = f"Training on {FILES} JPEG files, decoded by the loader's threads while the network computes"
    with report.section("input", title) as section, tempfile.TemporaryDirectory() as folder:
        for model, batch, steps, pixels in plan.input_cases:
            paths = write_pictures(folder, pixels)
            problem = Problem(model, batch)
            with Process("nfnumpy.bench.cpu.fed_network:FedNetwork", problem, paths) as process:
                process.ask("from_memory", 1)
                rounds = [(process.ask("from_files", steps), process.ask("from_memory", steps))
                          for _ in range(min(3, plan.repeats))]
                decoded = process.ask("decoding", 2 * steps)
            fed, waiting = zip(*(files for files, _ in rounds))
            from_memory = [memory for _, memory in rounds]
            section.add(**problem.facts(), steps=steps, jpeg_pixels=pixels, decoded_per_second=decoded,
                        **Timing(fed).facts("fed_ms"), **Timing(tuple(from_memory)).facts("memory_ms"),
                        **Timing(tuple(a / b for a, b in zip(fed, from_memory))).facts("ratio"),
                        **Timing(waiting).facts("waiting"))
        section.show(COLUMNS)
        section.note("Waiting is the share of the time after the first batch in which the step had no images to work "
                     "on; from memory, the same steps have theirs at hand.")


def write_pictures(folder, pixels):
    """Paths of FILES pictures of 4:3, `pixels` wide, in `folder`: smooth colours under some noise, as photographs."""
    random, paths = numpy.random.default_rng(0), []
    for k in range(FILES):
        size = pixels, max(1, pixels * 3 // 4)
        colours = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=numpy.uint8)).resize(size, Image.BICUBIC)
        noisy = numpy.asarray(colours) + random.normal(0.0, 8.0, (size[1], size[0], 3))
        paths.append(os.path.join(folder, f"{pixels}-{k}.jpg"))
        Image.fromarray(numpy.clip(noisy, 0, 255).astype(numpy.uint8)).save(paths[-1], quality=90)
    return paths
