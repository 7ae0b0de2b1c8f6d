"""The two containers of PyTorch's files: zip archives, and the older sequence of pickles and storages.

Both are read through one open file: its description of tensors first, with every declared size compared with the bytes
in the file, and the data of a storage only when it is needed. Used by: torch_files.py.
Tests: reference_tests/weights/test_torch_files.py, test_hostile.py.
"""

import contextlib
import io
import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple

from ..errors import InputError
from .safe_unpickler import run
from .torch_pickles import Storage, TensorFunctions

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch wrote first before its files were zip archives
LEGACY_VERSION = 1001
ENCRYPTED = 1  # a flag of a member of a zip archive
LARGEST_DIRECTORY = 2**24  # bytes; F7's 1,700 tensors take 0.2 MB
END_SIZE = 22  # bytes of the end of a directory
END64_SIZE = 76  # bytes of the 64-bit end of a directory and its locator, which come before the other end
LOCAL_HEADER_SIZE = 30  # bytes before the name of a member
CHUNK = 2**20  # bytes read at once
BYTE_ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}


class Contents(NamedTuple):
    """What a file of PyTorch holds."""

    value: Any  # dicts and lists of plain values and StoredTensors
    read: Callable[[Storage], bytearray]  # the bytes of a storage
    byte_order: Literal["<", ">"]  # of the numbers


def open_archive(file: BinaryIO) -> Contents:
    """The contents of a zip archive of data.pkl and data/KEY, all stored without compression."""
    size = os.fstat(file.fileno()).st_size
    _check_directory(file, size)
    with _archive_errors():
        archive = zipfile.ZipFile(file)
        _check_members(archive.infolist(), size)
        members = {member.filename: member for member in archive.infolist()}
        folder = _folder_of_pickle(members)
        pickle = archive.read(f"{folder}/data.pkl")
        byte_order = _byte_order(archive, members.get(f"{folder}/byteorder"))
    functions = TensorFunctions()
    stream = io.BytesIO(pickle)
    value = run(stream, len(pickle), functions.admit, functions.storage)
    if stream.tell() != len(pickle):
        raise InputError("bytes follow the end of its pickle")
    for storage in functions.storages.values():
        member = members.get(f"{folder}/data/{storage.key}")
        present = 0 if member is None else member.file_size
        if storage.size != present:
            raise InputError(f"declares {storage.size} bytes for the storage {storage.key[:40]!r} and holds {present}")
    functions.check_total(size)

    def read(storage: Storage) -> bytearray:
        with _archive_errors(), archive.open(members[f"{folder}/data/{storage.key}"]) as member:
            return _read_exactly(member, storage.size)

    return Contents(value, read, byte_order)


def open_legacy(file: BinaryIO) -> Contents:
    """The contents of five pickles (a number, the version, the system, the tensors, the keys) and the storages.

    Each storage is its count of numbers, 8 bytes, and the numbers, little-endian on any system.
    """
    functions = TensorFunctions()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size = len(content)
        content.seek(len(LEGACY_START))
        version = run(content, size, functions.admit)
        system = run(content, size, functions.admit)
        value = run(content, size, functions.admit, functions.storage)
        keys = run(content, size, functions.admit)
        if version != LEGACY_VERSION or type(system) is not dict or system.get("little_endian") is not True:
            raise InputError("a file of PyTorch of an unknown version or byte order")
        if type(keys) is not list or set(map(type, keys)) - {str} or sorted(keys) != sorted(functions.storages):
            raise InputError("a file of PyTorch whose list of storages is not that of its tensors")
        positions = _legacy_positions(content, [functions.storages[key] for key in keys])
    functions.check_total(size)

    def read(storage: Storage) -> bytearray:
        file.seek(positions[storage.key])
        return _read_exactly(file, storage.size)

    return Contents(value, read, "<")


def _legacy_positions(content: mmap.mmap, storages: list[Storage]) -> dict[str, int]:
    """key -> position in the file, of storages that begin at the position of `content` and end with the file."""
    positions = {}
    for storage in storages:
        count = int.from_bytes(content.read(8), "little")
        left = len(content) - content.tell()
        if count != storage.length or storage.size > left:
            raise InputError(f"declares {storage.length} numbers for the storage {storage.key[:40]!r}, which then "
                             f"declares {count} and has {left} bytes left")
        positions[storage.key] = content.tell()
        content.seek(storage.size, os.SEEK_CUR)
    if content.tell() != len(content):
        raise InputError(f"{len(content) - content.tell()} bytes follow its tensors")
    return positions


def _read_exactly(stream: Any, size: int) -> bytearray:
    """`size` bytes from the stream; EOFError when there are fewer."""
    buffer = bytearray(size)
    position = 0
    while position < size:
        count = stream.readinto(memoryview(buffer)[position:position + CHUNK])
        if not count:
            raise EOFError(f"{size - position} bytes are missing")
        position += count
    return buffer


# ---- zip archives


@contextlib.contextmanager
def _archive_errors() -> Iterator[None]:
    """Context that turns what zipfile raises on a damaged archive into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"a damaged zip archive ({reason})") from None


def _check_directory(file: BinaryIO, size: int) -> None:
    """InputError unless the directory ends the file, is small enough, and both of its ends, old and 64-bit, agree."""
    file.seek(max(0, size - END_SIZE - END64_SIZE))
    tail = file.read()
    end = tail[-END_SIZE:]
    if end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise InputError("a damaged zip archive: it does not end with its directory")
    length, start = struct.unpack("<II", end[12:20])
    end_of_directory = size - END_SIZE
    if tail[-42:-38] == b"PK\x06\x07":
        wide = tail[:56]
        end_of_directory = size - END_SIZE - END64_SIZE
        if len(tail) != END_SIZE + END64_SIZE or wide[:4] != b"PK\x06\x06" \
                or struct.unpack("<QQ", wide[40:56]) != (length, start):
            raise InputError("a zip archive whose two directories differ")
    if start + length != end_of_directory or length > LARGEST_DIRECTORY:
        raise InputError(f"a zip archive whose directory of {length} bytes is not at its declared position")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """InputError when a member is compressed or encrypted, two overlap, or a name occurs twice."""
    position = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size \
                or member.flag_bits & ENCRYPTED:
            raise InputError(f"a zip archive with a compressed or encrypted member, {member.filename[:40]!r}, which "
                             f"declares {member.file_size} bytes; PyTorch compresses none")
        if member.header_offset < position:
            raise InputError(f"a zip archive in which {member.filename[:40]!r} overlaps the member before it")
        position = member.header_offset + LOCAL_HEADER_SIZE + len(member.orig_filename) + member.file_size
    if position > size or len({member.filename for member in members}) != len(members):
        raise InputError("a zip archive that declares more than it holds, or one name twice")


def _folder_of_pickle(names: dict[str, Any]) -> str:
    """The folder that holds data.pkl, when this is an archive of tensors."""
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    folder = pickles[0].partition("/")[0] if len(pickles) == 1 else None
    if folder is None or any(name.startswith(f"{folder}/code/") or name == f"{folder}/constants.pkl" for name in names):
        raise InputError("a zip archive, but not one of tensors as torch.save writes them (TorchScript and NumPy's npz "
                         "are not read)")
    return folder


def _byte_order(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> Literal["<", ">"]:
    """The byte order that the archive declares; without a declaration, as in older files, little-endian."""
    if member is None:
        return "<"
    declared = archive.read(member) if member.file_size <= len(b"little") else b""
    if declared not in BYTE_ORDERS:
        raise InputError(f"a file of PyTorch of an unknown byte order, {declared!r}")
    return BYTE_ORDERS[declared]
