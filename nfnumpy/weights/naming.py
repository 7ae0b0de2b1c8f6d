"""The names of our networks' parameters: which family they belong to, and where its stages begin.

Used by: haiku.py, timm.py, loading.py, conversion.py. Test: reference_tests/weights/test_weights.py.
"""

import re
from collections.abc import Mapping

from ..backend.arrays import Array
from ..errors import InputError

NUMBER = r"0|[1-9]\d{0,4}"  # of a block; names come from files, where a number can have any length
PART = r"conv0|conv1|conv1b|conv2|conv_shortcut|squeeze_excite\.fc[01]"
OUR_NAME = re.compile(rf"(stem_convs\.({NUMBER})|initial_conv|final_conv|linear|blocks\.({NUMBER})\.({PART}))\."
                      rf"(weight|gain|bias)|blocks\.({NUMBER})\.skip_gain")


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


def check_names(state: Mapping[str, Array], what: str, theirs: Mapping[str, str] | None = None) -> None:
    """InputError unless all names of `state` are names of our networks' parameters, with blocks numbered from 0.

    what: the kind of weights, for the message; theirs: our name -> the name from which it was translated.
    """
    for name in state:
        if not isinstance(name, str) or not OUR_NAME.fullmatch(name):
            given = str((theirs or {}).get(name, name))[:80]
            raise InputError(f"{what}: {given!r} is no name of a normalizer-free network's parameters")
    family_of(state)
    block_count(state)


def block_count(state: Mapping[str, Array]) -> int:
    """The number of blocks in a state of nfnumpy; InputError unless they are numbered from 0 without a gap."""
    matches = [re.match(rf"blocks\.({NUMBER})\.", name) for name in state]
    found = {int(block[1]) for block in matches if block}
    if found != set(range(len(found))):
        raise InputError(f"state: its blocks are numbered up to {max(found)}, but there are {len(found)} of them")
    return len(found)


def stage_positions(state: Mapping[str, Array]) -> list[tuple[int, int]]:
    """[(stage, position in stage)] of every block in a state of nfnumpy: a shortcut with weights begins a stage."""
    positions = []
    stage = -1
    position = 0
    for block in range(block_count(state)):
        if block == 0 or f"blocks.{block}.conv_shortcut.weight" in state:
            stage += 1
            position = 0
        else:
            position += 1
        positions.append((stage, position))
    return positions


def renamed(state: Mapping[str, Array], names: Mapping[str, str], what: str) -> dict[str, Array]:
    """`state` renamed by the dict `names`; InputError, with an example, for names that are unexpected or missing."""
    differences = {"unexpected": set(state) - set(names), "missing": set(names) - set(state)}
    for problem, wrong in differences.items():
        if wrong:
            raise InputError(f"{what}: {problem} {min(wrong)[:80]!r}, one of {len(wrong)} such names")
    return {names[name]: array for name, array in state.items()}
