"""One training step along three axes: batch, resolution and depth."""

from collections.abc import Iterator

from ... import models
from .networks import NetworkCase

AXES = ("batch", "resolution", "depth")


def cases_along(axis: str, model: str, batch: int, points: int) -> Iterator[tuple[int, NetworkCase]]:
    """(value, case) for each point: doubled batches and depths, sides of 1, 1.5, 2 … times the model's."""
    config = models.config_of(model)
    for k in range(points):
        if axis == "batch":
            yield batch * 2**k, NetworkCase(model, batch * 2**k)
        elif axis == "resolution":
            side = config.train_size * (k + 2) // 2
            yield side, NetworkCase(model, batch, changes={"train_size": side, "test_size": side})
        else:
            depths = tuple(depth * 2**k for depth in config.depths)
            yield sum(depths), NetworkCase(model, batch, changes={"depths": depths})
