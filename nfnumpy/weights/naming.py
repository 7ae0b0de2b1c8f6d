"""The names of our networks' parameters: which family they belong to, and how many blocks its stages have.

Used by: haiku.py, timm.py, loading.py, conversion.py. Test: reference_tests/weights/test_weights.py.
"""

import re
from collections.abc import Mapping

from ..backend.arrays import Array
from ..errors import InputError
from .name_tables import NUMBER

PART = r"conv0|conv1|conv1b|conv2|conv_shortcut|squeeze_excite\.fc[01]"
CONVOLUTION = rf"blocks\.({NUMBER})\.(conv[0-9a-z_]*|depthwise|pointwise)\.(?:conv\.)?weight$"
DENSE_LAYER = rf"blocks\.({NUMBER})\.layers\.({NUMBER})\."
FREE_NAME = re.compile(rf"(stem_convs\.({NUMBER})|initial_conv|final_conv|linear|blocks\.({NUMBER})\.({PART}))\."
                      rf"(weight|gain|bias)|blocks\.({NUMBER})\.skip_gain")

OUR_NAME = re.compile(rf"(stem_convs\.({NUMBER})|initial_conv|final_conv|final_norm|linear|blocks\.({NUMBER}))"
                      r"(\.[a-z0-9_]{1,40}){1,6}")  # of any family


def family_of(state: Mapping[str, Array]) -> str:
    """ "NFNet", "NFResNet" or "NFRegNet" for a state of nfnumpy (name -> array); InputError for any other."""
    if not isinstance(state, Mapping):
        raise InputError(f"state: expected a mapping from names to arrays, got a {type(state).__name__}")
    if "stem_convs.0.weight" in state:
        return "NFNet"
    if "initial_conv.weight" in state:
        return "NFRegNet" if "final_conv.weight" in state else "NFResNet"
    example = str(next(iter(state), "nothing"))[:80]
    raise InputError(f"state: expected the names of a normalizer-free network, such as 'initial_conv.weight', got "
                     f"{example!r}")


def check_names(state: Mapping[str, Array], what: str, normalizer_free: bool = False) -> None:
    """InputError unless all names of `state` look like names of our networks' arrays, with blocks numbered from 0.

    what: the kind of weights, for the message; normalizer_free: the names have to be those of such a network.
    """
    form, kind = (FREE_NAME, "a normalizer-free network's parameters") if normalizer_free else (OUR_NAME, "our arrays")
    for name in state:
        if not isinstance(name, str) or not form.fullmatch(name):
            raise InputError(f"{what}: {str(name)[:80]!r} is no name of {kind}")
    if normalizer_free:
        family_of(state)
    block_count(state)


def block_count(state: Mapping[str, Array]) -> int:
    """The number of blocks in a state of nfnumpy; InputError unless they are numbered from 0 without a gap."""
    matches = [re.match(rf"blocks\.({NUMBER})\.", name) for name in state]
    found = {int(block[1]) for block in matches if block}
    if found != set(range(len(found))):
        raise InputError(f"state: its blocks are numbered up to {max(found)}, but there are {len(found)} of them")
    return len(found)


def depths_of(state: Mapping[str, Array]) -> list[int]:
    """The number of blocks in each stage of a state of nfnumpy, of a DenseNet the number of layers in its dense blocks.

    A block begins a stage if it has a shortcut with weights, if it changes the number of channels, or if its weights
    have other shapes than those of a block before it that does neither: in all named variants, a stage begins there.
    """
    layers = {(int(found[1]), int(found[2])) for found in (re.match(DENSE_LAYER, name) for name in state) if found}
    if layers:
        return [sum(block == one for one, _ in layers) for block in sorted({block for block, _ in layers})]
    depths: list[int] = []
    before: dict[str, tuple[int, ...]] = {}
    for convs in _convolutions(state):
        if not depths or _begins_stage(convs, before):
            depths.append(0)
        depths[-1] += 1
        before = convs
    return depths


def _begins_stage(convs: Mapping[str, tuple[int, ...]], before: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a block with these convolutions (name -> shape of the weight) begins a stage after the block `before`."""
    if "conv_shortcut" in convs or not _keeps_channels(convs):
        return True
    return _keeps_channels(before) and "conv_shortcut" not in before and convs != before


def _keeps_channels(convs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a block gives as many channels as it takes."""
    own = sorted(convs.keys() - {"conv_shortcut"})
    return not own or _input_channels(convs[own[0]]) == convs[own[-1]][3:]


def _convolutions(state: Mapping[str, Array]) -> list[dict[str, tuple[int, ...]]]:
    """{name in the block: shape of the weight} of the convolutions of every block."""
    blocks: list[dict[str, tuple[int, ...]]] = [{} for _ in range(block_count(state))]
    for name, array in state.items():
        found = re.match(CONVOLUTION, name)
        if found:
            blocks[int(found[1])][found[2]] = tuple(array.shape)
    return blocks


def _input_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(the number of input channels,) of a convolution of one group, or of one group a channel."""
    depthwise = shape[2:3] == (1,) and shape[:2] != (1, 1)
    return shape[3:] if depthwise else shape[2:3]
