"""Tensor: an array that remembers how it was computed. Its operators and methods are set by ops.py."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import DTypeLike

from .. import backend
from ..backend.arrays import Array
from ..errors import InputError, first_line
from .backward import backward_pass
from .tape import GraphError, Node


class Tensor:
    """An array that remembers how it was computed.

    data: the array (NumPy's or CuPy's; other things are converted to NumPy's); requires_grad: whether backward leaves
    the gradient here, in `.grad`, an array of the same shape and dtype. Gradients of several backward passes add up.
    Comparisons are element by element, as NumPy's; as keys of dicts and members of sets tensors are themselves only.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # numpy_array * tensor is left to Tensor
    __hash__ = object.__hash__  # `==` compares values, which change

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, (list, tuple)) and any(isinstance(item, Tensor) for item in data):
            raise InputError("Tensor: a list of Tensors would forget their history; use ops.stack")
        if isinstance(data, Tensor):
            data = data.data
        self.data: Array = data if backend.is_array(data) else _as_numpy(data)
        kind = self.data.dtype.kind
        floating = kind == "f" or backend.is_floating(self.data.dtype)
        if not (floating or kind in "biu") or (requires_grad and not floating):
            raise InputError(f"Tensor: expected {'floating' if requires_grad else 'real'} numbers, got "
                             f"{type(data).__name__} of {self.data.dtype}")
        self.grad: Array | None = None
        self.requires_grad = requires_grad
        self.node: Node | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.data.shape

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    def numpy(self) -> Array:
        """The values as a NumPy array on the host; where they are there already, the same memory."""
        return backend.backend_of(self.data).to_numpy(self.data)

    def item(self) -> float | int | bool:
        """The one value of a one-value tensor, as a Python number; InputError for more values or none."""
        if self.data.size != 1:
            raise InputError(f"a Tensor of shape {tuple(self.shape)} is not one number; use .numpy()")
        return self.data.item()

    def detach(self) -> "Tensor":
        """The same array with its history forgotten."""
        return Tensor(self.data)

    def backward(self, cotangent: Any = None) -> None:
        """Add to `.grad` of every leaf this tensor was computed from the derivative of this tensor.

        `cotangent` (an array of this shape and dtype) weighs the values; without it this must be a single number,
        weighed 1. Raises GraphError on a non-scalar, on a graph already freed, and when a saved array was changed in
        place.
        """
        if self.node is None and not self.requires_grad:
            raise GraphError("backward: nothing was recorded for this tensor (no input requires grad, or no_grad)")
        if cotangent is None:
            if self.data.size != 1:
                raise GraphError(f"backward on shape {tuple(self.shape)}: only a single number has a gradient; "
                                 f"pass a cotangent of that shape")
            cotangent = backend.namespace(self.data).ones_like(self.data)
        else:
            cotangent = self._checked_cotangent(cotangent)
        backward_pass(cotangent, self if self.node is None else self.node)

    def _checked_cotangent(self, cotangent: Any) -> Array:
        """The array of a cotangent; GraphError unless it has this tensor's shape and dtype."""
        if isinstance(cotangent, Tensor):
            cotangent = cotangent.data
        is_array = hasattr(cotangent, "dtype") and hasattr(cotangent, "shape")
        if is_array and tuple(cotangent.shape) == tuple(self.shape) and cotangent.dtype == self.dtype:
            return cotangent
        given = f"{tuple(cotangent.shape)}, {cotangent.dtype}" if is_array else type(cotangent).__name__
        raise GraphError(f"backward: expected a cotangent of {tuple(self.shape)}, {self.dtype}, got {given}")

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """For np.array (a copy of the values) and np.asarray (the same memory, where the values are on the host)."""
        array = self.numpy()
        if copy is False and array is not self.data:
            raise InputError("a Tensor on the device can become a NumPy array only by a copy")
        return backend.get("numpy").xp.array(array, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self.ndim:
            raise InputError("a Tensor without axes has no length; it is one number: use .item()")
        return self.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        """The entries along the first axis, each with its history."""
        return (self[position] for position in range(len(self)))

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise InputError(f"a Tensor of shape {tuple(self.shape)} is neither true nor false; compare .numpy() with "
                             f".all() or .any()")
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        value = self.item()
        if value != value or value in (float("inf"), float("-inf")):
            raise InputError(f"int of a Tensor: {value} is not a whole number")
        return int(value)

    def __format__(self, spec: str) -> str:
        """A one-value tensor is formatted as its value, f"{loss:.3f}"; without a format all are as repr has them."""
        if not spec:
            return str(self)
        try:
            return format(self.item(), spec)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"format of a Tensor: {error}") from error

    if TYPE_CHECKING:  # ops.py sets these: here they are for type checkers and editors
        def __add__(self, other: Any) -> "Tensor": ...
        def __radd__(self, other: Any) -> "Tensor": ...
        def __sub__(self, other: Any) -> "Tensor": ...
        def __rsub__(self, other: Any) -> "Tensor": ...
        def __mul__(self, other: Any) -> "Tensor": ...
        def __rmul__(self, other: Any) -> "Tensor": ...
        def __truediv__(self, other: Any) -> "Tensor": ...
        def __rtruediv__(self, other: Any) -> "Tensor": ...
        def __matmul__(self, other: Any) -> "Tensor": ...
        def __rmatmul__(self, other: Any) -> "Tensor": ...
        def __pow__(self, exponent: float) -> "Tensor": ...
        def __neg__(self) -> "Tensor": ...
        def __abs__(self) -> "Tensor": ...
        def __eq__(self, other: Any) -> "Tensor": ...  # type: ignore[override]
        def __ne__(self, other: Any) -> "Tensor": ...  # type: ignore[override]
        def __lt__(self, other: Any) -> "Tensor": ...
        def __le__(self, other: Any) -> "Tensor": ...
        def __gt__(self, other: Any) -> "Tensor": ...
        def __ge__(self, other: Any) -> "Tensor": ...
        def __getitem__(self, index: Any) -> "Tensor": ...
        def reshape(self, *shape: Any) -> "Tensor": ...
        def transpose(self, *axes: Any) -> "Tensor": ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def max(self, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def min(self, axis: Any = None, keepdims: bool = False) -> "Tensor": ...

    def __repr__(self) -> str:
        return f"Tensor({self.data!r}, requires_grad={self.requires_grad})"


def _as_numpy(data: Any) -> Array:
    """What is not an array as one of NumPy; InputError for ragged lists and the like."""
    try:
        return backend.get("numpy").asarray(data)
    except (ValueError, TypeError, OverflowError) as error:
        kind = type(data).__name__
        raise InputError(f"Tensor: expected an array or numbers, got {kind}: {first_line(error)}") from error


def graph_parent(value: Any) -> Node | Tensor | None:
    """Where the cotangent of an input goes: its node, itself if it is a leaf that wants one, or nowhere (None)."""
    if not isinstance(value, Tensor):
        return None
    if value.node is not None:
        return value.node
    return value if value.requires_grad else None
