"""files.atomic_write: the file is whole, old or new; what is no regular file is written to and never replaced."""

import errno
import os
import resource
import stat
import sys
import threading

import pytest

from nfnumpy import InputError
from nfnumpy.files import atomic_write, can_write, try_lock


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """The process's umask, set to an unusual one for the test."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_has_the_mode_of_the_umask(tmp_path, umask):
    atomic_write(tmp_path / "new", b"content")
    assert (tmp_path / "new").read_bytes() == b"content"
    assert mode(tmp_path / "new") == 0o666 & ~umask


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path, permissions):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new" and mode(path) == permissions
    assert os.listdir(tmp_path) == ["file"]


def test_a_symbolic_link_is_followed_and_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("existing", "missing"):
        target = tmp_path / "elsewhere" / name
        (tmp_path / name).symlink_to(target)
        if name == "existing":
            target.write_bytes(b"old")
        atomic_write(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink() and target.read_bytes() == b"new"


def test_a_planted_link_under_a_guessed_name_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".report.html.unfinished").symlink_to(victim)
    atomic_write(tmp_path / "report.html", b"content")
    assert victim.read_bytes() == b"precious" and (tmp_path / "report.html").read_bytes() == b"content"


def test_a_device_is_written_to_and_not_replaced():
    before = os.stat("/dev/null")
    atomic_write("/dev/null", b"content")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and os.path.samestat(before, os.stat("/dev/null"))


def test_a_named_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    atomic_write(pipe, b"content" * 20_000)
    reader.join()
    assert received == [b"content" * 20_000] and stat.S_ISFIFO(pipe.stat().st_mode)


def print_and_write(descriptor, monkeypatch):
    """Make `descriptor` the standard output; print lines to it, and write others to it by its names."""
    before = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        with monkeypatch.context() as patch, open(1, "w", closefd=False) as stream:
            patch.setattr(sys, "stdout", stream)
            print("before")
            atomic_write("/dev/stdout", b"content\n")
            atomic_write("/dev/fd/1", b"and more\n")
            print("after")
    finally:
        os.dup2(before, 1)
        os.close(before)


def test_standard_output_in_a_file_or_a_pipe_is_written_in_order(tmp_path, monkeypatch):
    """A file behind /dev/stdout is a regular one, and still neither replaced nor overwritten from its beginning."""
    expected = b"before\ncontent\nand more\nafter\n"
    with open(tmp_path / "output", "wb") as output:
        print_and_write(output.fileno(), monkeypatch)
    assert (tmp_path / "output").read_bytes() == expected
    reading, writing = os.pipe()
    print_and_write(writing, monkeypatch)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == expected


def test_the_longest_name_that_a_folder_takes_is_written(tmp_path):
    path = tmp_path / ("n" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    atomic_write(path, b"content")
    assert path.read_bytes() == b"content"


def test_two_writers_at_once_leave_the_whole_content_of_one(tmp_path, monkeypatch):
    """Both have written their temporary file before either one replaces the target."""
    both = threading.Barrier(2)
    replace = os.replace

    def wait_and_replace(source, target):
        both.wait()
        replace(source, target)

    monkeypatch.setattr(os, "replace", wait_and_replace)
    contents = [b"a" * 1000, b"b" * 1000]
    writers = [threading.Thread(target=atomic_write, args=(tmp_path / "file", content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (tmp_path / "file").read_bytes() in contents and os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    """A limit on the size of files makes the kernel fail the same write as a full disk does."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*untouched"):
            atomic_write(path, bytes(1_000_001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name, reason", [("", "Is a directory"), ("no/such/folder/file", "No such file"),
                                          ("loop", "Too many levels"), ("nul\0", "null"), ("n" * 300, "too long")])
def test_what_cannot_be_written_is_one_line(tmp_path, name, reason):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=reason) as refusal:
        atomic_write(tmp_path / name, b"content")
    assert "\n" not in str(refusal.value) and os.listdir(tmp_path) == ["loop"]


@pytest.mark.parametrize("name, expected", [("new", True), ("file", True), ("link", True), ("pipe", True),
                                            ("/dev/stdout", True), ("/dev/null", True), ("", False),
                                            ("no/file", False)])
def test_what_can_be_written_is_known_before(tmp_path, name, expected):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    assert can_write(tmp_path / name) is expected


def test_an_interruption_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == []


def test_a_lock_excludes_every_other_opening_until_it_is_closed(tmp_path):
    path = tmp_path / "lock"
    with open(path, "a") as first, open(path, "a") as second:
        assert try_lock(first) and not try_lock(second)
        first.close()
        assert try_lock(second)


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    import fcntl

    def unsupported(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with open(tmp_path / "lock", "a") as file:
        assert try_lock(file)
