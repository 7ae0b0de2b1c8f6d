"""The tape: reverse-mode differentiation over arrays of any backend. It knows nothing of networks.

An operation is an ordinary function on arrays plus, for each input, the function that carries a cotangent back to it
(its vector-Jacobian product). `differentiable` joins them. While the operation runs on Tensors it leaves a Node behind:
who its inputs were and the few arrays that going back will need. `Tensor.backward` walks the nodes from last to first,
hands each its cotangent, passes on what comes out, and frees the node's arrays at once.
"""

import contextlib
import contextvars
import functools
import inspect
import numbers

from .. import backend
from ..errors import InputError, first_line
from ..functional.arithmetic import add

_recording = contextvars.ContextVar("recording", default=True)
_checking = contextvars.ContextVar("checking", default=True)
_hooks = contextvars.ContextVar("hooks", default=())


class GraphError(RuntimeError):
    """The graph cannot be walked: already freed, nothing recorded, or a saved array was changed in place."""


@contextlib.contextmanager
def _setting(variable, value):
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def no_grad():
    """Context in which operations record nothing."""
    return _setting(_recording, False)


def trust_saved_arrays():
    """Context in which saved arrays are not checked for in-place changes: two passes over their memory less."""
    return _setting(_checking, False)


def record_operations(callback):
    """Context in which `callback(name, inputs, output, options)` is called after every operation, with raw arrays."""
    return _setting(_hooks, (*_hooks.get(), callback))


class Tensor:
    """An array that remembers how it was computed.

    data: the array (NumPy's or CuPy's; other things are converted to NumPy's); requires_grad: whether backward leaves
    the gradient here, in `.grad`, an array of the same shape and dtype. Gradients of several backward passes add up.
    """

    __slots__ = ("data", "grad", "requires_grad", "node", "__weakref__")
    __array_ufunc__ = None  # numpy_array * tensor is left to Tensor

    def __init__(self, data, requires_grad=False):
        if isinstance(data, (list, tuple)) and any(isinstance(item, Tensor) for item in data):
            raise InputError("Tensor: a list of Tensors would forget their history; use ops.stack")
        data = data.data if isinstance(data, Tensor) else data
        self.data = data if backend.is_array(data) else backend.get("numpy").asarray(data)
        floating = backend.is_floating(self.data.dtype)
        if not (floating or self.data.dtype.kind in "biu") or requires_grad and not floating:
            raise InputError(f"Tensor: expected {'floating' if requires_grad else 'real'} numbers, got "
                             f"{type(data).__name__} of {self.data.dtype}")
        self.grad = None
        self.requires_grad = requires_grad
        self.node = None

    @property
    def shape(self):
        """Sizes of the axes."""
        return self.data.shape

    @property
    def dtype(self):
        """Type of the values."""
        return self.data.dtype

    @property
    def ndim(self):
        """Number of axes."""
        return self.data.ndim

    def numpy(self):
        """The values as a NumPy array on the host."""
        return backend.backend_of(self.data).to_numpy(self.data)

    def item(self):
        """The one value of a one-value tensor, as a Python number."""
        return self.data.item()

    def detach(self):
        """The same array with its history forgotten."""
        return Tensor(self.data)

    def backward(self, cotangent=None):
        """Add to `.grad` of every tensor this one was computed from the derivative of this one.

        `cotangent` (an array of this shape) weighs the values; without it this must be a single number, weighed 1.
        Raises GraphError on a non-scalar, on a graph already freed, and when a saved array was changed in place.
        """
        if self.node is None and not self.requires_grad:
            raise GraphError("backward: nothing was recorded for this tensor (no input requires grad, or no_grad)")
        if cotangent is None:
            if self.data.size != 1:
                raise GraphError(f"backward on shape {tuple(self.shape)}: only a single number has a gradient; "
                                 f"pass a cotangent of that shape")
            cotangent = backend.namespace(self.data).ones_like(self.data)
        else:
            cotangent = cotangent.data if isinstance(cotangent, Tensor) else cotangent
            given = f"{tuple(cotangent.shape)}, {cotangent.dtype}" if hasattr(cotangent, "dtype") \
                else type(cotangent).__name__
            if given != f"{tuple(self.shape)}, {self.dtype}":
                raise GraphError(f"backward: expected a cotangent of {tuple(self.shape)}, {self.dtype}, got {given}")
        backward_pass(cotangent, self if self.node is None else self.node)

    def __array__(self, dtype=None, copy=None):
        return backend.get("numpy").asarray(self.numpy(), dtype=dtype)

    def __len__(self):
        return len(self.data)

    def __bool__(self):
        raise InputError("a Tensor is neither true nor false; ask its .data")

    def __repr__(self):
        return f"Tensor({self.data!r}, requires_grad={self.requires_grad})"


class Node:
    """One recorded operation: its name, where its inputs came from, what it saved, and how to go back.

    vjps: a list of (numbers of inputs, function), where function(saved, cotangent) returns the cotangents of these
    inputs. is_pure: whether these are all that going back changes; parameters reached otherwise get theirs meanwhile.
    """

    __slots__ = ("name", "parents", "saved", "fingerprints", "vjps", "is_pure")

    def __init__(self, name, inputs, saved, vjps, is_pure=True):
        self.name = name
        self.parents = tuple(graph_parent(value) for value in inputs)
        self.saved = saved
        self.fingerprints = {key: backend.fingerprint(value) for key, value in saved.items()
                             if backend.is_array(value)} if _checking.get() else {}
        self.vjps = vjps
        self.is_pure = is_pure

    def take(self):
        """Give up the saved arrays and the vjps back; returns (saved, vjps, parents) to whoever walks last."""
        held = self.saved, self.vjps, self.parents
        self.saved, self.vjps, self.parents = None, None, ()
        return held

    def check(self):
        """Raise GraphError if a saved array is no longer what it was."""
        for key, expected in self.fingerprints.items():
            if backend.fingerprint(self.saved[key]) != expected:
                raise GraphError(f"{self.name}: its saved {key} {tuple(self.saved[key].shape)} was changed in place "
                                 f"after the operation ran, so its derivative would be wrong")


def graph_parent(value):
    """Where the gradient of an input goes: its node, itself if it is a leaf that wants one, or nowhere (None)."""
    if not isinstance(value, Tensor):
        return None
    return value.node if value.node is not None else (value if value.requires_grad else None)


def reverse_topological_order(root):
    """Every node and leaf that `root` was computed from, each after all that used it: an iterator."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        vertex, expanded = stack.pop()
        if expanded:
            order.append(vertex)
        elif id(vertex) not in seen:
            seen.add(id(vertex))
            stack.append((vertex, True))
            if isinstance(vertex, Node):
                if vertex.vjps is None:
                    raise GraphError(f"backward through {vertex.name}: its graph was already freed by an earlier "
                                     f"backward; run the forward computation again")
                stack.extend((parent, False) for parent in vertex.parents if parent is not None)
    return reversed(order)


@backend.formula
def backward_pass(cotangent, root):
    """Carry the cotangent of `root`, a node or a leaf, back to every leaf, from last to first."""
    cotangents = {id(root): cotangent.copy() if isinstance(root, Tensor) else cotangent}
    for vertex in reverse_topological_order(root):
        cotangent = cotangents.pop(id(vertex), None)
        if cotangent is None:
            continue
        if isinstance(vertex, Tensor):
            accumulate_grad(vertex, cotangent)
            continue
        vertex.check()
        saved, vjps, parents = vertex.take()
        for chosen, way in vjps:
            for parent, contribution in zip((parents[number] for number in chosen), way(saved, cotangent)):
                if parent is None or contribution is None:
                    continue
                contribution = copy_if_shared(contribution, parent, cotangent)
                earlier = cotangents.get(id(parent))
                cotangents[id(parent)] = contribution if earlier is None else add(earlier, contribution)


def accumulate_grad(leaf, cotangent):
    """Add what has come to a leaf to its gradient."""
    total = cotangent if leaf.grad is None else leaf.grad + cotangent
    leaf.grad = backend.as_array(total)


def copy_if_shared(contribution, vertex, cotangent):
    """The contribution, computed from `cotangent`, to a vertex: a copy for a leaf, if others may hold its memory too."""
    if isinstance(vertex, Tensor) and (contribution is cotangent or not backend.buffer_pool.owns_its_memory(contribution)):
        return contribution.copy()
    return contribution


class _Derivative:
    """A vector-Jacobian product, and what its signature asks for beside the cotangent."""

    def __init__(self, vjp, names):
        self.vjp, self.asked, self.arrays, self.takes_options = vjp, [], [], False
        for parameter in list(inspect.signature(vjp).parameters.values())[1:]:
            name = parameter.name
            if parameter.kind is parameter.KEYWORD_ONLY:
                self.takes_options = True
            elif name == "output" or name in names:
                self.arrays.append(name)
                self.asked.append(name)
            elif name.removesuffix("_shape") in names or name.removesuffix("_dtype") in names:
                self.asked.append(name)
            else:
                raise TypeError(f"{vjp.__name__} asks for {name!r}, which is neither `output`, an input, nor its shape "
                                f"or dtype")

    def __call__(self, cotangent, known, options):
        """The product, given by name the saved arrays and the shapes."""
        return self.vjp(cotangent, *(known[name] for name in self.asked), **(options if self.takes_options else {}))


def differentiable(formula, joint=None, **separate):
    """Join `formula(*arrays, **options)` and its derivatives to the tape: the result works on Tensors.

    joint: one vector-Jacobian product that returns the cotangents of all inputs, a tuple; or, by input name, one
    product each (inputs without one, such as labels and masks, get no gradient). A product is called as
    vjp(cotangent, *what it names, **options): inputs, `INPUT_shape`, `INPUT_dtype`, `output`. Nothing else is kept.
    """
    parameters = inspect.signature(formula).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    joint = joint and _Derivative(joint, names)
    separate = {name: _Derivative(vjp, names) for name, vjp in separate.items()}

    @functools.wraps(formula)
    def operation(*inputs, **options):
        while len(inputs) < len(names) and names[len(inputs)] in options:  # inputs given by keyword
            inputs = (*inputs, options.pop(names[len(inputs)]))
        if variadic and len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = tuple(inputs[0])
        arrays, floating = _arrays_of(formula.__name__, inputs)
        try:
            output = formula(*arrays, **options)
        except InputError:
            raise
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            given = ", ".join(str(tuple(array.shape)) if backend.is_array(array) else repr(array) for array in arrays)
            raise InputError(f"{formula.__name__} of {given or 'nothing'}: {first_line(error)}") from error
        if floating and len(floating) < _dtypes(arrays) and backend.is_floating(output.dtype) \
                and output.dtype not in floating:
            raise InputError(f"{formula.__name__}: an integer array would turn {floating.pop()} into {output.dtype}; "
                             f"nothing is cast silently, convert it")
        for callback in _hooks.get():
            callback(formula.__name__, arrays, output, options)
        result = Tensor(output)
        if _recording.get() and any(graph_parent(value) is not None for value in inputs):
            result.node = record(inputs, arrays, result.data, options)
        return result

    def record(inputs, arrays, output, options):
        derivatives = {tuple(range(len(inputs))): joint} if joint else \
            {(number,): separate[name] for number, (name, value) in enumerate(zip(names, inputs))
             if name in separate and graph_parent(value) is not None}
        facts = [("shape", [tuple(getattr(array, "shape", ())) for array in arrays]),
                 ("dtype", [getattr(array, "dtype", None) for array in arrays])]
        facts = {f"{names[0]}_{kind}": tuple(values) for kind, values in facts} if variadic else \
            {f"{name}_{kind}": value for kind, values in facts for name, value in zip(names, values)}
        known = {**dict(zip(names, arrays)), "output": output}
        saved = {name: known[name] for derivative in derivatives.values() for name in derivative.arrays}

        def way_of(derivative):
            def way(saved, cotangent):
                found = derivative(cotangent, {**saved, **facts}, options)
                return found if joint else (found,)
            return way

        reached = {number for chosen in derivatives for number in chosen}
        return Node(formula.__name__, [value if number in reached else None for number, value in enumerate(inputs)],
                    saved, [(chosen, way_of(derivative)) for chosen, derivative in derivatives.items()])

    operation.formula = formula
    return operation


def _dtypes(arrays):
    """How many dtypes these inputs have."""
    return len({array.dtype for array in arrays if backend.is_array(array)})


def _arrays_of(name, inputs):
    """The raw arrays of the inputs, and the set of their floating dtypes; numbers stay Python numbers.

    InputError when floating dtypes differ.
    """
    arrays, floating = [], set()
    for value in inputs:
        if isinstance(value, numbers.Real):
            value = int(value) if isinstance(value, numbers.Integral) else float(value)
        elif value is not None:
            value = Tensor(value).data
            if backend.is_floating(value.dtype):
                floating.add(value.dtype)
        arrays.append(value)
    if len(floating) > 1:
        raise InputError(f"{name}: inputs of {' and '.join(sorted(map(str, floating)))}; nothing is cast silently, "
                         f"convert one of them")
    return arrays, floating


def checkpoint(function, *inputs):
    """function(*inputs) without saving anything inside it: going back runs it once more and differentiates that run.

    `function` takes Tensors and returns one; parameters it reaches by itself get their gradients too. It must compute
    the same both times: randomness here is counter-based and does, parameters must not be replaced in between.
    Source: Chen et al. (2016), arXiv 1604.06174.
    """
    if not _recording.get():
        return function(*inputs)
    with no_grad():
        output = function(*inputs)
    if not isinstance(output, Tensor):
        raise InputError(f"checkpoint: expected a function that returns one Tensor, got {type(output).__name__}")
    wants = [graph_parent(value) is not None for value in inputs]
    is_tensor = [isinstance(value, Tensor) for value in inputs]

    def pull(saved, cotangent):
        again = [Tensor(value, requires_grad=want) if tensor else value
                 for value, want, tensor in zip(saved.values(), wants, is_tensor)]
        with _setting(_recording, True):
            output = function(*again)
            if graph_parent(output) is not None:
                output.backward(cotangent)
        return tuple(value.grad if want else None for value, want in zip(again, wants))

    result = Tensor(output.data)
    saved = {f"input {k}": value.data if tensor else value for k, (value, tensor) in enumerate(zip(inputs, is_tensor))}
    result.node = Node("checkpoint", inputs, saved, [(range(len(inputs)), pull)], is_pure=False)
    return result


from . import parallel_backward  # noqa: E402, F401  a fast path of backward_pass
