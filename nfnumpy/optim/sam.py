"""Sharpness-aware minimization: descend along the gradient found a step uphill.

Source: Foret et al. (2021), arXiv 2010.01412, eq. 2 and algorithm 1; the ascent on a part of the batch is the cheap
form of Brock et al. (2021b), section 4 ("20 % of the batch").
"""

from ..backend import as_array, formula, namespace
from ..errors import InputError
from .global_norm import global_norm


@formula
def sam_perturb(params, grads, *, rho):
    """The list of w + e with e = rho·g/‖g‖, the norm over all of `grads` (a list, like params); e = 0 where it is 0."""
    norm = global_norm(grads)
    xp = namespace(norm)
    scale = xp.where(norm > 0.0, rho / xp.where(norm > 0.0, norm, xp.ones_like(norm)), xp.zeros_like(norm))
    return [as_array(param + grad * scale) for param, grad in zip(params, grads, strict=True)]


class SAM:
    """Wraps an optimizer: e = rho·g/‖g‖ over all parameters, then the optimizer's own step with the gradient at w + e.

    rho: the length of the ascent; ascent_fraction: the share (0 … 1] of the batch whose gradient gives e.
    """

    def __init__(self, optimizer, rho=0.05, ascent_fraction=1.0):
        if not rho > 0.0 or not 0.0 < ascent_fraction <= 1.0:
            raise InputError(f"SAM: rho={rho!r}, ascent_fraction={ascent_fraction!r}: expected rho > 0 and a share of "
                             f"the batch above 0 and up to 1")
        self.optimizer, self.rho, self.ascent_fraction = optimizer, rho, ascent_fraction
        self._resting_place = None

    def ascent_size(self, batch_size):
        """How many examples of a batch the ascent uses: at least one."""
        return max(1, round(self.ascent_fraction * batch_size))

    def first_step(self):
        """Climb from w to w + e along the gradients at hand, and forget them."""
        if self._resting_place is not None:
            raise InputError("SAM: first_step twice; second_step comes in between")
        parameters = {name: parameter for name, parameter in self.optimizer.parameters.items()
                      if parameter.requires_grad}
        missing = [name for name, parameter in parameters.items() if parameter.grad is None]
        if missing:
            raise InputError(f"SAM: {missing[0]} has no gradient; call backward before first_step")
        params = [parameter.data for parameter in parameters.values()]
        grads = [parameter.grad for parameter in parameters.values()]
        above, loss_scale = sam_perturb(params, grads, rho=self.rho), getattr(self.optimizer, "loss_scale", None)
        if loss_scale is not None:  # where the gradients overflowed, the step is left out, and the climb too
            finite = loss_scale.finite(grads)
            above = [as_array(namespace(param).where(finite, array, param)) for array, param in zip(above, params)]
        self._resting_place = {name: parameter.data for name, parameter in parameters.items()}
        for parameter, array in zip(parameters.values(), above):
            parameter.data = array
        self.optimizer.zero_grad()

    def second_step(self):
        """Return to w, bit for bit, and let the optimizer step with the gradients found at w + e."""
        if self._resting_place is None:
            raise InputError("SAM: second_step before first_step")
        self._return()
        self.optimizer.step()

    def _return(self):
        for name, array in self._resting_place.items():
            self.optimizer.parameters[name].data = array
        self._resting_place = None

    def cancel(self):
        """Forget the gradients and, between first_step and second_step, return to w, bit for bit."""
        if self._resting_place is not None:
            self._return()
        self.optimizer.zero_grad()

    def step(self, closure, ascent_closure=None):
        """A whole step: `closure()` computes the batch's loss, calls backward and returns the loss.

        ascent_closure: the same on the ascent's part of the batch; needed if ascent_fraction < 1, else `closure`.
        Returns what closure returned at w, if the ascent used the whole batch, else what it returned at w + e. If a
        closure raises, the step is cancelled: the weights are as they were.
        """
        if ascent_closure is None and self.ascent_fraction < 1.0:
            raise InputError("SAM: ascent_fraction < 1 wants an ascent_closure over that part of the batch")
        try:
            here = (ascent_closure or closure)()
            self.first_step()
            above = closure()
        except BaseException:
            self.cancel()
            raise
        self.second_step()
        return here if ascent_closure is None else above
