"""Loss scaling: gradients too small for float16 are carried through it multiplied by a power of two.

Source: Micikevicius et al. (2018), arXiv 1710.03740, section 3.2; the dynamic choice of the scale as in section 3.2's
last paragraph: doubled after `interval` steps without overflow, halved after a step with one, which is left out.
"""

from ..backend import as_array, namespace
from .global_norm import global_norm


class LossScale:
    """The scale and how many steps in a row it has held, both arrays () on `backend`, so that nobody waits for them.

    `state` is a dict of both: "scale" (float32) and "good_steps" (int64).
    """

    def __init__(self, backend, initial=2.0**16, interval=2000):
        xp = backend.xp
        self.interval = interval
        self.state = {"scale": xp.full((), initial, dtype=xp.float32), "good_steps": xp.zeros((), dtype=xp.int64)}

    @property
    def scale(self):
        """What the loss's derivative starts from."""
        return self.state["scale"]

    def inverse(self):
        """What the gradients are to be multiplied by."""
        return as_array(1.0 / self.scale)

    def finite(self, grads):
        """Whether no gradient of the list overflowed: an array () of bool."""
        norm = global_norm(grads)
        return as_array(namespace(norm).isfinite(norm))

    def update(self, finite):
        """Take note of a step whose gradients were all finite, or not (an array () of bool)."""
        xp, scale, good = namespace(self.scale), self.scale, self.state["good_steps"] + 1
        grown = good >= self.interval
        self.state["scale"] = as_array(xp.where(finite, xp.where(grown, scale * 2.0, scale), scale * 0.5))
        self.state["good_steps"] = as_array(xp.where(finite & ~grown, good, xp.zeros_like(good)))
