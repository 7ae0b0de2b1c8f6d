"""Which family of networks a state belongs to, told by its names, and where its stages begin."""

from ..errors import InputError


def family_of(state):
    """ "NFNet", "NFResNet" or "NFRegNet" for a state of ours (name -> array); InputError for any other."""
    if "stem_convs.0.weight" in state:
        return "NFNet"
    if "initial_conv.weight" in state:
        return "NFRegNet" if "final_conv.weight" in state else "NFResNet"
    raise InputError(f"state: expected the names of a network of ours, such as 'initial_conv.weight', got "
                     f"{next(iter(state), 'nothing')!r}")


def block_count(state):
    """How many blocks a state of ours describes."""
    return 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=-1)


def stage_positions(state):
    """[(stage, position in stage)] for every block of a state of ours: a stage begins where a shortcut has weights."""
    positions = []
    for block in range(block_count(state)):
        begins = not positions or f"blocks.{block}.conv_shortcut.weight" in state
        positions.append((positions[-1][0] + 1 if positions else 0, 0) if begins else
                         (positions[-1][0], positions[-1][1] + 1))
    return positions


def translated(state, names, what):
    """`state` renamed by the dict `names`; InputError, naming one, when `state` holds others or lacks some of them."""
    for problem, odd in (("unexpected", set(state) - set(names)), ("missing", set(names) - set(state))):
        if odd:
            raise InputError(f"{what}: {problem} {min(odd)!r}, one of {len(odd)} such names")
    return {names[name]: array for name, array in state.items()}
