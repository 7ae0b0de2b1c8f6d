"""The names and layouts of keras.applications: EfficientNet and DenseNet, as a dict of variable path -> array.

    from_keras({variable.path: numpy.asarray(variable) for variable in keras_model.weights})

Keras has the channels last, as nfnumpy, so most arrays are only renamed. Its EfficientNets begin with layers that
normalize the image; ours are given normalized images, so the variables of these layers are left out. Its DenseNets add
1.001e-5 to variances where ours add 1e-5: `running_variance` + 1e-8 makes up for it in evaluation.
Used by: weights/__init__.py. Tests: reference_tests/weights/test_keras.py; against Keras:
reference_tests/tools/against_keras.py.
"""

import re
from collections.abc import Mapping, Sequence

from ..backend import namespace
from ..backend.arrays import Array
from ..errors import InputError
from .name_tables import NUMBER, Leaves, Naming, Pairs, Table, most_fitting, places
from .naming import depths_of

KERAS_LEAVES: Leaves = {
    "conv": {"weight": "kernel", "bias": "bias"},
    "linear": {"weight": "kernel", "bias": "bias"},
    "norm": {"gamma": "gamma", "beta": "beta", "running_mean": "moving_mean", "running_variance": "moving_variance"},
}
INPUT_LAYER = re.compile(r"normalization(_[0-9]+)?\.")  # a process numbers them from its second network on


def efficientnet(depths: Sequence[int]) -> Pairs:
    """EfficientNet; the blocks of a stage have letters."""
    yield from (("initial_conv.conv", "stem_conv"), ("initial_conv.norm", "stem_bn"))
    parts = {"conv0.conv": "expand_conv", "conv0.norm": "expand_bn", "conv1.conv": "dwconv", "conv1.norm": "bn",
             "squeeze_excite.fc0": "se_reduce", "squeeze_excite.fc1": "se_expand", "conv2.conv": "project_conv",
             "conv2.norm": "project_bn"}
    for block, stage, position in places(depths):
        yield from ((f"blocks.{block}.{ours}", f"block{stage + 1}{chr(ord('a') + position)}_{theirs}")
                    for ours, theirs in parts.items())
    yield from (("final_conv.conv", "top_conv"), ("final_conv.norm", "top_bn"), ("linear", "predictions"))


def densenet(depths: Sequence[int]) -> Pairs:
    """DenseNet; the dense blocks are numbered from 2."""
    yield from (("initial_conv.conv", "conv1_conv"), ("initial_conv.norm", "conv1_bn"))
    parts = {"norm0": "0_bn", "conv0": "1_conv", "norm1": "1_bn", "conv1": "2_conv"}
    for _, stage, layer in places(depths):
        yield from ((f"blocks.{2 * stage}.layers.{layer}.{ours}", f"conv{stage + 2}_block{layer + 1}_{theirs}")
                    for ours, theirs in parts.items())
    for stage in range(len(depths)):
        ours, theirs = f"blocks.{2 * stage + 1}", f"pool{stage + 2}"
        yield from ((f"{ours}.norm0", f"{theirs}_bn"), (f"{ours}.conv0", f"{theirs}_conv"))
    yield from (("final_norm", "bn"), ("linear", "predictions"))


NAMINGS = (
    Naming("EfficientNet", r"block(?P<stage>[1-9])(?P<position>[a-z])_", efficientnet, KERAS_LEAVES, ("fc0", "fc1"),
           lambda stage, position: (int(stage) - 1, ord(position) - ord("a"))),
    Naming("DenseNet", rf"conv(?P<stage>[2-9])_block(?P<position>{NUMBER})_", densenet, KERAS_LEAVES, (),
           lambda stage, position: (int(stage) - 2, int(position) - 1)),
)


def to_keras(state: Mapping[str, Array]) -> dict[str, Array]:
    """Keras's variables (path -> array) for a state of an EfficientNet or a DenseNet of nfnumpy.

    Without those that normalize the image: a mean of 0 and a variance of 1 take normalized images, if `rescaling` is
    left out too. InputError with a name that Keras lacks.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"state: expected a mapping from names to arrays, got a {type(state).__name__}")
    depths = depths_of(state)
    table, names, unknown = most_fitting((Table(naming, depths) for naming in NAMINGS), Table.theirs, state)
    if unknown or not names:
        example = str(next(iter(unknown), "nothing"))[:80]
        raise InputError(f"state: {example!r} is no name of a network that keras.applications also has")
    result = {}
    for name, theirs in names.items():
        array = state[name]
        xp = namespace(array)
        if theirs.endswith("dwconv.kernel"):
            array = xp.permute_dims(array, (0, 1, 3, 2))
        elif name.endswith(".weight") and name.rpartition(".")[0].endswith(table.naming.as_convolutions):
            array = array[None, None]
        result[theirs.replace(".", "/")] = array
    return result


def from_keras(variables: Mapping[str, Array]) -> dict[str, Array]:
    """The state of nfnumpy for Keras's variables (path -> array) of an EfficientNet or a DenseNet.

    A path may end with ":0", as in older versions. InputError with a wrong path or shape.
    """
    if not isinstance(variables, Mapping) or not all(isinstance(path, str) for path in variables):
        raise InputError("keras weights: expected a mapping from paths of variables to arrays")
    arrays = {path.removesuffix(":0").replace("/", "."): array for path, array in variables.items()}
    wanted = [name for name in arrays if not INPUT_LAYER.match(name)]
    tables = (Table(naming, naming.depths(wanted)) for naming in NAMINGS)
    _, names, unknown = most_fitting(tables, Table.ours, wanted)
    if unknown or not names or len(arrays) != len(variables):
        example = next(iter(unknown), "nothing" if not names else "a path that occurs twice")[:80]
        raise InputError(f"keras weights: {example!r} is no variable of a network that is also here")
    return {our: _our_layout(theirs, our, arrays[theirs]) for theirs, our in names.items()}


def _our_layout(theirs: str, our: str, array: Array) -> Array:
    """Keras's variable `theirs` in the layout of our array `our`."""
    shape = tuple(array.shape)
    if theirs.endswith("dwconv.kernel"):
        if len(shape) == 4 and shape[3] == 1:
            return namespace(array).permute_dims(array, (0, 1, 3, 2))
    elif our.endswith((".fc0.weight", ".fc1.weight")):
        if len(shape) == 4 and shape[:2] == (1, 1):
            return array[0, 0]
    else:
        return array
    raise InputError(f"keras weights: {theirs[:80]!r} has shape {shape}; expected a 1×1 kernel, or that of a depthwise "
                     f"convolution")
