"""Pickles assembled instruction by instruction, which Python's pickler would not write, for hostile_files.py."""

import os
import pickle
import struct

import numpy as np

# Instructions of the pickle machine.
MARK, STOP, TUPLE, REDUCE, BUILD, EMPTY_DICT, SETITEM, EMPTY_TUPLE = b"(", b".", b"t", b"R", b"b", b"}", b"s", b")"
PROTO2, PROTO4, NONE, FALSE, TRUE = b"\x80\x02", b"\x80\x04", b"N", b"\x89", b"\x88"


def named(module, name):
    """The instruction that looks up a global."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value):
    """The instruction that pushes a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def short_text(value):
    """The instruction of protocol 4 that pushes a string."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def number(value):
    """The instruction that pushes a whole number of any size."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(content)) + content


def raw(content):
    """The instruction that pushes bytes."""
    return b"B" + struct.pack("<I", len(content)) + content


def tuple_of(*items):
    """The instructions that push a tuple."""
    return MARK + b"".join(items) + TUPLE


def call(function, *arguments):
    """The instructions that call what `function` pushes."""
    return function + tuple_of(*arguments) + REDUCE


def dict_of(**items):
    """The instructions that push a dict with these values."""
    return EMPTY_DICT + b"".join(text(name) + value + SETITEM for name, value in items.items())


def touching(canary):
    """The instructions that make the file `canary`, which no reader may ever do."""
    return call(named("posix", "system"), text(f"touch {canary}"))


EMPTY_ARRAY = call(named("numpy.core.multiarray", "_reconstruct"), named("numpy", "ndarray"), tuple_of(number(0)),
                   raw(b"b"))


def dtype(name="f4", order="<", *, fields=NONE):
    """The instructions that make an element type."""
    return call(named("numpy", "dtype"), text(name), FALSE, TRUE) + \
        tuple_of(number(3), text(order), NONE, fields, fields, number(-1), number(-1), number(0)) + BUILD


FLOAT32 = dtype()
ZEROS = raw(bytes(8))


def array(content=ZEROS, shape=(2,), of=FLOAT32):
    """The instructions that make an array."""
    return EMPTY_ARRAY + tuple_of(number(1), tuple_of(*map(number, shape)), of, FALSE, content) + BUILD


def whole(*parts):
    """A pickle of protocol 2."""
    return PROTO2 + b"".join(parts) + STOP


def tree(value):
    """A pickle of the authors' two-level dict with one `value` in it, beside an array that is as it should be."""
    return whole(dict_of(**{"NFNet/~/stem_conv0": dict_of(bias=array(), w=value)}))


def shared_dicts():
    """Ten dicts, each with the one before under a hundred names: 100¹⁰ arrays for a reader that visits all of them."""
    levels = {"0": dict_of(w=array()) + b"q\x00"}
    for level in range(1, 10):
        levels[str(level)] = dict_of(**{str(k): b"h" + bytes([level - 1]) for k in range(100)}) + b"q" + bytes([level])
    return whole(dict_of(**levels))


def one_buffer_a_thousand_times():
    """A megabyte of protocol 2's text, made into bytes and arrays a thousand times."""
    again = call(named("_codecs", "encode"), b"h\x07", text("latin1"))
    return whole(dict_of(text=text("a" * 2**20) + b"q\x07", **{str(k): array(again, (2**18,)) for k in range(1000)}))


def block_number(written):
    """The authors' tree with one block of that number."""
    return pickle.dumps({"NFNet/~/stem_conv0": {"w": np.ones(1)},
                         f"NFNet/~/nf_block_{written}": {"skip_gain": np.ones(1)}})


class Touch:
    """Pickled by Python's own pickler, this calls os.system."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)
