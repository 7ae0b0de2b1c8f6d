"""The fields of a header of a tar file, a block of 512 bytes.

Format: IEEE Std 1003.1-2017, pax, "ustar Interchange Format"; the manual of GNU tar, "Basic Tar Format".

Used by: tar.py. Test: reference_tests/datasets/test_tar.py.
"""

BLOCK = 512
ZEROS = bytes(BLOCK)

REGULAR, DIRECTORY = b"\0" b"07", b"5"
GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
REFUSED = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe",
           b"S": "a sparse file", b"M": "the rest of a file of another archive"}


def kind_of(block: bytes) -> bytes:
    """The type of a member, a byte."""
    return block[156:157]


def has_right_checksum(block: bytes) -> bool:
    """Whether the checksum of a header is the sum of its bytes, those of the checksum counted as spaces.

    Some old programs summed up bytes from -128 to 127.
    """
    others = block[:148] + block[156:]
    declared = octal(block[148:156])
    total = sum(others) + 8 * ord(" ")
    return declared == total or (not block.isascii() and declared == total - 256 * sum(byte > 127 for byte in others))


def size_of(block: bytes) -> int | None:
    """The number of bytes that follow a header; None if it declares none that can be."""
    field = block[124:136]
    if field[0] == 0x80:  # GNU's form of numbers from 8 GiB up
        return int.from_bytes(field[1:], "big")
    return octal(field)


def octal(field: bytes) -> int | None:
    """The number of a header's field, 0 for an empty one; None if it is no number."""
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    return int(digits, 8) if digits.translate(None, b"01234567") == b"" else None


def name_of(block: bytes) -> bytes:
    """The name in a header; ustar continues a long one in a second field, which GNU's format uses otherwise."""
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name
