"""PyTorch's files, looked through before PyTorch reads them: what they declare has to be what they hold.

torch.load(weights_only=True) runs nothing that a file names, but it unpacks and reserves what a file declares. So the
pickle inside is first run on our own machine, where a tensor is only its size, and held against the bytes there are.
"""

import collections
import io
import math
import mmap
import os
import struct
import zipfile

from ..errors import InputError
from .safe_unpickler import run

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch wrote first before its files were zip archives
ENCRYPTED = 1  # a flag of a member of a zip archive
LARGEST_DIRECTORY = 2**24  # bytes; F7's 1,700 tensors take 0.2 MB
ITEM_SIZES = {"Double": 8, "Float": 4, "Half": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1}
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts put the weights, best first

Storage = collections.namedtuple("Storage", ["key", "count", "item_size"])
Tensor = collections.namedtuple("Tensor", ["storage", "shape"])


def read_torch(path):
    """The state dict (name -> NumPy array) in PyTorch's file at `path`, without what surrounds it.

    InputError, one line, when it holds anything but tensors of numbers, or torch is not installed.
    """
    path = os.fspath(path)
    try:
        _inspect(path)
    except InputError as refusal:
        raise InputError(f"{path}: {refusal}") from None
    try:
        import torch
    except ImportError:
        raise InputError(f"{path} is a file of PyTorch, and reading it needs PyTorch: pip install torch") from None
    try:
        with open(path, "rb") as file:  # of a path, torch would go by what it is called
            value = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly everything on a damaged file, with pages of advice
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: PyTorch does not read it ({type(error).__name__}: {reason})") from None
    for wrapper in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    if not isinstance(value, dict) or not value or \
            not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items()):
        raise InputError(f"{path} is a file of PyTorch that holds no state dict: names with tensors, alone or as "
                         + " or ".join(repr(wrapper) for wrapper in WRAPPERS))
    return {name.removeprefix("module."): tensor.detach().numpy() for name, tensor in value.items()}


def _inspect(path):
    """InputError unless the file at `path` holds the bytes of every tensor that its pickle declares."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            _inspect_archive(path, size)
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _inspect_legacy(content, size)


def _inspect_archive(path, size):
    """A zip archive of data.pkl and data/KEY: stored, not compressed, one after another."""
    try:
        _inspect_directory(path, size)
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            _inspect_members(archive.infolist(), size)
            folder = _folder_of_pickle(members)
            pickle = archive.read(f"{folder}/data.pkl")
    except InputError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"a damaged zip archive ({reason})") from None
    declared = Declared()
    stream = io.BytesIO(pickle)
    run(stream, len(pickle), declared.admit, declared.storage)
    if stream.tell() != len(pickle):
        raise InputError("bytes follow the end of its pickle")
    for storage in declared.storages.values():
        member = members.get(f"{folder}/data/{storage.key}")
        declares, holds = storage.count * storage.item_size, member.file_size if member else 0
        if declares != holds:
            raise InputError(f"declares {declares} bytes for the storage {storage.key[:40]!r} and holds {holds}")
    declared.check_total(size)


def _inspect_directory(path, size):
    """The directory ends the file, is of a sane size, and both of its ends, old and 64-bit, say the same."""
    with open(path, "rb") as file:
        file.seek(max(0, size - 98))
        tail = file.read()
    end = tail[-22:]
    if end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise InputError("a damaged zip archive: it does not end with its directory")
    length, start = (int.from_bytes(end[k:k + 4], "little") for k in (12, 16))
    before = size - 22
    if tail[-42:-38] == b"PK\x06\x07":
        wide, before = tail[:56], size - 98
        same = [int.from_bytes(wide[k:k + 8], "little") for k in (40, 48)] == [length, start]
        if len(tail) != 98 or wide[:4] != b"PK\x06\x06" or not same:
            raise InputError("a zip archive whose two directories differ")
    if start + length != before or length > LARGEST_DIRECTORY:
        raise InputError(f"a zip archive whose directory of {length} bytes is not where it says")


def _inspect_members(members, size):
    """No member is compressed or encrypted, none overlaps another, and no name occurs twice."""
    position = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size \
                or member.flag_bits & ENCRYPTED:
            raise InputError(f"a zip archive with a compressed or encrypted member, {member.filename[:40]!r}, which "
                             f"declares {member.file_size} bytes; PyTorch compresses none")
        if member.header_offset < position:
            raise InputError(f"a zip archive in which {member.filename[:40]!r} overlaps the member before it")
        position = member.header_offset + 30 + len(member.orig_filename) + member.file_size
    if position > size or len({member.filename for member in members}) != len(members):
        raise InputError("a zip archive that declares more than it holds, or one name twice")


def _folder_of_pickle(names):
    """The folder that holds data.pkl, when this is an archive of tensors."""
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    folder = pickles[0].partition("/")[0] if len(pickles) == 1 else None
    if folder is None or any(name.startswith(f"{folder}/code/") or name == f"{folder}/constants.pkl" for name in names):
        raise InputError("a zip archive, but not one of tensors as torch.save writes them (TorchScript and NumPy's npz "
                         "are not read)")
    return folder


def _inspect_legacy(content, size):
    """Five pickles (a number, the version, the system, the tensors, the keys) and then count and bytes of each key."""
    declared = Declared()
    content.seek(len(LEGACY_START))
    version, system = (run(content, size, declared.admit) for _ in range(2))
    run(content, size, declared.admit, declared.storage)
    keys = run(content, size, declared.admit)
    if version != 1001 or type(system) is not dict or system.get("little_endian") is not True:
        raise InputError("a file of PyTorch of an unknown version or byte order")
    if type(keys) is not list or set(map(type, keys)) - {str} or sorted(keys) != sorted(declared.storages):
        raise InputError("a file of PyTorch whose list of storages is not that of its tensors")
    for key in keys:
        storage = declared.storages[key]
        count = int.from_bytes(content.read(8), "little")
        if count != storage.count or count * storage.item_size > size - content.tell():
            raise InputError(f"declares {storage.count} numbers for the storage {key[:40]!r}, which then says {count} "
                             f"and has {size - content.tell()} bytes left")
        content.seek(count * storage.item_size, os.SEEK_CUR)
    if content.tell() != size:
        raise InputError(f"{size - content.tell()} bytes follow its tensors")
    declared.check_total(size)


class Declared:
    """The functions that stand for PyTorch's names, and the storages and sizes of tensors they were called with."""

    def __init__(self):
        self.storages, self.total = {}, 0

    def admit(self, name):
        """The function that stands for the dotted `name`."""
        if name.startswith("torch.") and name.endswith("Storage"):
            kind = name.removeprefix("torch.").removesuffix("Storage")
            if kind in ITEM_SIZES:
                return ITEM_SIZES[kind]
            raise InputError(f"it holds tensors of {name!r}; expected {', '.join(ITEM_SIZES)}, such as float32 (Float)")
        functions = {"torch._utils._rebuild_tensor_v2": self.tensor, "torch._utils._rebuild_parameter": self.parameter,
                     "collections.OrderedDict": self.mapping}
        if name not in functions:
            raise InputError(f"its pickle names the global {name[:80]!r}; only state dicts are read, and nothing was "
                             f"run")
        return functions[name]

    def storage(self, identity):
        """("storage", type, key, device, count), in older files with None after it."""
        kind, item_size, key, _, count = identity[:5]
        if kind != "storage" or any(identity[5:]) or type(key) is not str or type(count) is not int or count < 0 \
                or type(item_size.call) is not int:
            raise InputError("its pickle refers to something outside the file by a persistent id")
        storage = Storage(key, count, item_size.call)
        if self.storages.setdefault(key, storage) != storage:
            raise InputError(f"its pickle declares the storage {key[:40]!r} in two ways")
        return storage

    def tensor(self, arguments):
        storage, offset, shape, strides = arguments[:4]
        whole = type(storage) is Storage and type(shape) is tuple and type(strides) is tuple and \
            len(shape) == len(strides) <= 8 and \
            all(type(number) is int and 0 <= number < 2**63 for number in (offset, *shape, *strides))
        count = math.prod(shape) if whole else 0
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides)) if count else 0
        if not whole or count > storage.count or count and last >= storage.count:
            raise InputError("its pickle holds a tensor that reaches beyond its storage")
        self.total += count * storage.item_size
        return Tensor(storage, shape)

    def parameter(self, arguments):
        return arguments[0]

    def mapping(self, arguments):
        if arguments:
            raise InputError("its pickle fills an ordered dict in an unknown way")
        return {}

    def check_total(self, size):
        """InputError when the tensors together are larger than the file: shared or repeated storages."""
        if self.total > size:
            raise InputError(f"declares {self.total} bytes of tensors in a file of {size}")
