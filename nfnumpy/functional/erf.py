"""The error function and its complement, by hand, over any array namespace of the Python array API standard.

Near zero, erf(x) = x + x Q(x^2 - 1/2), where x Q is so small beside x that its own rounding hardly shows. Away from
zero, erfc(x) = exp(-x^2) P(t) / (x + 1/2) with t = (x - pivot) / (x + pivot), the variable of M. M. Shepherd and
J. G. Laframboise, Mathematics of Computation 36 (1981), 249-253. `reference_tests/tools/derive_erf.py` derives every
coefficient below at 60 digits.

Largest error measured, in units in the last place of the result: erf 0.96 in float64 and 1.25 in float32; erfc,
where it is not subnormal, 3.5 and 5.6. In float32 the exponential of NumPy alone is allowed 2.5.

Used by: ops.py (`erf`), activations.py (`gelu_erf`). Fast paths: those of activations.py.
Kernel: activations.cu. Test: reference_tests/functional/test_erf.py.
"""

import math
from types import ModuleType
from typing import NamedTuple

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError


class _Piece(NamedTuple):
    """exp(x^2) erfc(x) from `start` to pivot^2 / start, so that t runs over an interval symmetric about zero."""

    start: float
    pivot: float
    coefficients: tuple[float, ...]


class _Pieces(NamedTuple):
    """What one dtype needs: erf up to 1, erf from 1 until it rounds to 1, erfc from 1/2 until it rounds to 0."""

    centre: tuple[float, ...]
    middle: _Piece
    tail: _Piece
    splitter: float  # 2^s + 1, where s is half the bits of the significand, rounded up


_FLOAT64 = _Pieces(
    centre=(
        -0.0345312613301327,
        -0.2810721780454342,
        0.07940998675593687,
        -0.018283884489152684,
        0.003480274496570158,
        -0.0005611894221209664,
        7.829649688379886e-05,
        -9.614808641390195e-06,
        1.0536323840680666e-06,
        -1.0420387617195658e-07,
        9.432320191926508e-09,
        -7.795898827002142e-10,
    ),
    middle=_Piece(
        start=1.0,
        pivot=2.625,
        coefficients=(
            0.6308986079563031,
            -0.06341816699855819,
            -0.04232767151357723,
            0.07586043103856589,
            -0.05483952275659011,
            0.021454597181371687,
            -0.0022051128020423496,
            -0.001980718955855267,
            0.0006679901591004815,
            0.00020574429573816635,
            -0.00011591557734964542,
            -3.3177964727630346e-05,
            1.8820634728658792e-05,
            7.567624704306988e-06,
            -2.5063574574713772e-06,
            -1.6209153469168412e-06,
        ),
    ),
    tail=_Piece(
        start=0.5,
        pivot=3.8125,
        coefficients=(
            0.6181769542270572,
            -0.07007757338662901,
            0.0033694037254114336,
            0.03931217773155317,
            -0.05348562309537743,
            0.04645387215543164,
            -0.030407160901458053,
            0.015315281318191851,
            -0.005648236950896613,
            0.0012339555406825908,
            5.5092763490756234e-05,
            -0.00015032976978584403,
            4.032144878266543e-05,
            7.191794094651419e-06,
            -6.7307467614928e-06,
            3.444787645444989e-07,
            8.671931797556082e-07,
            -1.4782941200879448e-07,
            -1.0602603095860656e-07,
            1.978883593298144e-08,
            1.0157577061018013e-08,
        ),
    ),
    splitter=134217729.0,
)
_FLOAT32 = _Pieces(
    centre=(
        -0.03453126133013269,
        -0.28107219455508536,
        0.07940998856363046,
        -0.018283356358982795,
        0.0034802166664932126,
        -0.0005654101768360223,
        7.875875062685488e-05,
    ),
    middle=_Piece(
        start=1.0,
        pivot=2.0,
        coefficients=(
            0.6384891907762643,
            -0.04638182425088445,
            -0.08301530508971401,
            0.08201919704051867,
            -0.02710233275403456,
            -0.003899297699036804,
            0.004222473900835864,
        ),
    ),
    tail=_Piece(
        start=0.5,
        pivot=2.375,
        coefficients=(
            0.6339538659943361,
            -0.0584418828553801,
            -0.05720610079451803,
            0.08114178502540478,
            -0.0470813767278907,
            0.011069073905040167,
            0.002588807715734731,
            -0.0019301491631498965,
            -0.0001671494061776206,
            0.00026684063097318794,
        ),
    ),
    splitter=4097.0,
)


def _pieces_for(x: Array, name: str) -> tuple[ModuleType, _Pieces]:
    """The array namespace of `x` and the pieces for its dtype, or one clear error."""
    try:
        xp = namespace(x)
    except TypeError:
        raise InputError(f"{name}: expected an array of float32 or float64, got {type(x).__name__}") from None
    if x.dtype == xp.float64:
        return xp, _FLOAT64
    if x.dtype == xp.float32:
        return xp, _FLOAT32
    raise InputError(f"{name}: expected an array of float32 or float64, got {x.dtype}")


def _polynomial(coefficients: tuple[float, ...], variable: Array) -> Array:
    """Horner's rule, constant first; in place, because fresh scratch arrays would cost more than the arithmetic."""
    total = coefficients[-1] * variable
    for coefficient in coefficients[-2:0:-1]:
        total += coefficient
        total *= variable
    total += coefficients[0]
    return total


def _near_zero(xp: ModuleType, x: Array, coefficients: tuple[float, ...]) -> Array:
    """erf(x) for |x| <= 1. The clip keeps the square of everything else, which is not used, from overflowing."""
    x = xp.clip(x, -1.0, 1.0)
    return x + x * _polynomial(coefficients, x * x - 0.5)


def _magnitude(xp: ModuleType, x: Array, piece: _Piece) -> Array:
    """|x|, held inside the interval where `piece` is good; beyond its end the result no longer changes."""
    return xp.clip(xp.abs(x), piece.start, piece.pivot * piece.pivot / piece.start)


def _scaled_complement(magnitude: Array, piece: _Piece) -> Array:
    """exp(x^2) erfc(x) for x >= 0."""
    variable = (magnitude - piece.pivot) / (magnitude + piece.pivot)
    return _polynomial(piece.coefficients, variable) / (magnitude + 0.5)


def _exp_of_negative_square(xp: ModuleType, magnitude: Array, splitter: float) -> Array:
    """exp(-x^2) without the error of rounding x^2, which at x = 26 would cost 700 half units in the last place.

    T. J. Dekker's exact product, Numerische Mathematik 18 (1971): x^2 = square + rest exactly, and |rest| is so small
    that exp(-rest) = 1 - rest to working precision.
    """
    spread = magnitude * splitter
    high = spread - (spread - magnitude)
    low = magnitude - high
    square = magnitude * magnitude
    rest = ((high * high - square) + 2.0 * high * low) + low * low
    exponential = xp.exp(-square)
    return exponential - exponential * rest


def erf(x: Array) -> Array:
    """The error function, 2 / sqrt(pi) times the integral of exp(-s^2) over s from 0 to `x`, elementwise.

    `x` is an array of any shape, float32 or float64; the result has its shape, dtype and namespace. Odd to the bit,
    -0.0 included; infinities give -1 and 1, NaN gives NaN. Raises `InputError` for anything but such an array.
    Source: NIST Digital Library of Mathematical Functions, 7.2.1; the method is at the top of this file.
    """
    xp, pieces = _pieces_for(x, "erf")
    near = _near_zero(xp, x, pieces.centre)
    magnitude = _magnitude(xp, x, pieces.middle)
    # Here erfc is at most 0.16 and is subtracted from 1, so the rounding of its exponent does not show.
    far = 1.0 - _scaled_complement(magnitude, pieces.middle) * xp.exp(-(magnitude * magnitude))
    return xp.where(xp.abs(x) < 1.0, near, xp.where(x < 0.0, -far, far))


def erfc(x: Array) -> Array:
    """The complement 1 - erf(`x`), elementwise, keeping its relative precision where erf is close to 1.

    `x` is an array of any shape, float32 or float64; the result has its shape, dtype and namespace. Infinities give 2
    and 0, NaN gives NaN. Raises `InputError` for anything but such an array.
    Source: NIST Digital Library of Mathematical Functions, 7.2.2; the method is at the top of this file.
    """
    xp, pieces = _pieces_for(x, "erfc")
    near = 1.0 - _near_zero(xp, x, pieces.centre)
    magnitude = _magnitude(xp, x, pieces.tail)
    far = _scaled_complement(magnitude, pieces.tail) * _exp_of_negative_square(xp, magnitude, pieces.splitter)
    return xp.where(xp.abs(x) < pieces.tail.start, near, xp.where(x < 0.0, 2.0 - far, far))


def erf_vjp(cotangent: Array, x: Array) -> Array:
    """The derivative of the error function is 2/√π·exp(-x²)."""
    return cotangent * (2.0 / math.sqrt(math.pi)) * namespace(x).exp(-x * x)
