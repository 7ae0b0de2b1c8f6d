"""The names and layouts of timm's models: outputs first, gains (C, 1, 1, 1), squeeze-and-excite as 1×1 convolutions.

The renaming is exact. The networks differ slightly: timm's dm_ models add 1e-5 to the variance of the weights and use
the erf GELU; its nfnet_* models without dm_ fold gamma into the weights and are not these networks.
"""

import re

from ..backend import namespace
from ..errors import InputError
from .families import family_of, stage_positions, translated

PARTS = {"conv0": "conv1", "conv1": "conv2", "conv1b": "conv2b", "conv2": "conv3", "conv_shortcut": "downsample.conv"}


def _timm_name(name, family, positions):
    """timm's name of one of ours."""
    name = re.sub(r"^stem_convs\.(\d+)", lambda k: f"stem.conv{int(k[1]) + 1}", name)
    name = re.sub(r"^initial_conv", "stem.conv", name)
    name = re.sub(r"^linear\.", "head.fc.", name)
    block = re.match(r"blocks\.(\d+)\.([a-z0-9_]+)(.*)$", name)
    if block is None:
        return name
    stage, position = positions[int(block[1])]
    part = {**PARTS, "skip_gain": "skipinit_gain",
            "squeeze_excite": "attn" if family == "NFRegNet" else "attn_last"}.get(block[2], f"?{block[2]}")
    rest = block[3].replace(".fc1", ".fc2").replace(".fc0", ".fc1")
    return f"stages.{stage}.{position}.{part}{rest}"


def _names(state):
    """Our name -> timm's, for a state of ours."""
    family, positions = family_of(state), stage_positions(state)
    return {name: _timm_name(name, family, positions) for name in state}


def to_timm(state):
    """timm's state (name -> array) for a state of ours of any family."""
    names, result = _names(state), {}
    for name, array in state.items():
        xp = namespace(array)
        if name.endswith(".gain"):
            array = xp.reshape(array, (-1, 1, 1, 1))
        elif name.endswith(".weight") and array.ndim == 4:
            array = xp.permute_dims(array, (3, 2, 0, 1))
        elif name.endswith(".weight"):
            array = xp.permute_dims(array, (1, 0))
            if "squeeze_excite" in name:
                array = array[:, :, None, None]
        result[names[name]] = array
    return result


def from_timm(state):
    """Our state (name -> array) for the state of one of timm's normalizer-free models.

    InputError, naming the name, when it is not one.
    """
    blocks = sorted({(int(s), int(b)) for s, b in re.findall(r"(?:^|\n)stages\.(\d+)\.(\d+)\.", "\n".join(state))})
    index = {place: k for k, place in enumerate(blocks)}
    names = {name: _our_name(name, index) for name in state}
    ours = {names[name]: _our_layout(name, array) for name, array in state.items()}
    back = {timm: our for our, timm in _names(ours).items()}
    return {our: ours[our] for our in translated(state, back, "timm weights")}


def _our_name(name, index):
    """Our name of one of timm's."""
    name = re.sub(r"^stem\.conv(\d+)\.", lambda k: f"stem_convs.{int(k[1]) - 1}.", name)
    name = re.sub(r"^stem\.conv\.", "initial_conv.", name)
    name = re.sub(r"^head\.fc\.", "linear.", name)
    block = re.match(r"stages\.(\d+)\.(\d+)\.(.*)$", name)
    if block is None:
        return name
    rest = block[3].replace("skipinit_gain", "skip_gain").replace("downsample.conv.", "conv_shortcut.")
    rest = re.sub(r"^attn(?:_last)?\.fc(\d)", lambda k: f"squeeze_excite.fc{int(k[1]) - 1}", rest)
    rest = re.sub(r"^(conv1|conv2b|conv2|conv3)\.", lambda k: {timm: ours for ours, timm in PARTS.items()}[k[1]] + ".",
                  rest)
    return f"blocks.{index[int(block[1]), int(block[2])]}.{rest}"


def _our_layout(name, array):
    """One of timm's arrays in our layout."""
    xp = namespace(array)
    if name.endswith(".gain"):
        return xp.reshape(array, (-1,))
    if not name.endswith(".weight"):
        return array
    if array.ndim not in (2, 4):
        raise InputError(f"timm weights: {name!r} has shape {tuple(array.shape)}, expected two or four axes")
    if array.ndim == 4 and ".attn" not in name:
        return xp.permute_dims(array, (2, 3, 1, 0))
    return xp.permute_dims(array[:, :, 0, 0] if array.ndim == 4 else array, (1, 0))
