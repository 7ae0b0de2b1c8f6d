"""The members of an uncompressed tar archive: where each file's bytes are, without reading them.

Formats: POSIX ustar and pax (IEEE Std 1003.1-2017, pax, "ustar Interchange Format"), GNU's long names and large numbers
(the manual of GNU tar, "Basic Tar Format"). Python's tarfile ends in silence at a damaged header or at a cut between
two members, which would make a spoiled shard a smaller one; here both are errors, as is all that is no regular file.

Used by: index.py. Test: reference_tests/datasets/test_tar.py.
"""

import os
from collections.abc import Iterator
from typing import IO, NamedTuple

from ...errors import InputError

BLOCK = 512
ZEROS = bytes(BLOCK)
LONGEST_EXTENSION = 2**16  # bytes of a pax header or of a long name; a path has at most some thousand
READ_AT_ONCE = 2**20

REGULAR, DIRECTORY = b"\0" b"07", b"5"
GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
REFUSED = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe",
           b"S": "a sparse file", b"M": "the rest of a file of another archive"}
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard",
              b"\x04\x22\x4d\x18": "lz4"}


class Member(NamedTuple):
    """A regular file in an archive: its name, and where its `size` bytes begin."""

    name: str
    offset: int
    size: int


def members(file: IO[bytes], path: str | os.PathLike[str]) -> Iterator[Member]:
    """Generate the regular files of the archive `file`, in their order; directories are left out.

    file: opened for reading bytes, buffered. path: what an InputError calls it. InputError for an archive that is
    compressed, damaged or cut off, and for a link, a sparse file or a device in it.
    """
    reader = _Reader(file, os.fspath(path))
    reader.refuse_compressed()
    while (block := reader.next_header()) is not None:
        member = reader.member(block)
        if member is not None:
            yield member


class _Reader:
    """Reads headers one after another: `position` is where the next one begins."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self.file = file
        self.path = path
        self.position = 0
        self.end = file.seek(0, os.SEEK_END)
        self.extensions: dict[str, bytes] = {}  # what pax headers and long names say of the next member

    def error(self, text: str) -> InputError:
        return InputError(f"{self.path}: {text}")

    def read(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)

    def refuse_compressed(self) -> None:
        begin = self.read(0, 8)
        for magic, name in COMPRESSED.items():
            if begin.startswith(magic):
                raise self.error(f"is compressed ({name}), expected a plain tar file: only there can one image be read "
                                 "without all that are before it")
        if not begin:
            raise self.error("is empty, expected a tar file")

    def next_header(self) -> bytes | None:
        """The next header; None at the end of the archive."""
        block = self.read(self.position, BLOCK)
        if len(block) < BLOCK:
            raise self.error(f"ends at byte {self.end} without the blocks of zeros that end a tar file: it is cut off")
        if block == ZEROS:
            self.check_nothing_follows()
            return None
        if _checksum(block) != _octal(block[148:156]) and _signed_checksum(block) != _octal(block[148:156]):
            what = "is no tar file" if self.position == 0 else f"has a damaged header at byte {self.position}"
            raise self.error(f"{what}: the header's checksum is not that of its bytes")
        return block

    def check_nothing_follows(self) -> None:
        """InputError unless the rest of the file is zeros, and no pax header or long name is left without a member."""
        if self.extensions:
            raise self.error(f"ends at byte {self.position} with a name that belongs to no file: it is cut off")
        self.file.seek(self.position)
        while rest := self.file.read(READ_AT_ONCE):
            if rest.count(0) != len(rest):
                raise self.error(f"goes on after its end at byte {self.position}: archives that were joined with cat "
                                 "have to be given one by one")

    def member(self, block: bytes) -> Member | None:
        """The member of a header; None for a directory and for what extends the next header."""
        kind = block[156:157]
        begin = self.position + BLOCK
        size = self.size_of(block)
        if kind in (GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL):
            self.skip(begin, size, "a name")
            self.extend(kind, begin, size)
            return None
        extensions, self.extensions = self.extensions, {}
        name = extensions.get("path") or _name(block)
        is_old_directory = kind == b"\0" and name.endswith(b"/")
        if kind == DIRECTORY or is_old_directory:
            self.position = begin
            return None
        readable = name.decode("utf-8", "surrogateescape")
        if kind not in REGULAR or any(key.startswith("GNU.sparse") for key in extensions):
            what = REFUSED.get(kind, f"of the type {kind!r}") if kind not in REGULAR else "a sparse file"
            raise self.error(f"{readable!r} in it is {what}, expected regular files")
        if "size" in extensions:
            size = self.decimal(extensions["size"], readable)
        self.skip(begin, size, repr(readable))
        return Member(readable, begin, size)

    def size_of(self, block: bytes) -> int:
        """The size in bytes that a header declares."""
        field = block[124:136]
        if field[0] == 0x80:  # GNU's form of numbers from 8 GiB up
            return int.from_bytes(field[1:], "big")
        size = _octal(field)
        if size is None:
            raise self.error(f"the header at byte {self.position} has no size, but {field!r}")
        return size

    def skip(self, begin: int, size: int, what: str) -> None:
        """Go to the header after `size` bytes of content; InputError if the file ends before."""
        if size > self.end - begin:
            raise self.error(f"{what} at byte {begin} has {size} bytes, but the file ends at {self.end}: it is cut off")
        self.position = begin + -(-size // BLOCK) * BLOCK

    def extend(self, kind: bytes, begin: int, size: int) -> None:
        """Remember what an extension of the next header says, or refuse a global one that says what only one can."""
        if size > LONGEST_EXTENSION:
            raise self.error(f"a name at byte {begin} has {size} bytes, expected at most {LONGEST_EXTENSION}")
        content = self.read(begin, size)
        if kind == GNU_LONG_NAME:
            self.extensions["path"] = content.partition(b"\0")[0]
        elif kind == PAX:
            self.extensions |= self.pax_records(content, begin)
        elif kind == PAX_GLOBAL:
            shared = {"path", "size"} & self.pax_records(content, begin).keys()
            if shared:
                raise self.error(f"a header at byte {begin} gives every file the same {sorted(shared)[0]}")

    def pax_records(self, content: bytes, begin: int) -> dict[str, bytes]:
        """The records "LENGTH KEY=VALUE\\n" of a pax header."""
        records = {}
        content = content.rstrip(b"\0")
        start = 0
        while start < len(content):
            digits = content[start:start + 20].partition(b" ")[0]
            end = start + (int(digits) if digits.isdigit() else 0)
            key, equals, value = content[start + len(digits) + 1:end].partition(b"=")
            if not equals or not value.endswith(b"\n") or end > len(content):
                raise self.error(f"the pax header at byte {begin} is damaged")
            records[key.decode("utf-8", "surrogateescape")] = value[:-1]
            start = end
        return records

    def decimal(self, digits: bytes, name: str) -> int:
        if not digits.isdigit() or len(digits) > 20:
            raise self.error(f"{name!r} in it has the size {digits[:20]!r}, expected a whole number")
        return int(digits)


def _checksum(block: bytes) -> int:
    """The sum of a header's bytes, those of the checksum counted as spaces."""
    return sum(block) - sum(block[148:156]) + 8 * 32


def _signed_checksum(block: bytes) -> int:
    """The same sum as some old programs wrote it, with bytes from -128 to 127."""
    negative = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[148:156])
    return _checksum(block) - 256 * negative


def _octal(field: bytes) -> int | None:
    """The number of a header's field; None if there is none."""
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    return int(digits, 8) if digits.translate(None, b"01234567") == b"" else None


def _name(block: bytes) -> bytes:
    """The name in a header; ustar continues a long one in a second field, which GNU's format uses otherwise."""
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name
