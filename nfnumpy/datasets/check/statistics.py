"""Numbers about the images of a split: sizes, and how they are distributed.

Used by: report.py, json_report.py. Test: reference_tests/datasets/test_check.py.
"""

from typing import Any

import numpy as np

from .images import SplitFacts

# Shorter sides in pixels from which a bar of the histogram begins: the sizes that networks are trained at lie between.
EDGES = (1, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)


def summary(values: np.ndarray) -> dict[str, int] | None:
    """The least, the median and the largest of whole numbers (N,); None if there is none.

    Of two numbers in the middle the lower one is the median, so that it is the size of an image.
    """
    if not len(values):
        return None
    ordered = np.sort(values)
    return {"min": int(ordered[0]), "median": int(ordered[(len(ordered) - 1) // 2]), "max": int(ordered[-1])}


def histogram(values: np.ndarray) -> list[dict[str, Any]]:
    """How many of the positive numbers (N,) are from each of EDGES up to the next, without empty ends."""
    edges = [*EDGES, max(EDGES[-1], int(values.max(initial=0))) + 1]
    counts, _ = np.histogram(values, edges)
    used = np.flatnonzero(counts)
    if not len(used):
        return []
    return [{"from": edges[bar], "below": edges[bar + 1], "images": int(counts[bar])}
            for bar in range(used[0], used[-1] + 1)]


def statistics(facts: SplitFacts) -> dict[str, Any]:
    """What a report says of the images of a split; pixels are of the images that can be read.

    elongated: how many are more than twice as long as wide, or as wide as long.
    """
    readable = facts.widths > 0
    widths, heights = facts.widths[readable], facts.heights[readable]
    shorter = np.minimum(widths, heights)
    return {
        "images": len(facts.sizes),
        "broken": len(facts.broken),
        "bytes": int(facts.sizes.sum()),
        "bytes_per_image": summary(facts.sizes),
        "width": summary(widths),
        "height": summary(heights),
        "shorter_side": summary(shorter),
        "shorter_side_histogram": histogram(shorter),
        "elongated": int(np.count_nonzero(np.maximum(widths, heights) > 2 * shorter)),
        "formats": dict(facts.formats.most_common()),
        "modes": dict(facts.modes.most_common()),
        "animated": facts.animated,
    }
