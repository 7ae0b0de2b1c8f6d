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
from . import tar_header as header
from .tar_header import BLOCK, ZEROS

LONGEST_EXTENSION = 2**20  # bytes of a pax header or of a long name; a path has at most some thousand
READ_AT_ONCE = 2**20

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
        if not header.has_right_checksum(block):
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
        kind = header.kind_of(block)
        begin = self.position + BLOCK
        size = self.size_of(block)
        if kind in (header.GNU_LONG_NAME, header.GNU_LONG_LINK, header.PAX, header.PAX_GLOBAL):
            self.skip(begin, size, "a name")
            self.extend(kind, begin, size)
            return None
        extensions, self.extensions = self.extensions, {}
        name = extensions.get("path") or header.name_of(block)
        is_old_directory = kind == b"\0" and name.endswith(b"/")
        if kind == header.DIRECTORY or is_old_directory:
            self.position = begin
            return None
        readable = name.decode("utf-8", "surrogateescape")
        if kind not in header.REGULAR or any(key.startswith("GNU.sparse") for key in extensions):
            what = header.REFUSED.get(kind, f"of the type {kind!r}") if kind not in header.REGULAR else "a sparse file"
            raise self.error(f"{readable!r} in it is {what}, expected regular files")
        if "size" in extensions:
            size = self.decimal(extensions["size"], readable)
        self.skip(begin, size, repr(readable))
        return Member(readable, begin, size)

    def size_of(self, block: bytes) -> int:
        """The size in bytes that a header declares."""
        size = header.size_of(block)
        if size is None:
            raise self.error(f"the header at byte {self.position} has no size that can be")
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
        if kind == header.GNU_LONG_NAME:
            self.extensions["path"] = content.partition(b"\0")[0]
        elif kind == header.PAX:
            self.extensions |= self.pax_records(content, begin)
        elif kind == header.PAX_GLOBAL:
            shared = {"path", "size"} & self.pax_records(content, begin).keys()
            if shared:
                raise self.error(f"a header at byte {begin} gives every file the same {sorted(shared)[0]}")

    def pax_records(self, content: bytes, begin: int) -> dict[str, bytes]:
        """The records "LENGTH KEY=VALUE\\n" of a pax header."""
        records = {}
        position = 0
        while position < len(content) and content[position]:  # zeros may fill it up
            digits = content[position:position + 20].partition(b" ")[0]
            end = position + (int(digits) if digits.isdigit() else 0)
            key, equals, value = content[position + len(digits) + 1:end].partition(b"=")
            if not equals or not value.endswith(b"\n") or end > len(content):
                raise self.error(f"the pax header at byte {begin} is damaged")
            records[key.decode("utf-8", "surrogateescape")] = value[:-1]
            position = end
        return records

    def decimal(self, digits: bytes, name: str) -> int:
        if not digits.isdigit() or len(digits) > 20:
            raise self.error(f"{name!r} in it has the size {digits[:20]!r}, expected a whole number")
        return int(digits)
