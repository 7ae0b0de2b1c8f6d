"""A pickle reader that cannot import: the stack machine of pickles, with the instructions for plain containers.

A pickle is a program, and Python's own reader calls every function that it names. Here `admit` turns a name into a
function of this package, or raises an InputError with the name. A size that a file declares reserves no memory:
pickletools reads every argument from the file, and fails when the file is too short.
Used by: numpy_pickles.py, torch_containers.py. Test: reference_tests/weights/test_hostile.py.
"""

import mmap
import pickletools
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from ..errors import InputError

INSTRUCTIONS = 500_000  # NFNet-F7 in the longest form, with arrays of JAX in protocol 2, takes about 80,000
NEWEST_PROTOCOL = 5
LARGEST_KEY = 2**31  # larger ones can be chosen so that all of them have one hash

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Admitted(NamedTuple):
    """A name in the file and the function of this package that replaces it, called with one tuple of arguments."""

    name: str
    call: Callable[[tuple], Any]


class Record:
    """An object that is created first and given its state by a later instruction of the pickle."""

    def build(self, state: Any) -> None:
        """Set the object's state, as __setstate__ does."""
        raise NotImplementedError


def run(stream: BinaryIO | mmap.mmap, size: int, admit: Callable[[str], Callable[[tuple], Any]],
        persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle that begins at the position of `stream`, a seekable file of `size` bytes.

    admit(name): the function that replaces a dotted name, called with one tuple of arguments; persistent(id): the value
    of a persistent id. InputError, one line, for anything but a whole pickle of admitted names and plain containers.
    """
    machine = _Machine(stream, size, admit, persistent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools warns of unknown escapes in text
            return machine.run()
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"its pickle is damaged ({type(error).__name__}: {reason})") from None


class _Machine:
    """A stack, the positions of marks on it, and the memo; one method for each kind of instruction."""

    def __init__(self, stream, size, admit, persistent):
        self.stream = stream
        self.size = size
        self.admit = admit
        self.persistent = persistent
        self.stack = []
        self.marks = []
        self.memo = {}

    def run(self):
        """Execute the instructions up to STOP; returns the one value that is then on the stack."""
        for count, (instruction, argument, _) in enumerate(pickletools.genops(self.stream)):
            if count == INSTRUCTIONS:
                raise InputError(f"its pickle has more than {INSTRUCTIONS} instructions; weights need far fewer")
            if instruction.name == "STOP":
                return self.result()
            method = METHODS.get(instruction.name)
            if method is None:
                raise InputError(f"its pickle holds the instruction {instruction.name}, which containers of arrays "
                                 f"never need")
            method(self, argument)
        raise InputError("its pickle has no end")

    def result(self):
        if len(self.stack) != 1:
            raise InputError(f"its pickle ends with {len(self.stack)} values instead of one")
        return self.stack[0]

    # ---- the stack

    def cut(self, position):
        """Remove the values from `position` on from the stack and return them."""
        if position < 0:
            raise InputError("its pickle takes more off its stack than is there")
        items = self.stack[position:]
        del self.stack[position:]
        return items

    def cut_to_mark(self):
        """Remove the last mark, and the values above it from the stack; returns the values."""
        return self.cut(self.marks.pop())

    def mark(self, argument):
        self.marks.append(len(self.stack))

    def push(self, argument):
        self.stack.append(argument)

    # ---- containers

    def push_dict(self, argument):
        self.stack.append({})

    def push_list(self, argument):
        self.stack.append([])

    def tuple_of_marked(self, argument):
        self.stack.append(tuple(self.cut_to_mark()))

    def list_of_marked(self, argument):
        self.stack.append(self.cut_to_mark())

    def dict_of_marked(self, argument):
        self.stack.append(_put({}, self.cut_to_mark()))

    def append(self, argument):
        item = self.stack.pop()
        _only(list, self.stack[-1]).append(item)

    def append_marked(self, argument):
        items = self.cut_to_mark()
        _only(list, self.stack[-1]).extend(items)

    def set_item(self, argument):
        value = self.stack.pop()
        key = self.stack.pop()
        _put(self.stack[-1], [key, value])

    def set_marked(self, argument):
        items = self.cut_to_mark()
        _put(self.stack[-1], items)

    # ---- the memo

    def put(self, argument):
        self.memo[argument] = self.stack[-1]

    def memoize(self, argument):
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, argument):
        self.stack.append(self.memo[argument])

    # ---- names and calls

    def admit_name(self, name):
        self.stack.append(Admitted(name, self.admit(name)))

    def global_name(self, argument):
        self.admit_name(argument.replace(" ", "."))

    def stacked_name(self, argument):
        attribute = _only(str, self.stack.pop())
        module = _only(str, self.stack.pop())
        self.admit_name(f"{module}.{attribute}")

    def call(self, argument):
        arguments = _only(tuple, self.stack.pop())
        function = _only(Admitted, self.stack.pop())
        self.stack.append(function.call(arguments))

    def build(self, argument):
        state = self.stack.pop()
        if type(self.stack[-1]) is not dict:  # the attributes of an ordered dict say nothing about weights
            _only(Record, self.stack[-1]).build(state)

    def persistent_value(self, argument):
        if self.persistent is None:
            self.refuse_persistent(argument)
        self.stack.append(self.persistent(self.stack.pop()))

    def refuse_persistent(self, argument):
        raise InputError("its pickle refers to something outside the file by a persistent id")

    # ---- facts about the file

    def protocol(self, argument):
        if argument > NEWEST_PROTOCOL:
            raise InputError(f"its pickle is of protocol {argument}; {NEWEST_PROTOCOL} is the newest known")

    def frame(self, argument):
        if argument > self.size - self.stream.tell():
            raise InputError(f"its pickle declares a frame of {argument} bytes, more than the file has")


def _push_constant(value):
    return lambda machine, argument: machine.push(value)


def _push_tuple(count):
    return lambda machine, argument: machine.push(tuple(machine.cut(len(machine.stack) - count)))


PUSHED = ("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
          "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8").split()
METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(PUSHED, _Machine.push),
    **{name: _push_constant(value) for name, value in CONSTANTS.items()},
    **{name: _push_tuple(count) for name, count in SHORT_TUPLES.items()},
    "EMPTY_DICT": _Machine.push_dict, "EMPTY_LIST": _Machine.push_list, "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_of_marked, "LIST": _Machine.list_of_marked, "DICT": _Machine.dict_of_marked,
    "APPEND": _Machine.append, "APPENDS": _Machine.append_marked,
    "SETITEM": _Machine.set_item, "SETITEMS": _Machine.set_marked,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put, "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_name, "STACK_GLOBAL": _Machine.stacked_name,
    "REDUCE": _Machine.call, "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_value, "PERSID": _Machine.refuse_persistent,
    "PROTO": _Machine.protocol, "FRAME": _Machine.frame,
}


def _only(kind, value):
    """`value`, when it is exactly of the type `kind`, or any Record where that is expected."""
    if type(value) is not kind and not (kind is Record and isinstance(value, Record)):
        wanted = {Admitted: "a global", Record: "an array"}.get(kind, f"a {kind.__name__}")
        raise InputError(f"its pickle uses a value of type {type(value).__name__} as {wanted}")
    return value


def _put(mapping, items):
    """Put the alternating keys and values `items` into the dict `mapping`."""
    _only(dict, mapping)
    if len(items) % 2:
        raise InputError("its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str and not (type(key) is int and abs(key) < LARGEST_KEY):
            raise InputError(f"its pickle has a key of type {type(key).__name__}, expected a name")
        mapping[key] = value
    return mapping
