"""What all optimizers share: named parameters, their groups, AGC, the loss scale, and a step in parts.

Source of the order and the groups: Brock et al. (2021b), section 4 and the authors' released code.

Used by: sgd.py, rmsprop.py; sam.py and training/ take any Optimizer. Its clipping: agc.py.
Tests: reference_tests/optim/test_sgd.py, test_rmsprop.py.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from ..autograd import Tensor
from ..backend import as_array, buffer_pool, namespace
from ..backend.arrays import Array
from ..errors import InputError
from ..functional.checks import shown
from ..nn import Module
from .agc import adaptive_gradient_clip, unit_count
from .checks import is_finite_number
from .chunks import parameters_of, parts
from .groups import Factor, Predicate, by_factor, chosen, clipped_by_default, is_decayed, learning_rate_factors
from .loss_scale import LossScale


def scaled_and_clipped(grad: Array, param: Array, clipping: float | None, eps: float,
                       inverse_scale: Array | None) -> tuple[Array, Array]:
    """(the gradient times `inverse_scale`, if there is one, then clipped by AGC; an array (), how many units it clips).

    clipping: None for no clipping.
    """
    xp = namespace(grad)
    if inverse_scale is not None:
        grad = grad * inverse_scale
    if clipping is None:
        return grad, xp.zeros((), dtype=xp.int64)
    grad, clipped = adaptive_gradient_clip(grad, param, clipping, eps, return_clipped=True)
    return grad, xp.sum(xp.astype(clipped, xp.int64))


class Optimizer:
    """An optimizer with AGC on the parameters of `model`, a Module or a dict name -> Tensor.

    lr: a number, to be changed between steps by a schedule; clipping: AGC's lambda, None for no clipping; eps: AGC's
    floor on ‖W‖; clipped, decayed: predicates of a parameter's name. By default AGC clips all but the weight of the
    final linear layer (see groups.final_linear_weight), and weight decay touches what is called "weight".
    lr_factor: a function of a parameter's name that returns what its learning rate is lr times, a number above 0; all
    have lr itself by default.
    loss_scale: the LossScale that the gradients were computed with, if any; a step whose gradients overflowed changes
    nothing but it.

    Parameters whose `requires_grad` is False stay as they are; `step()` reads the others' `.grad`. After a step
    `clipped_counts`, an array where the parameters are, has the number of units that AGC shortened in each parameter
    of `units_of`; `units` is how many it checked in all. `state` is what the optimizer keeps of each parameter between
    steps: a dict of dicts name -> array.
    """

    INITIAL_STATE: ClassVar[Mapping[str, float]]  # name of a kind of state: the value that it starts with everywhere

    def __init__(self, model: Module | dict[str, Tensor], *, lr: float, momentum: float, weight_decay: float,
                 clipping: float | None, eps: float, clipped: Predicate | None, decayed: Predicate | None,
                 lr_factor: Factor | None, loss_scale: LossScale | None):
        own = type(self).__name__
        self._check_not_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if not (clipping is None or _is_positive(clipping)) or not _is_positive(eps):
            raise InputError(f"{own}: clipping={shown(clipping)}, eps={shown(eps)}: expected positive numbers")
        if not (loss_scale is None or isinstance(loss_scale, LossScale)):
            raise InputError(f"{own}: loss_scale={shown(loss_scale)}: expected a LossScale")
        self.parameters = parameters_of(model, own)
        self.randomness = getattr(model, "randomness", None)
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.clipping = clipping
        self.eps = eps
        self.loss_scale = loss_scale
        names = list(self.parameters)
        self.decayed = chosen(is_decayed if decayed is None else decayed, names, f"{own}: decayed")
        self.lr_factors = learning_rate_factors(lr_factor, names, own)
        self.clipped: set[str] = set()
        if clipping is not None:
            if clipped is None:
                clipped = clipped_by_default(model if isinstance(model, Module) else self.parameters)
            self.clipped = chosen(clipped, names, f"{own}: clipped")
        self.state: dict[str, dict[str, Array]] = {
            kind: {name: _filled(parameter.data, value) for name, parameter in self.parameters.items()}
            for kind, value in self.INITIAL_STATE.items()}
        self.clipped_counts: Array | None = None
        self.units = 0

    @property
    def velocity(self) -> dict[str, Array]:
        """name -> what momentum has accumulated."""
        return self.state["velocity"]

    def update(self, params: list[Array], grads: list[Array], *state: list[Array],
               **options: Any) -> tuple[list[Array], ...]:
        """(new params, new lists of `state` in the order of INITIAL_STATE, counts of clipped units), all new arrays.

        options: lr, weight_decays, clippings, eps, inverse_scale, proceed, as sgd.clipped_update has them.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Change every parameter by its gradient and forget the gradients; InputError if one has none.

        Parameters of large models change part by part: an interrupted step has changed some of them, and others not.
        """
        trained = self._trained()
        for name, parameter in trained.items():
            self._check_gradient(name, parameter)
        self.clipped_counts, self.units = None, 0
        if not trained:
            return
        inverse_scale, proceed = None, None
        if self.loss_scale is not None:
            inverse_scale = self.loss_scale.inverse()
            proceed = self.loss_scale.finite([parameter.grad for parameter in trained.values()])
            self.loss_scale.update(proceed)
        changed = [(self.lr * factor, part) for factor, group in by_factor(trained, self.lr_factors).items()
                   for part in parts(group)]
        counts = [self._change(part, lr, inverse_scale, proceed) for lr, part in changed]
        self.clipped_counts = counts[0] if len(counts) == 1 else namespace(counts[0]).concat(counts)
        self.units = sum(self.units_of.values())

    def _change(self, part, lr, inverse_scale, proceed):
        """Change the parameters and state of a part (name -> Tensor) at learning rate lr; forget its gradients.

        Returns how many units AGC clipped of each.
        """
        params = [parameter.data for parameter in part.values()]
        grads = [parameter.grad for parameter in part.values()]
        state = [[arrays[name] for name in part] for arrays in self.state.values()]
        weight_decays = [self.weight_decay if name in self.decayed else 0.0 for name in part]
        clippings = [self.clipping if name in self.clipped else None for name in part]
        new_params, *new_state, counts = self.update(
            params, grads, *state, lr=lr, weight_decays=weight_decays, clippings=clippings, eps=self.eps,
            inverse_scale=inverse_scale, proceed=proceed)
        for arrays, new_arrays in zip(self.state.values(), new_state, strict=True):
            arrays.update(zip(part, new_arrays, strict=True))
        for parameter, new_param in zip(part.values(), new_params, strict=True):
            parameter.data = new_param
            parameter.grad = None
        return counts

    def _trained(self):
        return {name: parameter for name, parameter in self.parameters.items() if parameter.requires_grad}

    @property
    def units_of(self) -> dict[str, int]:
        """name -> how many units of a trained parameter AGC checks, 0 where it does not apply; in the counts' order."""
        return {name: unit_count(parameter.shape) if name in self.clipped else 0
                for group in by_factor(self._trained(), self.lr_factors).values() for name, parameter in group.items()}

    @property
    def clipped_units(self) -> Array | None:
        """How many units AGC shortened in the last step, an array () where the parameters are; None before it."""
        return None if self.clipped_counts is None else as_array(self.clipped_counts.sum())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clipped_fraction(self) -> float:
        """The share, from 0 to 1, of units whose gradient AGC shortened in the last step."""
        if self.clipped_units is None or not self.units:
            return 0.0
        return int(self.clipped_units) / self.units

    def _check_not_negative(self, **numbers: float) -> None:
        """InputError unless all are finite numbers that are not negative."""
        for name, value in numbers.items():
            if not (is_finite_number(value) and value >= 0.0):
                raise InputError(f"{type(self).__name__}: {name}={shown(value)}: expected a number that is not "
                                 f"negative")

    def _check_gradient(self, name, parameter):
        """InputError if a parameter has no gradient, or one of another shape or dtype."""
        grad = parameter.grad
        own = type(self).__name__
        if grad is None:
            raise InputError(f"{own}: {name} has no gradient; call backward on a loss that depends on it")
        if tuple(grad.shape) != tuple(parameter.shape) or grad.dtype != parameter.dtype:
            raise InputError(f"{own}: the gradient of {name} is {tuple(grad.shape)} {grad.dtype}, expected "
                             f"{tuple(parameter.shape)} {parameter.dtype}")


def _is_positive(value):
    return is_finite_number(value) and value > 0.0


def _filled(array, value):
    """A new array like `array` with one value everywhere."""
    return buffer_pool.copy_into_pool(namespace(array).full_like(array, value))
