"""The fast paths of `clipped_update`, `scaled_global_norm`, `sam_perturb` and `moving_average` on CuPy: whole lists of
tensors in one launch or two.

Formulas: sgd.py (with agc.py), global_norm.py, sam.py, ema.py. Kernels: backend/kernels/optimizer.cu.
Test: reference_tests/kernels/test_optimizer.py.
"""

import functools
import math
from collections.abc import Sequence

import numpy

from ...backend import cuda
from ...backend.arrays import Array
from ..agc import SMALLEST_GRADIENT_NORM, is_single_unit
from ..ema import moving_average as moving_average_formula
from ..global_norm import scaled_global_norm as scaled_global_norm_formula
from ..sam import sam_perturb as sam_perturb_formula
from ..sgd import clipped_update as clipped_update_formula

RUN = 16384  # entries that a block takes of a tensor that may be cut anywhere
UNITS = 8  # units that a block takes: see `_unit_pieces`
THREADS, UNIT_THREADS = 512, 256  # of such blocks
TOTAL_THREADS = 128  # of a block that adds up the counts of one tensor's pieces, at most some hundred
SUMS = 512  # blocks that share out a sum of squares; as many numbers are then added up by the threads of one block
KERNELS = cuda.KernelFile("optimizer", {"totals": (("int64",),), **dict.fromkeys(
    ("clipped_update", "sums_of_squares", "norm", "sam_perturb", "moving_average", "copy_arrays"),
    (cuda.FULL_PRECISION,))})

# The structs of optimizer.cu; an address is an int64.
UPDATE_ENTRY = numpy.dtype([(name, numpy.int64) for name in ("param", "grad", "velocity", "new_param", "new_velocity")]
                           + [("weight_decay", numpy.float64), ("clipping", numpy.float64)])
NORM_ENTRY = numpy.dtype([("values", numpy.int64)])
COPY_ENTRY = numpy.dtype([(name, numpy.int64) for name in ("values", "out")])
MAP_ENTRY = numpy.dtype([(name, numpy.int64) for name in ("first", "second", "out")])


# ---- which block does what: it depends on nothing but shapes


def _runs(tensor, size):
    """Pieces (see optimizer.cu) of a tensor that may be cut anywhere, given its number and its size."""
    first = numpy.arange(0, size, RUN)
    return [tensor, first, numpy.minimum(size - first, RUN), 1, 1]


def _unit_pieces(tensor, shape):
    """Pieces of whole units, of a tensor that is not empty.

    A block keeps its weights and gradients in registers between the norm and the update: 256 threads hold 8 units of
    1024 float32, 64 KiB, and a multiprocessor has two such blocks, of which one moves bytes while the other adds up.
    Rows of 8 float32 are the 32 bytes that memory moves at least.
    """
    size = math.prod(shape)
    if is_single_unit(shape):
        return [tensor, 0, size, 1, 1]
    first = numpy.arange(0, shape[-1], UNITS)
    return [tensor, first, size // shape[-1], shape[-1], numpy.minimum(shape[-1] - first, UNITS)]


def _piece_table(shapes, in_units):
    """All pieces of tensors of these shapes, the largest first, as a host array (pieces, 5).

    in_units: for each tensor whether its units stay whole.
    """
    tables = [numpy.empty((0, 5), numpy.int64)]
    for tensor, (shape, whole) in enumerate(zip(shapes, in_units, strict=True)):
        size = math.prod(shape)
        if size:
            fields = _unit_pieces(tensor, shape) if whole else _runs(tensor, size)
            tables.append(numpy.stack(numpy.broadcast_arrays(*numpy.atleast_1d(*fields)), axis=1))
    pieces = numpy.concatenate(tables).astype(numpy.int64)
    order = numpy.argsort(-pieces[:, 2] * pieces[:, 4], kind="stable")
    return pieces[order]


@functools.lru_cache(maxsize=256)  # an entry for each learning rate factor, and some more
def _pieces(device, shapes, in_units):
    """(table, order, starts) on the GPU `device`.

    table: `_piece_table`; order[starts[t]:starts[t + 1]] are the numbers of tensor t's pieces.
    """
    import cupy
    table = _piece_table(shapes, in_units)
    starts = numpy.searchsorted(numpy.sort(table[:, 0]), numpy.arange(len(shapes) + 1))
    arrays = table, numpy.argsort(table[:, 0], kind="stable"), starts.astype(numpy.int64)
    return tuple(cupy.asarray(array, blocking=True) for array in arrays)  # cached: other streams read without waiting


def _pieces_by_tensor(shapes, in_units):
    """What `_pieces` has for the current GPU."""
    import cupy
    return _pieces(cupy.cuda.runtime.getDevice(), shapes, in_units)


def _pieces_of(shapes):
    """The table of pieces of tensors that may be cut anywhere."""
    return _pieces_by_tensor(shapes, (False,) * len(shapes))[0]


# ---- lists of arrays


def _common_shapes(*lists):
    """The shapes of the arrays in the first list, if the others' are the same and all of one dtype; else None."""
    dtype = lists[0][0].dtype
    differs = any(array.dtype != dtype for arrays in lists for array in arrays)
    if differs or cuda.type_name(dtype) not in cuda.FULL_PRECISION:
        return None
    shapes = tuple(array.shape for array in lists[0])
    return shapes if all(tuple(array.shape for array in arrays) == shapes for arrays in lists[1:]) else None


def _entries(dtype, *fields):
    """An array of the struct `dtype`, one for each tensor, on the GPU; the host does not wait for the copy.

    fields: for each field of the struct a list, of arrays whose addresses are meant, or of numbers.
    """
    import cupy
    entries = numpy.empty(len(fields[0]), dtype)
    for name, values in zip(dtype.names, fields, strict=True):
        entries[name] = [value if _are_numbers(value) else value.data.ptr for value in values]
    return cupy.asarray(entries.view(numpy.int64))  # CuPy has no structs


def _are_numbers(*values):
    return {type(value) for value in values} <= {int, float}


# ---- SGD


def _is_scalar(array, dtype):
    return array is None or (array.shape == () and array.dtype == dtype)


def _address(array):
    return numpy.int64(0 if array is None else array.data.ptr)


@clipped_update_formula.fast_path("cupy")
def clipped_update(params: list[Array], grads: list[Array], velocities: list[Array], *, lr: float,
                   momentum: float = 0.9, nesterov: bool = True, weight_decays: Sequence[float],
                   clippings: Sequence[float | None], eps: float = 1e-3, inverse_scale: Array | None = None,
                   proceed: Array | None = None) -> tuple[list[Array], list[Array], Array]:
    """Norms and update in one launch, the counts of clipped units in a second one."""
    shapes = _common_shapes(params, grads, velocities)
    thresholds = [-1.0 if clipping is None else clipping for clipping in clippings]
    if (shapes is None or not _are_numbers(lr, momentum, eps, *weight_decays, *thresholds)
            or not len(shapes) == len(weight_decays) == len(clippings)
            or not _is_scalar(inverse_scale, params[0].dtype) or not _is_scalar(proceed, numpy.bool_)):
        return NotImplemented
    dtype = params[0].dtype
    wide = cuda.accumulator_type(dtype)
    in_units = tuple(clipping is not None for clipping in clippings)
    pieces, *by_tensor = _pieces_by_tensor(shapes, in_units)
    lists = [cuda.contiguous(*arrays) for arrays in (params, grads, velocities)]
    new_params = [cuda.empty(shape, dtype) for shape in shapes]
    new_velocities = [cuda.empty(shape, dtype) for shape in shapes]
    entries = _entries(UPDATE_ENTRY, *lists, new_params, new_velocities, weight_decays, thresholds)
    clipped = cuda.empty((len(pieces),), numpy.int64)
    KERNELS.launch("clipped_update", (dtype,), len(pieces), UNIT_THREADS, pieces, entries, wide(lr), wide(momentum),
                   numpy.bool_(nesterov), wide(eps), wide(SMALLEST_GRADIENT_NORM), _address(inverse_scale),
                   _address(proceed), clipped)
    counts = cuda.empty((len(shapes),), numpy.int64)
    KERNELS.launch("totals", ("int64",), len(shapes), TOTAL_THREADS, clipped, *by_tensor, counts)
    return new_params, new_velocities, counts


# ---- the norm over everything, and SAM's step along it


def _sums_of_squares(arrays, shapes):
    """(sums, count): the sums of squares of `count` ≤ SUMS blocks, as `norm_of` in optimizer.cu takes them."""
    pieces = _pieces_of(shapes)
    count = min(SUMS, len(pieces))
    sums = cuda.empty((2 * count,), arrays[0].dtype)
    KERNELS.launch("sums_of_squares", (sums.dtype,), count, THREADS, pieces, numpy.int64(len(pieces)),
                   _entries(NORM_ENTRY, arrays), sums)
    return sums, numpy.int32(count)


@scaled_global_norm_formula.fast_path("cupy")
def scaled_global_norm(arrays: list[Array]) -> tuple[Array, Array]:
    """A launch for the sums, one for their norm."""
    if not arrays:
        return NotImplemented
    shapes = _common_shapes(arrays)
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
    shapes = _common_shapes(params, grads)
    if shapes is None or not _are_numbers(rho):
        return NotImplemented
    params, grads = cuda.contiguous(*params), cuda.contiguous(*grads)
    wide = cuda.accumulator_type(params[0].dtype)
    return _map_runs("sam_perturb", params, grads, shapes, *_sums_of_squares(grads, shapes), wide(rho))


def _map_runs(kernel, first, second, shapes, *arguments):
    """The list of results of a kernel that goes element by element through two lists of arrays."""
    out = [cuda.empty_like(array) for array in first]
    pieces = _pieces_of(shapes)
    KERNELS.launch(kernel, (first[0].dtype,), len(pieces), THREADS, pieces, _entries(MAP_ENTRY, first, second, out),
                   *arguments)
    return out


# ---- the moving average


@moving_average_formula.fast_path("cupy")
def moving_average(averages: list[Array], arrays: list[Array], *, decay: float | Array) -> list[Array]:
    """One launch; a decay that is an array () is read where it is, on the GPU."""
    shapes = _common_shapes(averages, arrays)
    if _are_numbers(decay):
        given = numpy.float64(decay), numpy.int64(0)
    elif _is_scalar(decay, numpy.float64):
        given = numpy.float64(0.0), _address(decay)
    else:
        return NotImplemented
    if shapes is None:
        return NotImplemented
    return _map_runs("moving_average", cuda.contiguous(*averages), cuda.contiguous(*arrays), shapes, *given)


# ---- copies


def copy_arrays(sources: list[Array], targets: list[Array]) -> None:
    """Copy each of `sources` into the array of `targets` at its place: of the same shapes and one dtype, in C order."""
    shapes = _common_shapes(sources, targets)
    if shapes is None:
        raise ValueError("copy_arrays: expected two lists of arrays of the same shapes and of float32 or float64")
    pieces = _pieces_of(shapes)
    KERNELS.launch("copy_arrays", (sources[0].dtype,), len(pieces), THREADS, pieces,
                   _entries(COPY_ENTRY, cuda.contiguous(*sources), targets))
