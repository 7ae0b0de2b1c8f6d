"""Every derivative in the table against differences of its own formula in float64, with no other framework involved.

Along a direction v of random signs, f(t) = ⟨cotangent, op(inputs + t·v)⟩ has the slope ⟨gradient, v⟩, whose root mean
square over all such v is the gradient's norm: the error is measured in that. Three central differences, at STEP,
STEP/2 and STEP/4, extrapolated after Richardson, err by STEP⁶/64 · f⁽⁷⁾/7!, here below 1e-10 of the slope; rounding
adds `rounding_bound` of |f|'s terms over the smallest step, times the weights 1/45 + 20/45 + 64/45 and the ¼, ½ and 1
that the steps are apart: below 3. It matters only where a gradient vanishes.
"""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from reference_tests.helpers.oracle import OPERATIONS, TABLE, answer, cotangent_for, norm, rounding_bound
from reference_tests.helpers.strategies import KINK

STEP = KINK / 8
RELATIVE = 1e-7


def slope_along(function):
    """The derivative at 0 of a function of one number, and nothing but its values used."""
    coarse, middle, fine = ((function(h) - function(-h)) / (2 * h) for h in (STEP, STEP / 2, STEP / 4))
    return (coarse - 20 * middle + 64 * fine) / 45


@pytest.mark.parametrize("name", TABLE)
@given(data=st.data())
def test_derivatives_are_limits_of_difference_quotients(name, data):
    case = TABLE[name]
    problem = data.draw(case.problems)
    cotangent = cotangent_for(problem, name)
    value, gradients = answer(name, problem, cotangent, np.float64)
    random = np.random.default_rng(1)
    for k, gradient in zip(problem.wrt, gradients, strict=True):
        direction = random.choice([-1.0, 1.0], problem.inputs[k].shape)

        def weighed(t, k=k, direction=direction):
            inputs = list(problem.inputs)
            inputs[k] = np.asarray(inputs[k] + t * direction)
            return float(np.sum(cotangent * OPERATIONS[name].formula(*inputs, **problem.options)))

        error = abs(slope_along(weighed) - float(np.sum(gradient * direction)))
        terms = norm(cotangent) * (norm(value) + sum(norm(x) for x in problem.inputs if x is not None))
        rounding = rounding_bound(case, problem, value.shape, np.float64) * terms * 3 / (STEP / 4)
        assert error <= max(RELATIVE * norm(gradient), rounding), f"{name}, input {k}: off by {error:.2e} of " \
                                                                  f"{norm(gradient):.2e}"
