"""The members of a tar file are those that Python's tarfile finds; a damaged, cut or compressed one is refused."""

import gzip
import io
import tarfile

import pytest
from hypothesis import assume, given, strategies as st

from nfnumpy.datasets.shards.tar import BLOCK, Member, members
from nfnumpy.errors import InputError
from reference_tests.helpers.dataset_files import one_line

PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda part: part not in (".", ".."))
NAMES = st.builds("/".join, st.lists(PARTS, min_size=1, max_size=12))
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=1200)), min_size=1, max_size=6)
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def archive(files, form=tarfile.GNU_FORMAT, **header):
    """A tar file of (name, content) pairs; a content of None makes a directory. header: attributes of every member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content or b"")
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            for key, value in header.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def read(content):
    """The members of an archive."""
    return list(members(io.BytesIO(content), "x.tar"))


def refusal(content):
    """The line that refuses an archive."""
    with pytest.raises(InputError) as caught:
        read(content)
    one_line(caught, "x.tar: ")
    return str(caught.value)


def with_header(content, offset=0, **fields):
    """The archive with fields of the header at `offset` replaced by (position, bytes), and its checksum right."""
    header = bytearray(content[offset:offset + BLOCK])
    for position, value in fields.values():
        header[position:position + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:offset] + bytes(header) + content[offset + BLOCK:]


@given(FILES, st.sampled_from(FORMATS))
def test_members_are_those_of_tarfile(files, form):
    try:
        content = archive(files, form)
    except ValueError:  # ustar has no place for so long a name
        assume(False)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        expected = [Member(info.name, info.offset_data, info.size) for info in tar if info.isreg()]
    assert read(content) == expected
    assert [content[member.offset:member.offset + member.size] for member in read(content)] == [
        data for _, data in files]


def test_directories_are_left_out_and_names_of_any_bytes_are_kept():
    name = b"caf\xe9/\xff.jpg".decode("utf-8", "surrogateescape")
    content = archive([("caf", None), (name, b"picture"), ("old/", b"")])
    content = with_header(content, 3 * BLOCK, kind=(156, b"\0"))
    assert read(content) == [Member(name, 2 * BLOCK, 7)]


def test_sizes_from_eight_gibibytes_up_are_read_as_gnu_and_pax_write_them():
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("huge.jpg")
        info.size = 2**33 + 1
        assert f"{2**33 + 1} bytes" in refusal(info.tobuf(form) + bytes(2 * BLOCK))


def test_a_pax_header_of_many_records_is_read_to_its_end():
    records = b"5 a=\n" * 10_000 + b"14 path=b.jpg\n" + bytes(100)
    content = with_header(archive([("x", records), ("a.jpg", b"content")]), kind=(156, b"x"))
    assert [member.name for member in read(content)] == ["b.jpg"]


@given(FILES, st.sampled_from(FORMATS), st.data())
def test_an_archive_that_is_cut_off_is_refused(files, form, data):
    """A cut between two members too, where tarfile finds nothing wrong."""
    try:
        content = archive(files, form)
    except ValueError:
        assume(False)
    last = read(content)[-1]
    end = last.offset + -(-last.size // BLOCK) * BLOCK
    cut = data.draw(st.one_of(st.integers(0, end + BLOCK - 1),
                              st.sampled_from([member.offset - BLOCK for member in read(content)] + [end])))
    assert any(word in refusal(content[:cut]) for word in ("cut off", "is empty"))


@given(FILES, st.sampled_from(FORMATS[1:]), st.data())
def test_a_header_with_a_changed_byte_is_refused(files, form, data):
    content = bytearray(archive(files, form))
    member = data.draw(st.sampled_from(read(bytes(content))))
    position = member.offset - BLOCK + data.draw(st.integers(0, 147) | st.integers(156, BLOCK - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    assert "checksum" in refusal(bytes(content))


@given(FILES, st.data())
def test_no_damage_ends_in_anything_but_a_refusal(files, data):
    content = bytearray(archive(files, tarfile.PAX_FORMAT))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    offsets = range(0, len(content), BLOCK)
    damaged = with_header(bytes(content), data.draw(st.sampled_from(offsets)))
    try:
        found = read(damaged)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(0 <= member.size <= len(damaged) - member.offset for member in found)


ONE = archive([("a.jpg", b"picture")])


@pytest.mark.parametrize(("content", "said"), [
    (gzip.compress(ONE), "compressed (gzip)"),
    (b"BZh9" + bytes(1000), "compressed (bzip2)"),
    (b"\xfd7zXZ\0" + bytes(1000), "compressed (xz)"),
    (b"\x28\xb5\x2f\xfd" + bytes(1000), "compressed (zstandard)"),
    (b"", "is empty"),
    (b"\x89PNG\r\n\x1a\n" + bytes(600), "is no tar file"),
    (b"text " * 200, "is no tar file"),
    (ONE + ONE, "goes on after its end"),
    (ONE + b"x", "goes on after its end"),
    (with_header(ONE, size=(124, b"77777777777\0")), "'a.jpg' at byte 512 has 8589934591 bytes"),
    (with_header(ONE, size=(124, b"\x80" + b"\xff" * 11)), "cut off"),
    (with_header(ONE, size=(124, b"\xff" * 12)), "has no size"),
    (with_header(ONE, size=(124, b"-0000000001\0")), "has no size"),
    (with_header(ONE, size=(124, b"0x10\0")), "has no size"),
    (with_header(ONE, kind=(156, b"1")), "a hard link"),
    (with_header(ONE, kind=(156, b"2")), "a symbolic link"),
    (with_header(ONE, kind=(156, b"S")), "a sparse file"),
    (with_header(ONE, kind=(156, b"3")), "a device"),
    (with_header(ONE, kind=(156, b"Z")), "of the type b'Z'"),
    (with_header(ONE, kind=(156, b"x")), "pax header at byte 512 is damaged"),
    (archive([("a.jpg", b"x")], tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.major": "1"}), "a sparse file"),
    (archive([("a.jpg", b"x")], tarfile.PAX_FORMAT, pax_headers={"size": "-1"}), "expected a whole number"),
    (archive([("a.jpg", b"x")], tarfile.PAX_FORMAT, pax_headers={"size": "9" * 30}), "expected a whole number"),
    (with_header(archive([("a.jpg", b"13 path=a.jpg\n" + bytes(2**16))]), kind=(156, b"x")), "at most 65536"),
    (with_header(archive([("a.jpg", b"14 path=a.jpg\n")]), kind=(156, b"g")), "every file the same path"),
    (with_header(archive([("a.jpg", b"14 path=a.jpg\n")]), kind=(156, b"x")), "a name that belongs to no file"),
    (with_header(archive([("a.jpg", b"99 path=a.jpg\n")]), kind=(156, b"x")), "is damaged"),
])
def test_what_is_no_plain_tar_file_is_named(content, said):
    assert said in refusal(content)


def test_a_header_of_an_old_program_with_a_signed_checksum_is_read():
    header = bytearray(archive([("\xe9.jpg", b"x")]))
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:BLOCK]) - 2 * 256)
    assert [member.name for member in read(bytes(header))] == ["\xe9.jpg"]
