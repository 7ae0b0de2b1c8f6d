"""Parameters, buffers and modules are found wherever a module keeps them, and their state goes out and in unchanged."""

import collections
import dataclasses
import types
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy import InputError, Tensor
from nfnumpy.nn import Module


class Box(Module):
    """A module with any attributes."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)


def parameter(*values, dtype="float64"):
    return Tensor(np.asarray(values, dtype=dtype), requires_grad=True)


def box_with_statistics(mean=0.0, dtype="float64"):
    """A module with one parameter and two buffers, one of whole numbers."""
    box = Box(gain=parameter(1.0, 2.0, dtype=dtype))
    box.register_buffer("running_mean", np.full(2, mean, dtype=dtype))
    box.register_buffer("steps", np.asarray(int(mean)))
    return box


# ---- where parameters are found

LEAVES = st.sampled_from(["tensor", "module", "number", "none"])
KEYS = st.sampled_from(["a", "b", "stage"])
TREES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(KEYS, inner, max_size=3),
    st.dictionaries(KEYS, inner, max_size=3).map(lambda children: ("Module", children))), max_leaves=12)


def built(tree, name, expected):
    """The containers, Tensors and modules that `tree` describes; adds name -> Tensor to `expected`."""
    if tree == "tensor":
        expected[name] = parameter(1.0)
        return expected[name]
    if tree == "module":
        expected[f"{name}.weight"] = parameter(2.0)
        return Box(weight=expected[f"{name}.weight"])
    if isinstance(tree, tuple) and len(tree) == 2 and tree[0] == "Module":
        return Box(**{key: built(inner, f"{name}.{key}", expected) for key, inner in tree[1].items()})
    if isinstance(tree, (list, tuple)):
        return type(tree)(built(inner, f"{name}.{k}", expected) for k, inner in enumerate(tree))
    if isinstance(tree, dict):
        return {key: built(inner, f"{name}.{key}", expected) for key, inner in tree.items()}
    return 3 if tree == "number" else None


@given(TREES)
def test_parameters_are_found_in_containers_of_any_depth(tree):
    """All of them, in order of making, under the path of attributes, keys and positions."""
    expected = {}
    found = Box(part=built(tree, "part", expected)).parameters()
    assert list(found) == list(expected) and all(found[name] is tensor for name, tensor in expected.items())


def test_layers_in_lists_of_lists_are_trained_saved_and_counted():
    init = nf.nn.Initializer(seed=1)
    model = Box(stages=[[nf.nn.Linear(init.scope(f"{stage}.{k}"), 2, 2) for k in range(2)] for stage in range(2)])
    assert list(model.parameters())[:2] == ["stages.0.0.weight", "stages.0.0.bias"]
    assert nf.analysis.count_params(model) == 4 * (2 * 2 + 2) and len(model.state_dict()) == 8
    before = {name: array.copy() for name, array in model.state_dict().items()}
    for tensor in model.parameters().values():
        tensor.grad = np.ones_like(tensor.data)
    nf.optim.SGD(model, lr=0.1, clipping=None).step()
    assert all(not np.array_equal(array, before[name]) for name, array in model.state_dict().items())


@dataclasses.dataclass
class Record:
    inner: object


@dataclasses.dataclass(slots=True)
class SlottedRecord:
    inner: object


class PlainObject:
    """Neither a container nor a Module."""

    def __init__(self, inner):
        self.inner = inner


def object_array(*items):
    array = np.empty(len(items), dtype=object)
    for k, item in enumerate(items):
        array[k] = item
    return array


@pytest.mark.parametrize("contain", [
    lambda item: {item}, lambda item: frozenset([item]), lambda item: collections.deque([item]),
    lambda item: collections.ChainMap({"a": item}), lambda item: {"a": item}.values(), Record, object_array,
    lambda item: types.SimpleNamespace(a=item), lambda item: Record([{"a": item}]), lambda item: [{"a": {item}}],
    SlottedRecord, PlainObject, lambda item: PlainObject(PlainObject([item])),
], ids=["set", "frozenset", "deque", "chain map", "values of a dict", "dataclass", "array of objects", "namespace",
        "dataclass of lists", "list of dicts of sets", "dataclass with slots", "object", "object in an object"])
@pytest.mark.parametrize("make", [lambda: parameter(1.0), lambda: Box(weight=parameter(1.0))], ids=["Tensor", "Module"])
def test_a_parameter_without_a_name_is_refused(contain, make):
    model = Box(known=parameter(2.0), odd=contain(make()))
    for collect in (model.parameters, model.state_dict, model.buffers, lambda: list(model.modules())):
        with pytest.raises(InputError, match=r"odd.* expected lists, tuples, dicts") as refusal:
            collect()
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("slots", ["layer", ("layer",), ["layer", "other"]])
def test_a_module_with_slots_is_refused(slots):
    with pytest.raises(InputError, match="Narrow: a Module has no __slots__"):
        type("Narrow", (Module,), {"__slots__": slots})


def test_containers_without_parameters_are_allowed():
    model = Box(names={"a", "b"}, sizes=collections.deque([1, 2]), text="text", record=Record(3), kind=Record,
                numbers=np.arange(3), objects=object_array("a", None), raw=b"raw", function=len, span=range(3))
    model.chain = None
    for _ in range(10_000):
        model.chain = PlainObject(model.chain)
    assert model.parameters() == {} and list(model.modules()) == [model]


def test_a_set_may_repeat_what_has_a_name_elsewhere():
    tensor = parameter(1.0)
    model = Box(trained={tensor}, weight=tensor)
    model.optimizer = nf.optim.SGD({"weight": tensor}, lr=0.1, clipping=None)
    assert list(model.parameters()) == ["weight"]


def test_two_parameters_of_one_name_are_refused():
    """Otherwise one of them would be lost."""
    model = Box(part={"a": {"b": parameter(1.0)}, "a.b": parameter(2.0)})
    with pytest.raises(InputError, match=r"'part\.a\.b'"):
        model.parameters()


def test_a_shared_parameter_is_one_under_its_first_name():
    """It is updated, saved and counted once, and both users see what is loaded."""
    tied = parameter(1.0, 2.0)
    first = Box(weight=tied)
    model = Box(first=first, again=[first, tied], last=Box(bias=parameter(3.0), weight=tied))
    assert list(model.parameters()) == ["first.weight", "last.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "first", "last"]
    assert nf.analysis.count_params(model) == 3
    model.load_state_dict({"first.weight": np.asarray([5.0, 6.0]), "last.bias": np.asarray([7.0])})
    assert model.last.weight.data.tolist() == [5.0, 6.0]
    tied.grad = np.ones(2)
    model.last.bias.grad = np.ones(1)
    nf.optim.SGD(model, lr=1.0, momentum=0.0, clipping=None, weight_decay=0.0).step()
    assert tied.data.tolist() == [4.0, 5.0]


def test_cycles_end():
    child = Box(weight=parameter(1.0))
    loop = []
    model = Box(child=child, loop=loop)
    child.parent = model
    loop.append(loop)
    assert list(model.parameters()) == ["child.weight"]


def test_named_modules_are_those_on_the_paths_of_parameters():
    model = nf.models.create("nfnet_8px", shapes_only=True)
    modules = dict(model.named_modules())
    assert modules[""] is model and modules["blocks.0.conv1"] is model.blocks[0].conv1
    assert list(model.modules()) == list(modules.values())
    for name, tensor in model.parameters().items():
        module, _, attribute = name.rpartition(".")
        assert getattr(modules[module], attribute) is tensor


# ---- buffers


def test_buffers_are_state_but_not_parameters():
    model = Box(norms=[box_with_statistics(3.0)])
    assert list(model.parameters()) == ["norms.0.gain"] and nf.analysis.count_params(model) == 2
    assert list(model.buffers()) == ["norms.0.running_mean", "norms.0.steps"]
    assert list(model.state_dict()) == [*model.parameters(), *model.buffers()]
    assert model.state_dict()["norms.0.running_mean"] is model.norms[0].running_mean


def test_an_assigned_buffer_is_the_new_state():
    box = box_with_statistics()
    box.running_mean = np.asarray([8.0, 9.0])
    assert box.buffers()["running_mean"].tolist() == [8.0, 9.0]
    box.assign_buffers({"running_mean": np.asarray([1.0, 2.0])})
    assert box.running_mean.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_buffers_go_out_and_in_bit_for_bit(dtype):
    one, other = (Box(norm=box_with_statistics(mean, dtype)) for mean in (3.0, 5.0))
    one.norm.running_mean[0] = np.nan
    state = one.state_dict()
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        assert array.dtype == state[name].dtype and array.tobytes() == state[name].tobytes()
        assert not np.shares_memory(array, state[name])


@pytest.mark.parametrize("name", ["gain", "running_mean", "parameters", "a.b", ""])
def test_a_buffer_needs_the_name_of_a_new_attribute(name):
    with pytest.raises(InputError, match=f"buffer '{name}': expected the name of a new attribute$") as refusal:
        box_with_statistics().register_buffer(name, np.ones(2))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("array, given", [([1.0], "a list"), (np.ones(2, complex), "an array of complex128"),
                                          (np.array(["a"]), "an array of <U1"), (None, "a NoneType")])
def test_a_buffer_is_an_array_of_real_numbers(array, given):
    with pytest.raises(InputError, match=f"fresh: expected an array of real numbers, got {given}$") as refusal:
        box_with_statistics().register_buffer("fresh", array)
    assert "\n" not in str(refusal.value)


def test_what_is_assigned_to_a_buffer_is_checked():
    box = box_with_statistics()
    box.running_mean = None
    with pytest.raises(InputError, match=r"running_mean.*NoneType"):
        box.state_dict()
    with pytest.raises(InputError, match="unknown name 'mean'"):
        box.assign_buffers({"mean": np.ones(2)})


def test_averaged_weights_carry_averaged_buffers():
    """d = (1 + t)/(10 + t) at t = 0 is 0.1; whole numbers are copied."""
    model = Box(norm=box_with_statistics(3.0))
    average = nf.optim.ExponentialMovingAverage(model, 0.9)
    model.norm.gain.data = np.zeros(2)
    model.norm.running_mean = np.full(2, 7.0)
    model.norm.steps = np.asarray(4)
    average.update()
    np.testing.assert_allclose(average.average["norm.running_mean"], 0.1 * 3.0 + 0.9 * 7.0, rtol=1e-15)
    assert average.average["norm.steps"] == 4 and list(average.average) == list(model.state_dict())
    with average.applied():
        assert model.norm.running_mean is average.average["norm.running_mean"]
        assert model.norm.gain.data is average.average["norm.gain"]
    assert model.norm.running_mean.tolist() == [7.0, 7.0]


# ---- what a state may be

ROUNDED = [("float64", "float32"), ("float32", "float64"), ("float64", "float16"), ("float32", "int64"),
           ("float32", "bool")]


@pytest.mark.parametrize("own, given", ROUNDED)
def test_another_dtype_is_cast_only_with_cast_true(own, given):
    box = Box(weight=parameter(0.0, 0.0, dtype=own))
    values = np.asarray([1, 0]).astype(given)
    with pytest.raises(InputError, match=rf"weight is of {given}, expected {own}.*cast=True"):
        box.load_state_dict({"weight": values})
    assert box.weight.data.tolist() == [0.0, 0.0]
    box.load_state_dict({"weight": values}, cast=True)
    assert box.weight.data.dtype == own and box.weight.data.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("values", [np.ones(2, complex), np.array(["1", "2"]), np.array([1, "a"], dtype=object),
                                    np.zeros(2, "datetime64[s]"), np.zeros(2, [("a", "f8")]), [1.0, 2.0], None, "text"],
                         ids=["complex", "text", "objects", "times", "records", "list", "None", "str"])
@pytest.mark.parametrize("cast", [False, True])
def test_what_is_no_real_number_is_refused_in_any_case(values, cast):
    """In particular, no imaginary part is dropped."""
    box = Box(weight=parameter(3.0, 4.0))
    with warnings.catch_warnings(), pytest.raises(InputError, match="weight is ") as refusal:
        warnings.simplefilter("error")
        box.load_state_dict({"weight": values}, cast=cast)
    assert "\n" not in str(refusal.value) and box.weight.data.tolist() == [3.0, 4.0]


def test_a_counter_takes_no_fractions():
    box = box_with_statistics()
    with pytest.raises(InputError, match="steps is of float64, expected int64; it cannot be cast"):
        box.load_state_dict({**box.state_dict(), "steps": np.asarray(1.5)}, cast=True)


def test_byte_order_is_not_a_dtype_and_nan_is_a_value():
    box = Box(weight=parameter(0.0, 0.0))
    values = np.asarray([np.nan, -0.0])
    box.load_state_dict({"weight": values.astype(">f8")})
    assert box.weight.data.dtype == np.float64 and box.weight.data.tobytes() == values.tobytes()


def test_names_that_are_no_text_are_refused_in_one_line():
    with pytest.raises(InputError, match="unknown") as refusal:
        box_with_statistics().load_state_dict({**box_with_statistics().state_dict(), 7: np.ones(2), "x": np.ones(2)})
    assert "\n" not in str(refusal.value)
