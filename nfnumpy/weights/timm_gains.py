"""Files for timm whose gains make timm compute the same function, and their original gains, to the last bit.

A changed gain is rounded, so dividing the change out gives the original gain up to a few units in the last place. These
differences, mostly 0, go into the file's metadata. Used by: loading.py, conversion.py.
Test: reference_tests/weights/test_timm_gains.py.
"""

import base64
import json
import zlib
from collections.abc import Mapping

import numpy as np

from .. import backend as backends
from ..backend.arrays import Array
from ..errors import InputError
from .timm import EPSILON, with_timm_epsilon, without_timm_epsilon

ENTRY = "nfnumpy_timm_gains"  # of the metadata
MEANING = f"gains changed so that timm, which adds {EPSILON} to the weights' variance, computes nfnumpy's function"


def changed_for_timm(state: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, str]]:
    """(state, metadata): `state` of nfnumpy with timm's epsilon undone, and the entry from which it can be restored."""
    changed = without_timm_epsilon(state)
    restored = with_timm_epsilon(changed)
    differences = [_bits(state[name]) - _bits(restored[name]) for name in _gains(state)]
    content = zlib.compress(b"".join(one.tobytes() for one in differences), 9)
    text = json.dumps({"meaning": MEANING, "differences": base64.b64encode(content).decode("ascii")})
    return changed, {ENTRY: text}


def original_state(state: Mapping[str, Array], metadata: Mapping[str, str]) -> dict[str, Array]:
    """The state of nfnumpy that `changed_for_timm` was given; `state` itself where the metadata has no such entry.

    InputError when the entry does not fit the gains.
    """
    if ENTRY not in metadata:
        return dict(state)
    restored = with_timm_epsilon(state)
    content = _content(metadata[ENTRY], sum(_bits(restored[name]).nbytes for name in _gains(state)))
    position = 0
    for name in _gains(state):
        bits = _bits(restored[name])
        differences = np.frombuffer(content, bits.dtype, bits.size, position)
        restored[name] = (bits + differences.astype(bits.dtype)).view(restored[name].dtype)
        position += bits.nbytes
    return restored


def _gains(state: Mapping[str, Array]) -> list[str]:
    return sorted(name for name in state if name.endswith(".gain"))


def _bits(gain: Array) -> np.ndarray:
    """The bits of a gain as unsigned whole numbers, little-endian: neighbours differ by 1, sums wrap around."""
    host = np.ascontiguousarray(backends.to_host(gain))
    return host.view(f"<u{host.dtype.itemsize}")


def _content(text: str, size: int) -> bytes:
    """The `size` bytes in the entry; InputError for any other content. No more than that is decompressed."""
    try:
        packed = base64.b64decode(json.loads(text)["differences"], validate=True)
        reader = zlib.decompressobj()
        content = reader.decompress(packed, size + 1)
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
        content = b""
    if len(content) != size:
        raise InputError(f"its metadata entry {ENTRY!r} does not fit its gains")
    return content
