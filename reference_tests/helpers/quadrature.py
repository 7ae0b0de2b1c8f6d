"""The gain of every nonlinearity, gamma = 1 / sqrt(Var(g(z))) with z ~ N(0, 1), by quadrature at 30 digits.

Source: A. Brock, S. De, S. L. Smith, "Characterizing signal propagation to close the performance gap in unnormalized
ResNets" (2021), section 4.1. The formulas are written here a second time, in mpmath, on purpose.
"""

from functools import cache

import mpmath
from mpmath import mpf

DIGITS = 30

# The density at 14 is 1e-43, so what is cut off is far below the digits carried. Unit intervals keep every piece far
# from the complex poles of tanh and of the sigmoid; the kinks, at 0 and 6, are among the ends.
ENDS = list(range(-14, 15))


def mean_under_normal(function):
    """The mean of function(z), z ~ N(0, 1), for a function smooth between integers that grows as a polynomial."""
    return mpmath.quad(lambda z: function(z) * mpmath.npdf(z), ENDS, method="gauss-legendre")


def central_moment(function, order):
    """The mean of (function(z) - its own mean) ** order, z ~ N(0, 1)."""
    mean = mean_under_normal(function)
    return mean_under_normal(lambda z: (function(z) - mean) ** order)


def sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def softplus(z):
    return max(z, mpf(0)) + mpmath.log1p(mpmath.exp(-abs(z)))


def gelu_tanh(z):
    return z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpf("0.044715") * z**3)))


def elu(z):
    return z if z > 0 else mpmath.expm1(z)


def selu(z):
    scale, alpha = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")
    return scale * (z if z > 0 else alpha * mpmath.expm1(z))


ELEMENTWISE = {
    "identity": lambda z: z,
    "relu": lambda z: max(z, mpf(0)),
    "relu6": lambda z: min(max(z, mpf(0)), mpf(6)),
    "leaky_relu": lambda z: z if z > 0 else z / 100,
    "gelu": gelu_tanh,
    "gelu_erf": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z * sigmoid(z),
    "elu": elu,
    "celu": elu,  # alpha * (exp(z / alpha) - 1) with alpha = 1
    "selu": selu,
    "sigmoid": sigmoid,
    "log_sigmoid": lambda z: -softplus(-z),
    "softplus": softplus,
    "softsign": lambda z: z / (1 + abs(z)),
    "tanh": mpmath.tanh,
}


@cache
def variance(name):
    """The variance after the nonlinearity called `name`; KeyError for a name without one.

    glu halves a vector into independent a and b and gives a * sigmoid(b): mean 0, variance E[a^2] E[sigmoid(b)^2].
    log_softmax subtracts one and the same number, logsumexp, from all entries of a vector, so the variance over a long
    vector is that of z.
    """
    with mpmath.workdps(DIGITS):
        if name == "glu":
            return mean_under_normal(lambda z: sigmoid(z) ** 2)
        if name == "log_softmax":
            return mpf(1)
        return central_moment(ELEMENTWISE[name], 2)


@cache
def kurtosis(name):
    """The fourth central moment over the square of the variance, after the nonlinearity called `name`; else KeyError.

    For glu, E[a^4] = 3; for log_softmax it is that of z, as above. 15 digits are ample for a standard error.
    """
    with mpmath.workdps(15):
        if name == "glu":
            return 3 * mean_under_normal(lambda z: sigmoid(z) ** 4) / variance(name) ** 2
        if name == "log_softmax":
            return mpf(3)
        return central_moment(ELEMENTWISE[name], 4) / variance(name) ** 2


def gamma(name):
    """The exact gain of the nonlinearity called `name`, an mpmath number; KeyError for a name without one."""
    with mpmath.workdps(DIGITS):
        return 1 / mpmath.sqrt(variance(name))
