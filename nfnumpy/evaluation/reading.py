"""How an evaluation reads the images of a data set.

Used by: evaluate.py. Test: reference_tests/evaluation/test_reading.py.
"""

from collections.abc import Mapping
from typing import Any

from ..datasets import ReadingOptions
from ..training.classifier import RunFacts


def reading_options(run: RunFacts | None, spec: str, given: Mapping[str, Any]) -> ReadingOptions:
    """The options of reading the data `spec`: those `given` that are not None, and otherwise those of the run.

    run: None for weights alone. The share that a run had drawn for testing counts for the data of that run.
    InputError for options that cannot be used.
    """
    stored = {} if run is None else run.options
    names = ["decoder", "on_bad_image"]
    if spec.startswith(("folder:", "shards:")):
        names += ["eval_resize", "eval_margin"]
    if spec == stored.get("data"):
        names.append("test_share")
    chosen = {name: stored[name] for name in names if stored.get(name) is not None}
    chosen.update({name: value for name, value in given.items() if value is not None})
    return ReadingOptions(**chosen, needs_training=False)
