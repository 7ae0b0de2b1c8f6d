"""The fast paths of `scaled_global_norm`, `sam_perturb` and `moving_average` on CuPy: whole lists of tensors in one
launch or two; and copies of lists.

Formulas: global_norm.py, sam.py, ema.py. Kernels: backend/kernels/optimizer.cu.
Test: reference_tests/kernels/test_optimizer.py.
"""

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from ..ema import moving_average as moving_average_formula
from ..global_norm import scaled_global_norm as scaled_global_norm_formula
from ..sam import sam_perturb as sam_perturb_formula
from .lists import KERNELS, address_of, are_numbers, common_shapes, entries_of, is_scalar, pieces_of

THREADS = 512
SUMS = 512  # blocks that share out a sum of squares; as many numbers are then added up by the threads of one block

# The structs of optimizer.cu; an address is an int64.
NORM_ENTRY = numpy.dtype([("values", numpy.int64)])
COPY_ENTRY = numpy.dtype([(name, numpy.int64) for name in ("values", "out")])
MAP_ENTRY = numpy.dtype([(name, numpy.int64) for name in ("first", "second", "out")])


# ---- the norm over everything, and SAM's step along it


def _sums_of_squares(arrays, shapes):
    """(sums, count): the sums of squares of `count` ≤ SUMS blocks, as `norm_of` in optimizer.cu takes them."""
    pieces = pieces_of(shapes)
    count = min(SUMS, len(pieces))
    sums = cuda.empty((2 * count,), arrays[0].dtype)
    KERNELS.launch("sums_of_squares", (sums.dtype,), count, THREADS, pieces, numpy.int64(len(pieces)),
                   entries_of(NORM_ENTRY, arrays), sums)
    return sums, numpy.int32(count)


@scaled_global_norm_formula.fast_path("cupy")
def scaled_global_norm(arrays: list[Array]) -> tuple[Array, Array]:
    """A launch for the sums, one for their norm."""
    if not arrays:
        return NotImplemented
    shapes = common_shapes(arrays)
    if shapes is None:
        return NotImplemented
    arrays = cuda.contiguous(*arrays)
    norm = cuda.empty((), arrays[0].dtype)
    by = cuda.empty((), arrays[0].dtype)
    KERNELS.launch("norm", (norm.dtype,), 1, THREADS, *_sums_of_squares(arrays, shapes), norm, by)
    return norm, by


@sam_perturb_formula.fast_path("cupy")
def sam_perturb(params: list[Array], grads: list[Array], *, rho: float) -> list[Array]:
    """A launch for the sums; every block of the second computes their norm for itself."""
    shapes = common_shapes(params, grads)
    if shapes is None or not are_numbers(rho):
        return NotImplemented
    params, grads = cuda.contiguous(*params), cuda.contiguous(*grads)
    wide = cuda.accumulator_type(params[0].dtype)
    return _map_runs("sam_perturb", params, grads, shapes, *_sums_of_squares(grads, shapes), wide(rho))


def _map_runs(kernel, first, second, shapes, *arguments):
    """The list of results of a kernel that goes element by element through two lists of arrays."""
    out = [cuda.empty_like(array) for array in first]
    pieces = pieces_of(shapes)
    KERNELS.launch(kernel, (first[0].dtype,), len(pieces), THREADS, pieces, entries_of(MAP_ENTRY, first, second, out),
                   *arguments)
    return out


# ---- the moving average


@moving_average_formula.fast_path("cupy")
def moving_average(averages: list[Array], arrays: list[Array], *, decay: float | Array) -> list[Array]:
    """One launch; a decay that is an array () is read where it is, on the GPU."""
    shapes = common_shapes(averages, arrays)
    if are_numbers(decay):
        given = numpy.float64(decay), numpy.int64(0)
    elif is_scalar(decay, numpy.float64):
        given = numpy.float64(0.0), address_of(decay)
    else:
        return NotImplemented
    if shapes is None:
        return NotImplemented
    return _map_runs("moving_average", cuda.contiguous(*averages), cuda.contiguous(*arrays), shapes, *given)


# ---- copies


def copy_arrays(sources: list[Array], targets: list[Array]) -> None:
    """Copy each of `sources` into the array of `targets` at its place: of the same shapes and one dtype, in C order."""
    shapes = common_shapes(sources, targets)
    if shapes is None:
        raise ValueError("copy_arrays: expected two lists of arrays of the same shapes and of float32 or float64")
    pieces = pieces_of(shapes)
    KERNELS.launch("copy_arrays", (sources[0].dtype,), len(pieces), THREADS, pieces,
                   entries_of(COPY_ENTRY, cuda.contiguous(*sources), targets))
