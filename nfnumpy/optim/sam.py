"""Sharpness-aware minimization: descend along the gradient found a step uphill.

Source: Foret et al. (2021), arXiv 2010.01412, eq. 2 and algorithm 1; the ascent on a part of the batch is the cheap
form of Brock et al. (2021b), section 4 ("20 % of the batch").

Used by: training/trainer.py. Fast paths of `sam_perturb`: fast_numpy/multi_tensor.py, fast_cupy/multi_tensor.py.
Kernel: backend/kernels/optimizer.cu. Tests: reference_tests/optim/test_sam.py, test_norms.py;
fast_numpy/test_optimizer.py and kernels/test_optimizer.py.
"""

from collections.abc import Callable
from typing import Any

from ..backend import DrawnSteps, as_array, formula, namespace, repeatable_steps
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from .checks import check_pairs, is_finite_number
from .global_norm import scaled_global_norm
from .norms import joined, widened


def check_perturbation(params: list[Array], grads: list[Array], *, rho: float) -> None:
    """InputError unless there is a gradient for every parameter, at least one, and rho is a number."""
    check_pairs(params, grads, "sam_perturb")
    if not params or not is_finite_number(rho):
        raise InputError(f"sam_perturb: {len(params)} arrays and rho={shown(rho)}: expected at least one and a number")


@formula(check=check_perturbation)
def sam_perturb(params: list[Array], grads: list[Array], *, rho: float) -> list[Array]:
    """The list of w + e with e = rho·g/‖g‖, the norm over all of `grads` (a list, like params); e = 0 where it is 0.

    Where a gradient is infinite or NaN, so is the result there; the other entries stay.
    """
    norm, by = scaled_global_norm(grads)
    xp = namespace(norm)
    is_positive = norm > 0.0
    divisor = xp.where(is_positive, norm, xp.ones_like(norm))
    scale = xp.where(is_positive, rho / divisor, xp.zeros_like(norm))
    by, scale = joined(by, scale)
    return [as_array(xp.astype(param + (widened(grad) * by) * scale, param.dtype, copy=False))
            for param, grad in zip(params, grads, strict=True)]


class SAM:
    """Wraps an optimizer: e = rho·g/‖g‖ over all parameters, then the optimizer's own step with the gradient at w + e.

    rho: the length of the ascent; ascent_fraction: the share (0 … 1] of the batch whose gradient gives e.

    Both passes draw the same dropout and stochastic depth: `step` repeats the random steps of the first closure in the
    second, and `first_step` takes `optimizer.randomness`, if there is one, back to the step of the pass before it. Of a
    network with running statistics one pass is to update them, on the whole batch; the other is to be called with
    `update_statistics=False`.
    """

    def __init__(self, optimizer: Any, rho: float = 0.05, ascent_fraction: float = 1.0):
        has_step = callable(getattr(optimizer, "step", None))
        if not has_step or not isinstance(getattr(optimizer, "parameters", None), dict):
            raise InputError(f"SAM: expected an optimizer with step() and a dict of parameters, such as SGD, got "
                             f"{shown(optimizer)}")
        valid = is_finite_number(rho) and is_finite_number(ascent_fraction)
        if not valid or not rho > 0.0 or not 0.0 < ascent_fraction <= 1.0:
            raise InputError(f"SAM: rho={shown(rho)}, ascent_fraction={shown(ascent_fraction)}: expected rho > 0 and a "
                             f"share of the batch above 0 and up to 1")
        self.optimizer = optimizer
        self.rho = rho
        self.ascent_fraction = ascent_fraction
        self._unperturbed: dict[str, Array] | None = None  # the parameters w, between the two steps

    def ascent_size(self, batch_size: int) -> int:
        """How many examples of a batch the ascent uses: at least one."""
        return max(1, round(self.ascent_fraction * batch_size))

    def first_step(self, passes: int = 1) -> None:
        """Move from w to w + e along the gradients at hand, and forget them.

        passes: how many training passes gave these gradients; the passes that follow draw their random numbers again.
        """
        self._perturb()
        randomness = getattr(self.optimizer, "randomness", None)
        if randomness is not None:
            randomness.step = max(0, randomness.step - passes)

    def _perturb(self):
        """Put w + e in place of the parameters w, and forget the gradients."""
        if self._unperturbed is not None:
            raise InputError("SAM: first_step twice; second_step comes in between")
        parameters = {name: parameter for name, parameter in self.optimizer.parameters.items()
                      if parameter.requires_grad}
        missing = [name for name, parameter in parameters.items() if parameter.grad is None]
        if missing:
            raise InputError(f"SAM: {missing[0]} has no gradient; call backward before first_step")
        params = [parameter.data for parameter in parameters.values()]
        grads = [parameter.grad for parameter in parameters.values()]
        perturbed = sam_perturb(params, grads, rho=self.rho) if params else []
        loss_scale = getattr(self.optimizer, "loss_scale", None)
        if loss_scale is not None:  # where the gradients overflowed, the step is left out, and the ascent too
            finite = loss_scale.finite(grads)
            perturbed = [as_array(namespace(param).where(finite, array, param))
                         for array, param in zip(perturbed, params, strict=True)]
        self._unperturbed = {name: parameter.data for name, parameter in parameters.items()}
        for parameter, array in zip(parameters.values(), perturbed, strict=True):
            parameter.data = array
        self.optimizer.zero_grad()

    def second_step(self) -> None:
        """Return to w, bit for bit, and let the optimizer step with the gradients found at w + e."""
        if self._unperturbed is None:
            raise InputError("SAM: second_step before first_step")
        self._return()
        self.optimizer.step()

    def _return(self):
        """Put the parameters w, from before `_perturb`, in place of w + e."""
        for name, array in self._unperturbed.items():
            self.optimizer.parameters[name].data = array
        self._unperturbed = None

    def cancel(self) -> None:
        """Forget the gradients and, between first_step and second_step, return to w, bit for bit."""
        if self._unperturbed is not None:
            self._return()
        self.optimizer.zero_grad()

    def step(self, closure: Callable[[], Any], ascent_closure: Callable[[], Any] | None = None) -> Any:
        """A whole step: `closure()` computes the batch's loss, calls backward and returns the loss.

        ascent_closure: the same on the ascent's part of the batch; needed if ascent_fraction < 1, else `closure`.
        Returns what closure returned at w, if the ascent used the whole batch, else what it returned at w + e. If a
        closure raises, the step is cancelled: the weights are as they were.
        """
        if ascent_closure is None and self.ascent_fraction < 1.0:
            raise InputError("SAM: ascent_fraction < 1 needs an ascent_closure over that part of the batch")
        if ascent_closure is None:
            ascent = closure
        else:
            ascent = ascent_closure
        drawn = DrawnSteps()
        try:
            with repeatable_steps(drawn):
                at_w = ascent()
            self._perturb()
            with repeatable_steps(drawn):
                at_perturbed = closure()
        except BaseException:
            self.cancel()
            raise
        self.second_step()
        return at_w if ascent_closure is None else at_perturbed
