"""A stand-in for CuPy on machines without a GPU: the part of its interface that nfnumpy uses, over NumPy.

Kernels run on the CPU (`cuda_on_cpu`), in guarded memory. It is stricter than CuPy: it knows only functions that
CuPy 14 has and nfnumpy uses (`FUNCTIONS`), host arrays do not mix with its own, nothing turns into a host array
unasked, a kernel's arguments must have exactly the parameters' types, and it counts what makes the host wait.
"""

import builtins

import numpy as _np

from . import cuda
from . import _capture
from ._array import bool, computed, ndarray, wrap, unwrap, allocate, waiting
from ._memory import get_default_memory_pool
from ._raw import RawModule

__version__ = "14.2.0"
dtype = _np.dtype
float16, float32, float64 = _np.float16, _np.float32, _np.float64
int32, int64, uint8, uint16, uint32, uint64 = _np.int32, _np.int64, _np.uint8, _np.uint16, _np.uint32, _np.uint64
inf, nan, pi, newaxis = _np.inf, _np.nan, _np.pi, None

FUNCTIONS = """abs all any arange argmax astype broadcast_to clip concat concatenate einsum empty_like exp expm1
flip isfinite isnan log log1p matmul max maximum mean min minimum moveaxis multiply ones_like permute_dims prod reshape
sign sqrt stack sum take tanh tensordot transpose tril triu var where zeros_like full_like isdtype logical_and
count_nonzero add square result_type""".split()


def _lend(name):
    function = getattr(_np, name)

    def lent(*arguments, **options):
        arguments = [unwrap(argument) for argument in arguments]
        options = {key: unwrap(value) for key, value in options.items()}
        return computed(lambda: function(*arguments, **options))
    lent.__name__ = name
    return lent


globals().update({_name: _lend(_name) for _name in FUNCTIONS})


def isdtype(dtype, kind):
    """CuPy hands this to NumPy, which does not know bfloat16."""
    return _np.isdtype(_np.dtype(dtype), kind)


def empty(shape, dtype=_np.float64):
    """Poisoned with NaN."""
    return ndarray(allocate(shape, dtype))


def full(shape, fill_value, dtype=None):
    value = unwrap(fill_value)
    return computed(lambda: _np.full(shape, value, dtype=dtype))


def copyto(target, source):
    host, source = target.host, unwrap(source)
    _capture.run(lambda: _np.copyto(host, source), target, source)


def zeros(shape, dtype=_np.float64):
    return full(shape, 0, dtype)


def ones(shape, dtype=_np.float64):
    return full(shape, 1, dtype)


def array(values, dtype=None, copy=True):
    """A copy on the "GPU" of host or device values."""
    if isinstance(values, ndarray):
        return computed(lambda: _np.array(values.host, dtype=dtype))
    _capture.forbid("a copy from the host")
    return wrap(_np.array(values, dtype=dtype))


def asarray(values, dtype=None, *, blocking=False):
    if isinstance(values, ndarray) and (dtype is None or values.dtype == _np.dtype(dtype)):
        return values
    return array(values, dtype)


def ascontiguousarray(values, dtype=None):
    """As CuPy's and NumPy's, of at least one axis."""
    if not values.ndim:
        return values.reshape(1)
    if values.flags.c_contiguous and (dtype is None or values.dtype == _np.dtype(dtype)):
        return values
    return computed(lambda: _np.ascontiguousarray(values.host, dtype=dtype))


def asnumpy(values, out=None, blocking=True):
    """A copy on the host."""
    waiting("asnumpy")
    return values.get(out=out) if isinstance(values, ndarray) else _np.asarray(values)


def get_array_module(*values):
    import sys
    return sys.modules[__name__] if builtins.any(isinstance(value, ndarray) for value in values) else _np
