"""A few training steps that launch every kernel, to run under compute-sanitizer, the most important first.

Every array is an allocation of its own: with CuPy's pool, which hands out parts of large ones, a kernel could write
past the end of an array unnoticed.
"""

from collections.abc import Iterable
from typing import Any

import cupy

from ..cases.networks import PRECISIONS
from . import exact_convolutions, normalization_check, single_step

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    (single_step.FIRST, {"sam": 0.05}),
    (single_step.FIRST, {"sam": 0.05, "sam_fraction": 0.5, "precision": "bf16"}),
    (single_step.FIRST, {"precision": "fp16"}),
    (single_step.FIRST, {"dtype": "float64"}),
    ("nf_resnet_32px", {}),
    ("nf_regnet_32px", {}),
)


def run(cases: Iterable[tuple[str, dict[str, Any]]] = CASES) -> None:
    """A step and an evaluation in every case."""
    cupy.cuda.set_allocator(None)
    for name, kind in cases:
        print(name, kind, "loss", single_step.step(name, kind), flush=True)
    for precision in PRECISIONS:
        print("implicit convolutions", precision, exact_convolutions.implicit(precision)[1], flush=True)
        print("depthwise convolutions", precision, exact_convolutions.depthwise(precision)[1], flush=True)
        print("normalizations", precision, normalization_check.agree(precision)[1], flush=True)


if __name__ == "__main__":
    run()
