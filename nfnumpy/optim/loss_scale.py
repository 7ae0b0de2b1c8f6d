"""Loss scaling: gradients too small for float16 are carried through it multiplied by a power of two.

Source: Micikevicius et al. (2018), arXiv 1710.03740, section 3.2; the dynamic choice of the scale as in section 3.2's
last paragraph: doubled after `interval` steps without overflow, halved after a step with one, which is left out.

Used by: optimizer.py, sam.py, training/trainer.py. Test: reference_tests/optim/test_loss_scale.py.
"""

import math
import numbers
from typing import Any

from ..backend import as_array, namespace
from ..backend.arrays import Array
from ..errors import InputError, NotFinite
from .global_norm import scaled_global_norm


class LossScale:
    """The scale and its history, arrays () on `backend`, so that the host does not wait for them.

    initial, smallest, largest: powers of two, smallest ≤ initial ≤ largest; the scale stays between them. interval:
    steps without overflow after which it is doubled. most_skipped: how many steps in a row may overflow before
    `check` raises NotFinite; from `initial` down to `smallest` takes 30 by default.

    `state` is a dict: "scale" (float32), "good_steps" and "skipped_steps" (int64), both in a row.
    """

    def __init__(self, backend: Any, initial: float = 2.0**16, interval: int = 2000, smallest: float = 2.0**-14,
                 largest: float = 2.0**24, most_skipped: int = 50):
        if not hasattr(backend, "xp"):
            raise InputError(f"LossScale: expected a backend, such as nfnumpy.backend.get('numpy'), got {backend!r}")
        numeric = all(isinstance(value, numbers.Real) for value in (initial, smallest, largest))
        if not numeric or not 2.0**-126 <= smallest <= initial <= largest <= 2.0**126:
            raise InputError(f"LossScale: smallest={smallest!r}, initial={initial!r}, largest={largest!r}: expected "
                             f"2**-126 ≤ smallest ≤ initial ≤ largest ≤ 2**126")
        if any(math.frexp(value)[0] != 0.5 for value in (smallest, initial, largest)):
            raise InputError(f"LossScale: smallest={smallest!r}, initial={initial!r}, largest={largest!r}: expected "
                             f"powers of two, which gradients are multiplied by without rounding")
        if not all(isinstance(value, numbers.Integral) and value > 0 for value in (interval, most_skipped)):
            raise InputError(f"LossScale: interval={interval!r}, most_skipped={most_skipped!r}: expected whole numbers "
                             f"above 0")
        xp = backend.xp
        self.backend = backend
        self.interval = interval
        self.most_skipped = most_skipped
        self.smallest = smallest
        self.largest = largest
        self.state = {"scale": xp.full((), initial, dtype=xp.float32), "good_steps": xp.zeros((), dtype=xp.int64),
                      "skipped_steps": xp.zeros((), dtype=xp.int64)}

    @property
    def scale(self) -> Array:
        """The number that the loss's derivative starts from."""
        return self.state["scale"]

    @property
    def skipped_steps(self) -> Array:
        """How many steps in a row were left out up to now, an array ()."""
        return self.state["skipped_steps"]

    @property
    def proceeded(self) -> Array:
        """Whether the last step changed the weights, an array () of bool."""
        return as_array(self.skipped_steps == 0)

    def inverse(self) -> Array:
        """The number that the gradients are to be multiplied by."""
        return as_array(1.0 / self.scale)

    def finite(self, grads: list[Array]) -> Array:
        """Whether no gradient of the list overflowed: an array () of bool."""
        norm, _ = scaled_global_norm(grads)
        return as_array(namespace(norm).isfinite(norm))

    def update(self, finite: Array) -> None:
        """Take note of a step whose gradients were all finite, or not (an array () of bool).

        On a backend that does not run ahead of the host this calls `check`; elsewhere the caller does when it reads
        results anyway.
        """
        xp = namespace(self.scale)
        scale, state = self.scale, self.state
        none = xp.zeros_like(state["good_steps"])
        good = state["good_steps"] + 1
        grown = good >= self.interval
        next_scale = xp.where(finite, xp.where(grown, scale * 2.0, scale), scale * 0.5)
        state["scale"] = as_array(xp.clip(next_scale, self.smallest, self.largest))
        state["good_steps"] = as_array(xp.where(finite & ~grown, good, none))
        state["skipped_steps"] = as_array(xp.where(finite, none, state["skipped_steps"] + 1))
        if not self.backend.asynchronous:
            self.check(int(state["skipped_steps"]))

    def check(self, skipped_steps: int | None = None) -> None:
        """Raise NotFinite if too many steps in a row were left out.

        skipped_steps: their number, if the caller has read it; else this reads it, and waits for a GPU.
        """
        count = int(self.skipped_steps) if skipped_steps is None else skipped_steps
        if count >= self.most_skipped:
            raise NotFinite(f"the gradients overflowed in {count} steps in a row, down to a loss scale of "
                            f"{float(self.scale):g}: lower the learning rate, or compute in bfloat16 or float32")

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take over a saved `state` (name -> host array); InputError if it is none.

        "skipped_steps" may be missing, as in older checkpoints; it is then 0.
        """
        missing = sorted({"scale", "good_steps"} - set(arrays)) + sorted(set(arrays) - set(self.state))
        if missing:
            raise InputError(f"loss scale: expected {', '.join(map(repr, self.state))}; {missing[0]!r} does not fit")
        for name, own in self.state.items():
            array = arrays.get(name)
            if array is None:
                continue
            if array.shape != () or str(array.dtype) != str(own.dtype):
                raise InputError(f"loss scale: {name} is {array.shape} {array.dtype}, expected () {own.dtype}")
            self.state[name] = self.backend.asarray(array)
