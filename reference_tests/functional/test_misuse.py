"""Misuse of every operation: wrong kinds, ranks, dtypes and options are an InputError of one line, or mean something.

Each operation has one good call here. In it one input or one option at a time is replaced by each of many values that
mostly mean nothing; the result must be a Tensor or an InputError, also for the derivatives, on formulas and fast paths.
"""

from fractions import Fraction

import numpy as np
import pytest

from nfnumpy import InputError, Tensor, ops, reference
from reference_tests.helpers.fast_paths import with_threads

OPERATIONS = {name: value for name, value in vars(ops).items() if hasattr(value, "operation")}


def ones(*shape):
    return np.ones(shape)


CALLS = {  # the good call: inputs and every option
    "conv2d": ([ones(1, 4, 4, 2), ones(2, 2, 2, 3), ones(3)],
               {"stride": 1, "padding": "SAME", "dilation": 1, "groups": 1}),
    "linear": ([ones(2, 3), ones(3, 4), ones(4)], {}),
    "matmul": ([ones(2, 3), ones(3, 4)], {}),
    "avg_pool": ([ones(1, 4, 4, 2)], {"window": 2, "stride": 2, "padding": "SAME"}),
    "max_pool": ([ones(1, 4, 4, 2)], {"window": 2, "stride": 2, "padding": "SAME"}),
    "global_mean": ([ones(1, 4, 4, 2)], {}),
    "standardize_weight": ([ones(3, 4), ones(4)], {"eps": 1e-4}),
    "normalize": ([ones(2, 3), ones(3), ones(3), ones(3), ones(3)], {"eps": 1e-5}),
    "batch_norm": ([ones(2, 3), ones(3), ones(3), ones(3), ones(3)], {"eps": 1e-5}),
    "activated_batch_norm": ([ones(2, 3), ones(3), ones(3), ones(3), ones(3)], {"name": "silu", "eps": 1e-5}),
    "group_norm": ([ones(2, 4), ones(4), ones(4)], {"groups": 2, "eps": 1e-5}),
    "instance_norm": ([ones(2, 4), ones(4), ones(4)], {"eps": 1e-5}),
    "layer_norm": ([ones(2, 4), ones(4), ones(4)], {"over": "image", "eps": 1e-5}),
    "switchable_norm": ([ones(2, 4), ones(4), ones(4), ones(3), ones(3), ones(4), ones(4)],
                        {"eps": 1e-5, "unbiased": True}),
    "plain_standardize_weight": ([ones(2, 4)], {"eps": 1e-5, "eps_beside": "variance"}),
    "squeeze_excite": ([ones(1, 2, 2, 3), ones(3, 2), ones(2), ones(2, 3), ones(3)],
                       {"activation": "relu", "scale": 2.0}),
    "skip_init": ([ones(2, 3), ones(2, 3), ones()], {"alpha": 0.2}),
    "dropout": ([ones(2, 3), ones(2, 3)], {"rate": 0.5}),
    "stochastic_depth": ([ones(2, 3), ones(2, 1)], {"rate": 0.5, "rescale": True}),
    "softmax_cross_entropy": ([ones(2, 3), np.array([0, 1])], {"label_smoothing": 0.1}),
    "sigmoid_cross_entropy": ([ones(2, 3), np.array([0, 1])], {"label_smoothing": 0.1}),
    "scaled_nonlinearity": ([ones(2, 4)], {"name": "relu", "scale": 1.7}),
    "scaled_nonlinearity_known_by_output": ([ones(2, 4)], {"name": "relu", "scale": 1.7}),
    "cast": ([ones(2, 4)], {"dtype": "float32"}),
    "power": ([ones(2, 4)], {"exponent": 2.5}),
    "clip": ([ones(2, 4)], {"low": 0.0, "high": 1.0}),
    "where": ([ones(2, 4) > 0, ones(2, 4), ones(2, 4)], {}),
    "reshape": ([ones(2, 4)], {"shape": (4, 2)}),
    "transpose": ([ones(2, 4)], {"axes": (1, 0)}),
    "broadcast_to": ([ones(2, 4)], {"shape": (3, 2, 4)}),
    "flip": ([ones(2, 4)], {"axis": 1}),
    "take_slice": ([ones(2, 4)], {"index": 0}),
    "pad": ([ones(2, 4)], {"widths": ((0, 1), (1, 0)), "value": 0.0}),
    "concatenate": ([ones(2, 4), ones(2, 4)], {"axis": 0}),
    "stack": ([ones(2, 4), ones(2, 4)], {"axis": 0}),
    **{name: ([ones(2, 4)], {"axis": 0, "keepdims": True}) for name in ("sum", "mean", "variance", "max", "min")},
}
for _name, _operation in OPERATIONS.items():
    CALLS.setdefault(_name, ([ones(2, 4)] * len(_operation.operation.inputs), {}))

NO_ARRAYS = ["text", b"x", 1j, object(), {}, {1}, float, lambda: 0, np.ones((2, 4), complex), np.array(["a"]),
             np.array([object()]), [[1], [1, 2]], np.datetime64("2020"), np.ones((2, 4), "m8[s]"), 10**400]
ODD_ARRAYS = [None, ones(7, 5, 3, 2, 2), ones(0), ones(), np.ones((2, 4), bool), np.ones((2, 4), int), 2.5, True,
              np.nan, Fraction(1, 3), [], (), np.ones((2, 4), np.float16), ones(1, 1, 1, 1, 1, 1), np.array([], int)]
OPTIONS = ["text", b"x", "", "relu", "float32", "int32", "complex128", "O", None, 1j, object(), {}, type, lambda: 0,
           np.nan, np.inf, -np.inf, 0, -1, -5, 99, 1.5, 10**400, 2**63, True, np.True_, False, (), (1,), (1, 2, 3),
           (1, -1), (0, 0), (0.5, 0.5), ((1, 2),), ((1, 2), (3,)), ((-1, 0), (0, 0)), ((1.5, 0), (0, 0)), [[]],
           ("a", "b"), ones(3), np.array(2), np.array([1, 2]), np.float64(1), np.int64(-7), Fraction(1, 2), slice("a"),
           slice(None, None, 0), Ellipsis, (99,), np.ones((30, 30))]


def attempt(name, inputs, options):
    """Whether the operation takes this call and has its derivatives; an InputError has one line and names something."""
    try:
        inputs = [Tensor(x, requires_grad=True) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
                  for x in inputs]
        out = OPERATIONS[name](*inputs, **options)
        assert isinstance(out, Tensor)
        if out.node is not None:
            out.backward(np.ones(out.shape, out.dtype))
        return True
    except InputError as error:
        assert str(error).count("\n") == 0 and 10 < len(str(error)) < 400
        return False


def replaced(values, key, value):
    copy = dict(values) if isinstance(values, dict) else list(values)
    copy[key] = value
    return copy


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_an_input_of_any_kind_is_taken_or_refused(name):
    inputs, options = CALLS[name]
    assert attempt(name, inputs, options)
    for position in range(len(inputs)):
        for value in NO_ARRAYS:
            assert not attempt(name, replaced(inputs, position, value), options), (position, value)
        for value in ODD_ARRAYS:
            attempt(name, replaced(inputs, position, value), options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, option", [(name, option) for name, (_, options) in CALLS.items() for option in options])
def test_an_option_of_any_kind_is_taken_or_refused(name, option):
    """The same on the formula and on the fast path, which small arrays take here too."""
    inputs, options = CALLS[name]
    for value in OPTIONS:
        call = replaced(options, option, value)
        with reference():
            taken = attempt(name, inputs, call)
        assert with_threads(1, lambda call=call: attempt(name, inputs, call)) == taken, value
        if option == "axis":
            attempt(name, [ones()] * len(inputs), call)


@pytest.mark.parametrize("name", CALLS)
def test_too_few_too_many_and_unknown_arguments_are_refused(name):
    inputs, options = CALLS[name]
    assert not attempt(name, [], options)
    assert not attempt(name, inputs, {**options, "unknown": 1})
    if not OPERATIONS[name].operation.variadic:
        assert not attempt(name, [*inputs, *inputs, *inputs], options)
    for option in OPERATIONS[name].operation.required_options:
        assert not attempt(name, inputs, {key: value for key, value in options.items() if key != option})


@pytest.mark.parametrize("option, wrong", [("stride", 0.5), ("keepdims", 1), ("axis", True), ("scale", "1"),
                                           ("rate", None), ("eps", -1.0), ("index", [0]), ("dtype", "int32")])
def test_formulas_refuse_wrong_options_by_themselves(option, wrong):
    for name, (inputs, options) in CALLS.items():
        if option in options:
            with pytest.raises(InputError, match="expected"):
                OPERATIONS[name].formula(*inputs, **{**options, option: wrong})


T = Tensor(np.arange(6.0).reshape(2, 3))
METHODS = {
    "sum": lambda: T.sum(0, True, 1), "sum twice": lambda: T.sum(0, axis=0), "sum of": lambda: T.sum(axes=0),
    "reshape": lambda: T.reshape(), "reshape text": lambda: T.reshape("a"), "transpose": lambda: T.transpose(0),
    "index": lambda: T[2], "float index": lambda: T[0.0], "bool index": lambda: T[True], "mask": lambda: T[T.data > 1],
    "slice": lambda: T["a":], "text index": lambda: T["a"], "power": lambda: T ** T, "order": lambda: T < None,
    "order of text": lambda: T < "a", "add": lambda: T + "a", "add nothing": lambda: T + None, "radd": lambda: None + T,
    "matmul": lambda: T @ T, "bool": lambda: bool(T), "float": lambda: float(T), "int": lambda: int(T),
    "int of nan": lambda: int(Tensor(np.nan)), "int of inf": lambda: int(Tensor(np.inf)), "item": T.item,
    "format": lambda: f"{T:.3f}", "bad format": lambda: f"{T.sum():q}", "length": lambda: len(T.sum()),
    "iteration": lambda: list(T.sum()), "ragged": lambda: Tensor([[1], [1, 2]]), "complex": lambda: Tensor(1j),
    "text": lambda: Tensor("a"), "shapes": lambda: T == np.ones(4), "integer grad": lambda: Tensor([1], True),
    "no tensor": lambda: Tensor(None), "overflow": lambda: T * 10**400,
}


@pytest.mark.parametrize("what", METHODS)
def test_misused_methods_of_tensors_are_refused(what):
    with pytest.raises(InputError) as refusal:
        METHODS[what]()
    assert "\n" not in str(refusal.value)
