"""Files that pretend to be weights: programs, wrong sizes, damage; and part of the line that refuses each."""

import io
import json
import pickle
import struct
import warnings
import zipfile

import numpy as np
import torch

from reference_tests.helpers.pickle_programs import (
    BUILD,
    EMPTY_DICT,
    FALSE,
    MARK,
    NONE,
    PROTO4,
    REDUCE,
    SETITEM,
    STOP,
    TRUE,
    Touch,
    array,
    block_number,
    call,
    dict_of,
    dtype,
    named,
    number,
    one_buffer_a_thousand_times,
    raw,
    shared_dicts,
    short_text,
    text,
    touching,
    tree,
    tuple_of,
    whole,
)


def pickles(canary):
    """readable name -> (part of the refusal, content) of a hostile pickle."""
    good = pickle.dumps({"NFNet/~/stem_conv0": {"w": np.ones((3, 3, 3, 16), "f4")}}, protocol=4)
    system = touching(canary)
    return {
        "os.system in protocol 0": ("global 'posix.system'", pickle.dumps(Touch(canary), protocol=0)),
        "os.system in protocol 2": ("global 'posix.system'", pickle.dumps(Touch(canary), protocol=2)),
        "os.system in protocol 4": ("global 'posix.system'", pickle.dumps(Touch(canary), protocol=4)),
        "os.system in protocol 5": ("global 'posix.system'", pickle.dumps(Touch(canary), protocol=5)),
        "os.system among the authors' arrays": ("global 'posix.system'", tree(system)),
        "os.system as a name": ("global 'posix.system'", whole(dict_of(a=array(), b=system))),
        "os.system before the weights, its result thrown away": (
            "global 'posix.system'", whole(system, b"0", dict_of(a=array()))),
        "os.system as the function of a JAX array": ("global 'posix.system'", tree(call(
            named("jax._src.array", "_reconstruct_array"), named("posix", "system"), tuple_of(text(f"touch {canary}")),
            NONE, EMPTY_DICT))),
        "os.system as the function of a dill array": ("global 'posix.system'", tree(call(
            named("dill._dill", "_create_array"), named("posix", "system"), tuple_of(text(f"touch {canary}")), NONE,
            NONE))),
        "os.system in the metadata of an element type": ("global 'posix.system'", tree(array(of=dtype(fields=system)))),
        "eval": ("global 'builtins.eval'", tree(call(named("builtins", "eval"), text(f"open({str(canary)!r}, 'w')")))),
        "exec by its name in Python 2": (
            "global '__builtin__.eval'", tree(call(named("__builtin__", "eval"), text(f"open({str(canary)!r}, 'w')")))),
        "getattr on the way to os.system": (
            "global 'builtins.getattr'",
            tree(call(named("builtins", "getattr"), named("numpy", "ndarray"), text("x")))),
        "a function of NumPy that runs a string": ("global 'numpy.testing._private.utils.runstring'", tree(call(
            named("numpy.testing._private.utils", "runstring"), text(f"open({str(canary)!r}, 'w')"), EMPTY_DICT))),
        "numpy.load": ("global 'numpy.load'", tree(call(named("numpy", "load"), text("/etc/passwd")))),
        "a name that walks through attributes": (
            "global 'numpy.core.os.system'",
            PROTO4 + short_text("numpy") + short_text("core.os.system") + b"\x93" + STOP),
        "a name with line breaks and colours": (
            "os\\n\\x1b[31m!.sy\\nstem",
            PROTO4 + short_text("os\n\x1b[31m!") + short_text("sy\nstem") + b"\x93" + STOP),
        "a class made by INST": (
            "holds the instruction INST", b"(S'touch " + str(canary).encode() + b"'\niposix\nsystem\n."),
        "a class made by OBJ": (
            "global 'posix.system'", whole(MARK, named("posix", "system"), text(f"touch {canary}"), b"o")),
        "a class made by NEWOBJ": (
            "global 'subprocess.Popen'",
            whole(named("subprocess", "Popen"), tuple_of(text(f"touch {canary}")), b"\x81")),
        "an admitted name made by OBJ": (
            "holds the instruction OBJ", whole(MARK, named("numpy", "dtype"), text("f4"), b"o")),
        "an admitted name made by NEWOBJ": (
            "holds the instruction NEWOBJ",
            whole(named("numpy", "ndarray"), tuple_of(tuple_of(number(10**12))), b"\x81")),
        "an extension code of copyreg": ("holds the instruction EXT1", whole(b"\x82\x01")),
        "a persistent id": ("persistent id", whole(text("elsewhere"), b"Q")),
        "a persistent id in text": ("persistent id", b"(Pelsewhere\n."),
        "a buffer outside the file": ("holds the instruction NEXT_BUFFER", b"\x80\x05\x97" + STOP),
        "a state for a name that is admitted": (
            "global 'posix.system'", whole(named("numpy", "dtype"), dict_of(call=system), BUILD)),
        "a call of what is no function": ("as a global", whole(text("numpy"), tuple_of(text("x")), REDUCE)),
        "a call of ndarray with any shape": (
            "by calling its type", tree(call(named("numpy", "ndarray"), tuple_of(number(10**12))))),
        "reconstruct with a shape of its own": ("a type of its own", tree(call(
            named("numpy.core.multiarray", "_reconstruct"), text("ndarray"), tuple_of(number(10**12)), raw(b"d")))),
        "an array of objects": (
            "array of Python objects", pickle.dumps({"m": {"w": np.array([Touch(canary)], dtype=object)}}, protocol=4)),
        "an array of objects made of numbers": ("array of Python objects", tree(array(b"]", (0,), dtype("O8", "|")))),
        "an array with fields": (
            "expected numbers of at most 8 bytes",
            pickle.dumps({"m": {"w": np.zeros(2, [("a", "f4"), ("b", "f4")])}}, protocol=4)),
        "numbers with fields": ("not plain numbers", tree(array(of=dtype(fields=tuple_of(text("a")))))),
        "an array of a type that is none": ("a type of its own", tree(call(
            named("numpy.core.multiarray", "_reconstruct"), named("numpy", "dtype"), tuple_of(number(0)), raw(b"b")))),
        "a JAX array made by another function": ("not made as NumPy makes them", tree(call(
            named("jax._src.array", "_reconstruct_array"), named("numpy", "dtype"), tuple_of(text("f4")), NONE, NONE))),
        "an array of strings": (
            "expected numbers of at most 8 bytes", pickle.dumps({"m": {"w": np.array(["a", "b"])}}, protocol=2)),
        "a scalar of gigabytes": (
            "expected numbers of at most 8 bytes", tree(call(named("numpy.core.multiarray", "scalar"), call(
            named("numpy", "dtype"), text("V4000000000"), FALSE, TRUE), raw(b"")))),
        "more elements than bytes": ("declares an array of 4000000000000 bytes", tree(array(shape=(10**12,)))),
        "fewer elements than bytes": ("declares an array of 4 bytes", tree(array(shape=(1,)))),
        "a shape of numbers with a million digits": (
            "not described as NumPy describes", tree(array(shape=(10**1_000_000, 10**1_000_000)))),
        "a negative shape": ("not described as NumPy describes", tree(array(shape=(-1, -2)))),
        "a shape of 100 axes": ("not described as NumPy describes", tree(array(shape=(1,) * 99 + (2,)))),
        "a frombuffer that reads past its buffer": (
            "declares an array of 8000000000 bytes",
            whole(call(named("numpy._core.numeric", "_frombuffer"), raw(bytes(8)), dtype("f8"), tuple_of(number(10**9)),
                       text("C")))),
        "bytes longer than the file, 64-bit": (
            "damaged", b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc" + STOP),
        "bytes longer than memory": (
            "damaged", b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1) + b"abc" + STOP),
        "text longer than the file": ("damaged", b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc" + STOP),
        "a bytearray longer than the file": (
            "damaged", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc" + STOP),
        "a number longer than the file": ("damaged", whole(b"\x8b", struct.pack("<i", 2**30), b"abc")),
        "a number of negative length": ("damaged", whole(b"\x8b", struct.pack("<i", -1))),
        "a number of a hundred thousand decimal digits": ("damaged", b"(L" + b"9" * 100_000 + b"L\n."),
        "a frame longer than the file": (
            "declares a frame", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + EMPTY_DICT + STOP),
        "a memo index of two billion": (
            "is not names with arrays", whole(EMPTY_DICT, b"r", struct.pack("<I", 2**31 - 1))),
        "one buffer a thousand times": ("more bytes of arrays than the file has", one_buffer_a_thousand_times()),
        "shared dicts, a billion laughs": ("one dict in several places", shared_dicts()),
        "a dict that holds itself": (
            "one dict in several places", whole(EMPTY_DICT, b"q\x00", text("a"), b"h\x00", SETITEM)),
        "lists a hundred thousand deep": ("is not names with arrays", whole(b"]" * 100_000, b"a" * 99_999)),
        "dicts a thousand deep": (
            "nests more than 8", whole(*(EMPTY_DICT + text("a") for _ in range(1000)), array(), SETITEM * 1000)),
        "half a million marks and more": ("more than 500000 instructions", whole(MARK * 500_001)),
        "keys that all hash alike": (
            "key of type int", whole(EMPTY_DICT, *(number(k * (2**61 - 1)) + NONE + SETITEM for k in range(1, 2000)))),
        "a key that is an array": ("key of type UnfilledArray", whole(EMPTY_DICT, array(), NONE, SETITEM)),
        "a key without a value": ("key without a value", whole(EMPTY_DICT, MARK, text("a"), b"u")),
        "an empty stack": ("ends with 0 values", whole()),
        "a tuple of more than is there": ("more off its stack", whole(b"\x87")),
        "a value left on the stack": ("ends with 2 values", whole(NONE, EMPTY_DICT)),
        "something never put away": ("damaged", whole(b"h\x05")),
        "an unknown instruction": ("damaged", whole(b"\xfe")),
        "a protocol of the future": ("protocol 9", b"\x80\x09" + good[2:]),
        "no end": ("declares a frame", good[:-1]),
        "cut in an array": ("declares a frame", good[:-300]),
        "cut in a name": ("declares a frame", good[:20]),
        "no end, without frames": ("damaged", tree(array())[:-1]),
        "cut in an array, without frames": ("damaged", tree(array())[:-30]),
        "bytes after the end": ("7 bytes follow", good + b"garbage"),
        "a second pickle after the end": ("bytes follow", good + pickle.dumps(Touch(canary), protocol=2)),
        "block number a billion": ("is no name of a", block_number("999999999")),
        "block number of ten thousand digits": ("is no name of a", block_number("9" * 10_000)),
        "block number 7 of one": ("numbered up to 7", block_number("7")),
        "text with a brace where safetensors has one": ("its str is not names", whole(text("a{b"))),
        "a number and nothing else": ("is not names with arrays", pickle.dumps(5)),
        "an empty dict": ("is not names with arrays", pickle.dumps({})),
        "a list of arrays": ("is not names with arrays", pickle.dumps([np.ones(3)])),
    }


def torch_file(value, legacy=False):
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def repacked(content, alter=lambda name, data: data, more=(), compressed="none"):
    """The zip archive `content` with its members altered, others added, and those with that ending compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a repeated name
        for name, data in [*((name, alter(name, old.read(name))) for name in old.namelist()), *more]:
            new.writestr(name, data, zipfile.ZIP_DEFLATED if name.endswith(compressed) else zipfile.ZIP_STORED)
    return stream.getvalue()


def with_pickle(content, change):
    """The zip archive `content` with `change` made to its data.pkl."""
    return repacked(content, lambda name, data: change(data) if name.endswith("data.pkl") else data)


def patched(content, position, value):
    """`content` with the bytes `value` at `position`, negative ones counted from the end."""
    position %= len(content)
    return content[:position] + value + content[position + len(value):]


def torch_files(canary):
    """readable name -> (part of the refusal, content) of a hostile file of PyTorch."""
    state = {"a": torch.arange(4.0), "b": torch.arange(6.0)}
    good, legacy = torch_file(state), torch_file(state, legacy=True)
    folder = zipfile.ZipFile(io.BytesIO(good)).namelist()[0].partition("/")[0]
    directory = struct.unpack("<I", good[-6:-2])[0]
    storage = tuple_of(text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu"), number(4)) + b"Q"

    def tensor(shape, strides, offset=0, *more):
        return whole(dict_of(a=call(
            named("torch._utils", "_rebuild_tensor_v2"), storage, number(offset), tuple_of(*map(number, shape)),
            tuple_of(*map(number, strides)), FALSE, call(named("collections", "OrderedDict")), *more)))

    huge = struct.pack("<q", 2**40)
    return {
        "os.system in data.pkl": ("global 'posix.system'", with_pickle(good, lambda data: whole(touching(canary)))),
        "os.system beside the tensors": ("global 'posix.system'", torch_file({**state, "c": Touch(canary)})),
        "a bytearray of a terabyte": ("global 'builtins.bytearray'", with_pickle(good, lambda data: whole(
            call(named("builtins", "bytearray"), number(10**12))))),
        "a whole module": ("global 'torch.nn.modules.linear.Linear'", torch_file(torch.nn.Linear(2, 2))),
        "a zip bomb": (
            "member, 'archive/data/2'",
            repacked(good, more=[(f"{folder}/data/2", bytes(2**26))], compressed="/data/2")),
        "a zip bomb in data.pkl": (
            "member, 'archive/data.pkl'",
            repacked(good, lambda name, data: whole(raw(bytes(2**26))) if "pkl" in name else data,
                     compressed="/data.pkl")),
        "members that overlap": (
            "overlaps the member", patched(good, good.index(b"PK\x01\x02", directory + 4) + 42, struct.pack("<I", 0))),
        "a member larger than the archive": (
            "overlaps the member", patched(good, directory + 20, struct.pack("<II", 2**31, 2**31))),
        "a member that declares more than it holds": (
            "member, 'archive/data.pkl'", patched(good, directory + 24, struct.pack("<I", 2**31))),
        "a storage larger than its member": (
            "and holds 16", with_pickle(good, lambda data: data.replace(b"K\x04", b"K\x63"))),
        "a storage that is not there": (
            "and holds 0", with_pickle(good, lambda data: tensor((4,), (1,)).replace(text("0"), text("7")))),
        "a tensor beyond its storage": (
            "beyond its storage", with_pickle(good, lambda data: tensor((4,), (1,), offset=1))),
        "a tensor far beyond its storage": (
            "beyond its storage", with_pickle(good, lambda data: tensor((2, 2), (2**40, 1)))),
        "a tensor of 0 strides and a terabyte": (
            "declares 4398046511104 bytes of tensors", with_pickle(good, lambda data: tensor((2**40,), (0,)))),
        "a tensor of negative strides": (
            "not described as PyTorch", with_pickle(good, lambda data: tensor((4,), (-1,), offset=3))),
        "a tensor of nothing times everything": (
            "not described as PyTorch", with_pickle(good, lambda data: tensor((0, 2**62), (1, 1)))),
        "a tensor of nothing with more axes than strides": (
            "not described as PyTorch", with_pickle(good, lambda data: tensor((0, 2), (1,)))),
        "a tensor of a hundred axes": (
            "not described as PyTorch", with_pickle(good, lambda data: tensor((1,) * 100, (1,) * 100))),
        "a tensor that is negated by its metadata": (
            "has other metadata", with_pickle(good, lambda data: tensor((4,), (1,), 0, dict_of(neg=TRUE)))),
        "a storage made by calling its class": (
            "by calling its type", with_pickle(good, lambda data: whole(dict_of(a=call(
                named("torch", "FloatStorage"), number(10**12)))))),
        "a tensor of a storage's class": ("not described as PyTorch", with_pickle(good, lambda data: whole(dict_of(
            a=call(named("torch._utils", "_rebuild_tensor_v2"), named("torch", "FloatStorage"), number(0), tuple_of(),
                   tuple_of()))))),
        "a tensor filled with a state": ("as an array", with_pickle(good, lambda data: (
            tensor((4,), (1,)).removesuffix(SETITEM + STOP) + NONE + BUILD + SETITEM + STOP))),
        "a byte order of three hundred letters": ("unknown byte order", repacked(
            good, lambda name, data: b"big" * 100 if name.endswith("byteorder") else data)),
        "a persistent id that is no storage": ("persistent id", with_pickle(good, lambda data: whole(tuple_of(
            text("module"), named("torch", "FloatStorage"), text("0"), text("cpu"), number(4)), b"Q"))),
        "one storage under twenty names": ("bytes of tensors in a file of", torch_file({
            str(k): tensor[:] for tensor in [torch.arange(4096.0)] for k in range(20)})),
        "one name twice": ("one name twice", repacked(good, more=[(f"{folder}/data/0", bytes(16))])),
        "two pickles": ("not one of tensors", repacked(good, more=[("other/data.pkl", whole(EMPTY_DICT))])),
        "code of TorchScript": ("not one of tensors", repacked(good, more=[(f"{folder}/code/x.py", b"1")])),
        "bytes after its pickle": ("bytes follow", with_pickle(good, lambda data: data + b"garbage")),
        "a comment after the directory": ("not end with its directory", good[:-2] + struct.pack("<H", 3) + b"abc"),
        "a comment that is not there": ("not end with its directory", good[:-2] + struct.pack("<H", 3)),
        "a member that claims to be compressed": ("compressed or encrypted", patched(good, directory + 10, b"\x08\0")),
        "bytes before the archive": ("is not at its declared position", b"PK\x03\x04" + good),
        "two directories that differ": (
            "two directories differ", patched(good, len(good) - 98 + 48, struct.pack("<Q", 1))),
        "an encrypted member": ("member, 'archive/data.pkl'", patched(good, directory + 8, b"\x09\x08")),
        "a directory of four gigabytes": ("two directories differ", patched(good, -10, b"\xff" * 8)),
        "an archive cut in half": ("not end with its directory", good[:len(good) // 2]),
        "an archive without its last byte": ("not end with its directory", good[:-1]),
        "only the start of an archive": ("not end with its directory", b"PK\x03\x04"),
        "only the end of an archive": ("not one of tensors", b"PK\x05\x06" + bytes(18)),
        "an npz of objects": ("not one of tensors", npz(np.array([Touch(canary)], dtype=object))),
        "legacy: os.system": ("global 'posix.system'", torch_file({**state, "c": Touch(canary)}, legacy=True)),
        "legacy: a storage of terabytes": ("1099511627776", legacy.replace(struct.pack("<q", 4), huge)),
        "legacy: cut in the tensors": ("bytes left", legacy[:-5]),
        "legacy: cut in the pickle": ("damaged", legacy[:200]),
        "legacy: bytes after the tensors": ("7 bytes follow", legacy + b"garbage"),
        "legacy: a storage of more than there is": ("which then declares 6", legacy.replace(b"K\x06", b"K\x07")),
        "legacy: a list of keys that is no list": (
            "list of storages", legacy[:legacy.rindex(b"\x80\x02")] + whole(EMPTY_DICT) + bytes(56)),
        "legacy: keys that no tensor has": ("list of storages", legacy[:legacy.rindex(b"\x80\x02")] + whole(
            b"]", text("7"), b"a", text("8"), b"a") + bytes(56)),
    }


def npz(values):
    """What numpy.savez writes."""
    stream = io.BytesIO()
    np.savez(stream, values=values)
    return stream.getvalue()


def safetensors_file(header, data=bytes(8), length=None):
    """A safetensors file with any header (a dict, or bytes as they are) and any declared length of it."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    """A tensor in the header of a safetensors file."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def safetensors_files(canary):
    """readable name -> (part of the refusal, content) of a hostile safetensors file."""
    twice = json.dumps({"a": entry()})[:-1] + ', "a": ' + json.dumps(entry(dtype="I32")) + "}"
    good = safetensors_file({"a": entry()})
    gains = ["stages.0.0.skipinit_gain", "stages.0.999999999.skipinit_gain"]
    gains += [f"stages.0.{'9' * 10_000}.skipinit_gain"]
    blocks = {name: entry((), (4 * k, 4 * k + 4)) for k, name in enumerate(gains)}
    blocks["stem.conv.weight"] = entry((1, 1, 1, 1), (12, 16))
    return {
        "offsets that overlap": (
            "not a safetensors file", safetensors_file({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12))),
        "the same bytes for two tensors": ("not a safetensors file", safetensors_file({"a": entry(), "b": entry()})),
        "offsets outside the file": ("not a safetensors file", safetensors_file({"a": entry()}, bytes(4))),
        "offsets far outside the file": (
            "not a safetensors file", safetensors_file({"a": entry((2**38,), (0, 2**40))})),
        "offsets in reverse": ("not a safetensors file", safetensors_file({"a": entry(offsets=(8, 0))})),
        "negative offsets": ("not a safetensors file", safetensors_file({"a": entry(offsets=(-8, 0))})),
        "a gap between tensors": (
            "not a safetensors file", safetensors_file({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20))),
        "bytes after the tensors": ("not a safetensors file", good + b"garbage"),
        "a shape larger than its bytes": ("not a safetensors file", safetensors_file({"a": entry((3,))})),
        "a shape that overflows": ("not a safetensors file", safetensors_file({"a": entry((2**62, 8))})),
        "a shape of nothing times everything": (
            "not a safetensors file", safetensors_file({"a": entry((0, 2**62), (0, 0))}, b"")),
        "a shape of a hundred axes": (
            "not a safetensors file", safetensors_file({"a": entry((1,) * 100, (0, 4))}, bytes(4))),
        "a shape of fractions": ("not a safetensors file", safetensors_file({"a": entry((2.0,))})),
        "an unknown type": ("is of type", safetensors_file({"a": entry(dtype="F31")})),
        "a type NumPy has not": ("is of type", safetensors_file({"a": entry((8,), dtype="F8_E4M3")})),
        "a type that is a list": ("is of type", safetensors_file({"a": entry(dtype=["F32"])})),
        "one name twice": ("occurs twice", safetensors_file(twice.encode())),
        "a header of an exabyte": (
            "a header of 1152921504606846976 bytes", safetensors_file({"a": entry()}, length=2**60)),
        "a header of the largest length there is": (
            "a header of 18446744073709551615 bytes", safetensors_file({"a": entry()}, length=2**64 - 1)),
        "a header longer than the file": ("a header of 10000 bytes", safetensors_file({"a": entry()}, length=10_000)),
        "a header of seventeen megabytes of spaces": (
            "a header of 17000061 bytes", safetensors_file(json.dumps({"a": entry()}).encode() + b" " * 17_000_000)),
        "lists a hundred thousand deep": (
            "not a safetensors file", safetensors_file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
        "a header that is no JSON": ("not a safetensors file", safetensors_file(b"{hello")),
        "a header that is no text": ("not a safetensors file", safetensors_file(b'{"\xff\xfe": 1}')),
        "a header that is a number": ("not a safetensors file", safetensors_file(b"{1")),
        "metadata that are no strings": (
            "not a safetensors file", safetensors_file({"__metadata__": {"a": 1}, "a": entry()})),
        "cut in the header": ("a header of 61 bytes", good[:20]),
        "cut in the tensors": ("not a safetensors file", good[:-1]),
        "block numbers of no network": ("is no name of a", safetensors_file(blocks, bytes(16))),
    }


def other_files(canary):
    """readable name -> (part of the refusal, content) of a file that is of no kind."""
    return {
        "nothing": ("it is empty", b""),
        "one byte": ("damaged", b"\x80"),
        "text": ("is not a weight file", b"these are weights\n"),
        "a script": ("is not a weight file", b"#!/bin/sh\ntouch " + bytes(canary)),
        "a picture": ("is not a weight file", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        "zeros": ("is not a weight file", bytes(1000)),
        "gzip": ("is not a weight file", b"\x1f\x8b" + bytes(50)),
        "a text that begins like a pickle": ("global 'ats.and'", b"cats\nand\ndogs\n"),
    }
