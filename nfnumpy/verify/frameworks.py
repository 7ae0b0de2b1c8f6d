"""Speaking to a target in its own framework: its arrays, and its derivatives.

A Framework has `array(host, precision)`, `host(array)`, and `value_and_vjp(function, arrays, cotangent)`, which returns
the value as a host array and, for every array, the cotangent that comes back, or None where the framework has none;
the cotangent may be a function of the value. In `seen` it collects the names of the floating dtypes that came out.
"""

import sys

import numpy as np

from ..errors import InputError

NAMES = ("torch", "jax", "numpy")


class Numpy:
    """Plain arrays; derivatives are not to be had."""

    name = "numpy"

    def __init__(self):
        self.seen = set()

    def array(self, host, precision=None):
        """A host array in `precision`."""
        host = np.asarray(host)
        return host.astype(precision) if precision and host.dtype.kind == "f" else host

    def host(self, array):
        """As it is."""
        array = np.asarray(array)
        self.seen.add(str(array.dtype))
        return array

    def value_and_vjp(self, function, arrays, cotangent):
        """(value, None)."""
        return self.host(function(*arrays)), None


class Torch:
    """PyTorch's tensors."""

    name = "torch"

    def __init__(self):
        import torch
        self.torch, self.seen = torch, set()

    def array(self, host, precision=None):
        """A tensor that owns its memory, in `precision`."""
        tensor = self.torch.from_numpy(np.array(host))
        return tensor.to(getattr(self.torch, precision)) if precision and tensor.is_floating_point() else tensor

    def host(self, array):
        """Detached, bfloat16 widened."""
        tensor = array.detach()
        self.seen.add(str(tensor.dtype).removeprefix("torch."))
        return (tensor.float() if tensor.dtype == self.torch.bfloat16 else tensor).cpu().numpy()

    def value_and_vjp(self, function, arrays, cotangent):
        """Through autograd; None for a floating array that the value does not depend on."""
        arrays = [array.detach().requires_grad_() if array.is_floating_point() else array for array in arrays]
        value = function(*arrays)
        if cotangent is None or not value.requires_grad:
            return self.host(value), None
        cotangent = cotangent(self.host(value)) if callable(cotangent) else cotangent
        wanted = [array for array in arrays if array.requires_grad]
        given = self.array(np.broadcast_to(cotangent, tuple(value.shape))).to(value.dtype)
        grads = iter(self.torch.autograd.grad(value, wanted, given, allow_unused=True))
        grads = [next(grads) if array.requires_grad else None for array in arrays]
        return self.host(value), [None if grad is None else self.host(grad) for grad in grads]


class Jax:
    """JAX's arrays, with float64 switched on."""

    name = "jax"

    def __init__(self):
        import jax
        jax.config.update("jax_enable_x64", True)
        self.jax, self.seen = jax, set()

    def array(self, host, precision=None):
        """A device array in `precision`."""
        array = self.jax.numpy.asarray(host)
        return array.astype(precision) if precision and np.asarray(host).dtype.kind == "f" else array

    def host(self, array):
        """bfloat16 widened."""
        self.seen.add(str(array.dtype))
        return np.asarray(array.astype("float32") if str(array.dtype) == "bfloat16" else array)

    def value_and_vjp(self, function, arrays, cotangent):
        """Through jax.vjp."""
        value, pull = self.jax.vjp(function, *arrays)
        if cotangent is None:
            return self.host(value), None
        cotangent = cotangent(self.host(value)) if callable(cotangent) else cotangent
        given = self.jax.numpy.asarray(np.broadcast_to(cotangent, value.shape)).astype(value.dtype)
        return self.host(value), [self.host(grad) for grad in pull(given)]


def framework_of(target, wish="auto"):
    """The Framework that `target` is written in, or the one called `wish`.

    It is told by the target's own type and bases, and by what its module imported. InputError for an unknown name or a
    framework that is not installed.
    """
    if wish != "auto" and wish not in NAMES:
        raise InputError(f"--framework {wish}: expected auto, {', '.join(NAMES)}")
    name = wish if wish != "auto" else _guess(target)
    try:
        return {"torch": Torch, "jax": Jax, "numpy": Numpy}[name]()
    except ImportError as error:
        raise InputError(f"--framework {name}: {error}") from None


def _guess(target):
    owner = target if isinstance(target, type) else type(target)
    roots = [base.__module__.partition(".")[0] for base in owner.__mro__]
    function = getattr(target, "func", target)  # of a functools.partial
    function = getattr(function, "__wrapped__", function)
    module = sys.modules.get(getattr(function, "__module__", None) or "", None)
    names = getattr(function, "__globals__", None) or vars(module or object)
    used = {name: names[name] for name in getattr(getattr(function, "__code__", None), "co_names", ()) if name in names}
    for chosen in (used, names):  # what the function itself names, else what its module does
        found = {(getattr(value, "__module__", None) or getattr(value, "__name__", "") or "").partition(".")[0]
                 for value in chosen.values() if hasattr(value, "__name__")}
        roots += found
        if found & {"torch", "flax", "haiku", "optax", "equinox", "jax", "numpy"}:
            break
    for root, name in (("torch", "torch"), ("flax", "jax"), ("haiku", "jax"), ("optax", "jax"), ("equinox", "jax"),
                       ("jax", "jax")):
        if root in roots or (getattr(function, "__module__", None) or "").partition(".")[0] == root:
            return name
    return "numpy"
