"""Derives the coefficients of `nfnumpy.functional.erf`: run it, and it prints them as Python tuples.

Each piece is the interpolant at Chebyshev nodes, found at 60 digits, written in powers of its own variable and
only then rounded. Interpolation there is within a small factor of the best polynomial, and it is reproducible to
the last bit, which an iterative fit is not.

The variable of the two outer pieces, t = (x - pivot) / (x + pivot), is that of M. M. Shepherd and J. G. Laframboise,
"Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", Mathematics of Computation 36 (1981).
"""

import mpmath

DIGITS = 60

# Where each piece is used. An outer piece ends at pivot^2 / start, so that t runs over an interval symmetric about 0,
# where powers of t are well conditioned. The middle must reach where erf rounds to 1 (5.93 in float64, 3.84 in
# float32), the tail where erfc rounds to 0 (27.23 and 10.06). Among the multiples of 1/16 just large enough, the pivots
# are those whose constant coefficient lies within a tenth of a unit in the last place of a representable number,
# because its rounding is an error of every result.
MIDDLE_START = 1.0
TAIL_START = 0.5
MIDDLE_PIVOT = {"float64": 2.625, "float32": 2.0}
TAIL_PIVOT = {"float64": 3.8125, "float32": 2.375}

# The smallest degrees whose truncation error is below three tenths of the unit roundoff of the result;
# test_erf.py holds them to it.
DEGREES = {
    "float64": {"centre": 11, "middle": 15, "tail": 20},
    "float32": {"centre": 6, "middle": 6, "tail": 9},
}


def centre_function(offset):
    """erf(x) / x - 1 as a function of x^2 - 1/2: entire, and small beside the 1 it is added to."""
    square = offset + mpmath.mpf(1) / 2
    if square == 0:
        return 2 / mpmath.sqrt(mpmath.pi) - 1
    x = mpmath.sqrt(square)
    return mpmath.erf(x) / x - 1


def outer_argument(t, pivot):
    """The x whose variable is t."""
    return pivot * (1 + t) / (1 - t)


def outer_function(t, pivot):
    """(x + 1/2) exp(x^2) erfc(x) as a function of t, half of what the paper approximates.

    It stays between 0.56 and 0.65, so that the rounding of t and of the higher terms hardly reaches the result.
    """
    x = outer_argument(t, pivot)
    return (x + mpmath.mpf(1) / 2) * mpmath.exp(x * x) * mpmath.erfc(x)


def interpolant(function, low, high, degree):
    """The polynomial of the given degree through `function` at the Chebyshev nodes of [low, high], constant first."""
    centre, radius = mpmath.mpf(low + high) / 2, mpmath.mpf(high - low) / 2
    nodes = [centre + radius * mpmath.cospi(mpmath.mpf(2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)]
    powers = mpmath.matrix(degree + 1, degree + 1)
    for row, node in enumerate(nodes):
        for column in range(degree + 1):
            powers[row, column] = node**column
    return list(mpmath.lu_solve(powers, mpmath.matrix([function(node) for node in nodes])))


def pieces(dtype):
    """For one dtype, name -> (function, low, high, degree) of the three pieces."""
    middle, tail = mpmath.mpf(MIDDLE_PIVOT[dtype]), mpmath.mpf(TAIL_PIVOT[dtype])
    middle_edge = (middle - MIDDLE_START) / (middle + MIDDLE_START)
    tail_edge = (tail - TAIL_START) / (tail + TAIL_START)
    degrees = DEGREES[dtype]
    return {
        "centre": (centre_function, mpmath.mpf(-0.5), mpmath.mpf(0.5), degrees["centre"]),
        "middle": (lambda t: outer_function(t, middle), -middle_edge, middle_edge, degrees["middle"]),
        "tail": (lambda t: outer_function(t, tail), -tail_edge, tail_edge, degrees["tail"]),
    }


def derive(dtype):
    """For one dtype ("float64" or "float32"), name of piece -> tuple of Python floats, constant first."""
    with mpmath.workdps(DIGITS):
        return {
            name: tuple(float(coefficient) for coefficient in interpolant(*piece))
            for name, piece in pieces(dtype).items()
        }


if __name__ == "__main__":
    for dtype in ("float64", "float32"):
        for name, coefficients in derive(dtype).items():
            print(f"# {dtype} {name}")
            print("(" + "".join(f"\n    {coefficient!r}," for coefficient in coefficients) + "\n)")
