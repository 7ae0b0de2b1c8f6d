"""The array: NumPy's, hidden, so that nothing reaches the host by accident."""

import numpy as np

from reference_tests.helpers.cuda_on_cpu.guarded import Block

from . import _capture

waits = {}  # what made the host wait for the device, and how often


def waiting(reason):
    _capture.forbid(reason)
    waits[reason] = waits.get(reason, 0) + 1


def allocate(shape, dtype):
    """A NumPy array of NaN in guarded memory."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    array = np.frombuffer(Block(size).buffer(), dtype=np.uint8).view(dtype).reshape(shape)
    _capture.keep(array)
    return array


class ndarray:
    """What CuPy's arrays do, as far as nfnumpy asks them to. `host` is the NumPy array behind it."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, host, base=None):
        self.host, self.base = host, base

    # ---- what it is
    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: self.host.flags)
    T = property(lambda self: self._view(self.host.T))

    @property
    def data(self):
        """CuPy's MemoryPointer, of which only the address is used."""
        return Pointer(self.host)

    def __len__(self):
        return len(self.host)

    # ---- what makes the host wait
    def get(self, stream=None, order="C", out=None, blocking=True):
        _capture.forbid("get")
        if blocking:
            waiting("get")
        if out is None:
            return np.array(self.host, order="C")
        out[...] = self.host
        return out

    def item(self):
        waiting("item")
        return self.host.item()

    def tolist(self):
        waiting("tolist")
        return self.host.tolist()

    def __bool__(self):
        waiting("bool")
        return bool_(self.host)

    def __int__(self):
        waiting("int")
        return int(self.host)

    def __float__(self):
        waiting("float")
        return float(self.host)

    __index__ = __int__

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a "
                        "NumPy array explicitly.")

    def __dlpack__(self, **_):
        raise TypeError("the stand-in does not export its memory")

    # ---- views and copies
    def _view(self, host):
        return ndarray(host, base=self if self.base is None else self.base)

    def set(self, values, stream=None):
        _capture.forbid("set")
        if isinstance(values, ndarray) or values.shape != self.shape or values.dtype != self.dtype:
            raise TypeError("set: expected a NumPy array of this shape and dtype")
        self.host[...] = values

    def copy(self, order="C"):
        return computed(lambda: self.host.copy(order))

    def astype(self, dtype, copy=True):
        return self if not copy and self.dtype == np.dtype(dtype) else computed(
            lambda: self.host.astype(dtype))

    def reshape(self, *shape):
        host = self.host.reshape(*shape)
        return self._view(host) if np.shares_memory(host, self.host) else computed(lambda: self.host.reshape(*shape))

    def ravel(self):
        return self.reshape(-1)

    def view(self, dtype):
        return self._view(self.host.view(dtype))

    def transpose(self, *axes):
        return self._view(self.host.transpose(*axes))

    def fill(self, value):
        _capture.run(lambda: self.host.fill(value), self)

    def __getitem__(self, index):
        return self._view(self.host[_index(index)])

    def __setitem__(self, index, value):
        host, index, value = self.host, _index(index), unwrap(value)
        _capture.run(lambda: host.__setitem__(index, value), self, value)

    def __repr__(self):
        return f"cupy.{self.host!r}"


class Pointer:
    """Where an array starts."""

    def __init__(self, host):
        self.ptr = host.ctypes.data if host.size else 0


bool_, bool = bool, np.bool


def _index(index):
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return index.host if isinstance(index, ndarray) else index


def unwrap(value):
    """The NumPy array behind a stand-in array; a host array among the arguments is the error that CuPy makes it."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)):
        return type(value)(map(unwrap, value))
    return value


def wrap(value):
    """NumPy's results as new stand-in arrays in guarded memory; as with CuPy, arrays () stay arrays."""
    if isinstance(value, (tuple, list)) and any(isinstance(part, np.ndarray) for part in value):
        return type(value)(map(wrap, value))
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    if not value.size:
        return ndarray(np.asarray(value))
    held = allocate(value.shape, value.dtype)
    held[...] = value
    return ndarray(held)


def computed(compute):
    """wrap(compute()), also in a graph that is being captured."""
    return _capture.computed(compute, wrap)


def _operator(name):
    function = getattr(np.ndarray, name)

    def operator(self, *others):
        if any(isinstance(other, np.ndarray) for other in others):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        hosts = [unwrap(other) for other in others]
        return computed(lambda: function(self.host, *hosts))
    return operator


def _in_place(name):
    function = getattr(np.ndarray, name)

    def operator(self, other):
        host, other = self.host, unwrap(other)
        _capture.run(lambda: function(host, other), self, other)
        return self
    return operator


def _method(name):
    def method(self, *arguments, **options):
        arguments = [unwrap(argument) for argument in arguments]
        return computed(lambda: getattr(self.host, name)(*arguments, **options))
    return method


for _name in "add sub mul truediv floordiv mod pow lt le gt ge eq ne and or xor lshift rshift matmul".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in "add sub mul truediv mod pow and or xor matmul".split():
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
for _name in "add sub mul truediv and or xor".split():
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in "neg abs invert pos".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in "sum mean max min any all argmax var prod".split():
    setattr(ndarray, _name, _method(_name))
ndarray.__module__ = "cupy"
