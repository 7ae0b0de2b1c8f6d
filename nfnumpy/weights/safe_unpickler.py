"""The stack machine that pickles are programs for, with those of its instructions that build plain containers.

A pickle may name any function of any module and have it called; that is how it can carry harm. This machine cannot
import: a name becomes what `admit` makes of it, a function of ours, or an InputError that says the name. It reserves
no memory that a file merely declares: pickletools cuts every argument out of the file, or fails when that is too short.
"""

import collections
import pickletools
import warnings

from ..errors import InputError

INSTRUCTIONS = 500_000  # NFNet-F7 in the longest form, with arrays of JAX in protocol 2, takes about 80,000
LARGEST_KEY = 2**31  # larger ones can be chosen so that all of them hash alike

ARGUMENT = set("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
               "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split())
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

# What a name in the file became: the name, and the function of ours that is called with its arguments, one tuple.
Admitted = collections.namedtuple("Admitted", ["name", "call"])


class Record:
    """An object of ours that a pickle may fill with a state once it is made."""

    def build(self, state):
        """Take `state`, as __setstate__ would."""
        raise NotImplementedError


def run(stream, size, admit, persistent=None):
    """The value of the pickle that begins at the position of `stream`, a seekable file of `size` bytes.

    admit(name): the function of ours for a dotted name, called with one tuple of arguments; persistent(id): the value
    of a persistent id. InputError, one line, for anything but a whole pickle of admitted names and plain containers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools warns of odd escapes in text
            return _run(stream, size, admit, persistent)
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"its pickle is damaged ({type(error).__name__}: {reason})") from None


def _run(stream, size, admit, persistent):
    stack, marks, memo = [], [], {}

    def cut(position):
        """What stands on the stack from `position` on, taken off."""
        if position < 0:
            raise InputError("its pickle takes more off its stack than is there")
        items = stack[position:]
        del stack[position:]
        return items

    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        if count == INSTRUCTIONS:
            raise InputError(f"its pickle has more than {INSTRUCTIONS} instructions; weights need far fewer")
        match instruction.name:
            case name if name in ARGUMENT:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in SHORT_TUPLES:
                stack.append(tuple(cut(len(stack) - SHORT_TUPLES[name])))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(cut(marks.pop())))
            case "LIST":
                stack.append(cut(marks.pop()))
            case "DICT":
                stack.append(_put({}, cut(marks.pop())))
            case "APPEND":
                item = stack.pop()
                _only(list, stack[-1]).append(item)
            case "APPENDS":
                items = cut(marks.pop())
                _only(list, stack[-1]).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _put(stack[-1], [key, value])
            case "SETITEMS":
                items = cut(marks.pop())
                _put(stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                name = argument.replace(" ", ".")
                stack.append(Admitted(name, admit(name)))
            case "STACK_GLOBAL":
                attribute, module = _only(str, stack.pop()), _only(str, stack.pop())
                name = f"{module}.{attribute}"
                stack.append(Admitted(name, admit(name)))
            case "REDUCE":
                arguments, function = _only(tuple, stack.pop()), _only(Admitted, stack.pop())
                stack.append(function.call(arguments))
            case "BUILD":
                state = stack.pop()
                if type(stack[-1]) is not dict:  # the attributes of an ordered dict say nothing about weights
                    _only(Record, stack[-1]).build(state)
            case "BINPERSID" if persistent is not None:
                stack.append(persistent(stack.pop()))
            case "BINPERSID" | "PERSID":
                raise InputError("its pickle refers to something outside the file by a persistent id")
            case "PROTO":
                if argument > 5:
                    raise InputError(f"its pickle is of protocol {argument}; 5 is the newest known")
            case "FRAME":
                if argument > size - stream.tell():
                    raise InputError(f"its pickle declares a frame of {argument} bytes, more than the file has")
            case "STOP":
                if len(stack) != 1:
                    raise InputError(f"its pickle ends with {len(stack)} values instead of one")
                return stack[0]
            case name:
                raise InputError(f"its pickle holds the instruction {name}, which containers of arrays never need")
    raise InputError("its pickle has no end")


def _only(kind, value):
    """`value`, when it is exactly of the type `kind`, or a Record where one is asked for."""
    if type(value) is not kind and not (kind is Record and isinstance(value, Record)):
        wanted = {Admitted: "a global", Record: "an array"}.get(kind, f"a {kind.__name__}")
        raise InputError(f"its pickle uses a value of type {type(value).__name__} as {wanted}")
    return value


def _put(mapping, items):
    """Put the alternating keys and values `items` into the dict `mapping`."""
    _only(dict, mapping)
    if len(items) % 2:
        raise InputError("its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2]):
        if type(key) is not str and not (type(key) is int and abs(key) < LARGEST_KEY):
            raise InputError(f"its pickle has a key of type {type(key).__name__}, expected a name")
        mapping[key] = value
    return mapping
