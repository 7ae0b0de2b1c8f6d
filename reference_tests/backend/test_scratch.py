"""Scratch arrays use memory again, but never the memory of an array that is in use."""

import threading

import numpy as np
import pytest

from nfnumpy.backend import scratch, thread_pool


@pytest.fixture(autouse=True)
def no_buffers():
    scratch.release()
    yield
    scratch.release()


def address(array):
    return array.__array_interface__["data"][0]


def test_a_request_of_the_same_name_gets_the_same_memory():
    first = address(scratch.empty("a", (3, 50), "float32"))
    assert address(scratch.empty("a", (4, 5), "float64")) == first  # smaller
    assert scratch.empty("a", (7, 90), "float32").shape == (7, 90)  # larger
    for _ in range(20):
        scratch.empty("a", (7, 90), "float32")
    assert [buffer.size for buffer in scratch._thread.buffers.recent["a"]] == [7 * 90 * 4]


@pytest.mark.parametrize("view_of", [lambda a: a, lambda a: a[3:], lambda a: a.reshape(-1, 4).T[1], memoryview,
                                     lambda a: a.view("int32")])
def test_memory_in_use_is_not_used_again(view_of):
    view = view_of(scratch.empty("a", (40,), "float32"))
    nested = scratch.empty("a", (40,), "float32")
    assert not np.shares_memory(np.asarray(view), nested)


def test_a_map_inside_of_a_piece_does_not_overwrite_it():
    def inner(piece):
        scratch.empty("a", (100,), "float64")[...] = piece

    def outer(piece):
        array = scratch.empty("a", (100,), "float64")
        array[...] = -piece
        thread_pool.parallel_map(inner, range(3))
        return (array == -piece).all()

    assert all(thread_pool.parallel_map(outer, range(1, 5)))


def test_threads_have_buffers_of_their_own():
    mine, other = scratch.empty("a", (10,), "uint8"), []
    thread = threading.Thread(target=lambda: other.append(scratch.empty("a", (10,), "uint8")))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, other[0])


def test_release_frees_all_but_what_is_in_use():
    array = scratch.empty("a", (10,), "uint8")
    array[...] = 3
    scratch.empty("b", (10,), "uint8")
    scratch.release()
    assert not scratch._thread.buffers.recent
    scratch.empty("a", (10,), "uint8")[...] = 4
    assert (array == 3).all()


def test_buffers_that_are_no_longer_requested_are_freed(monkeypatch):
    monkeypatch.setattr(scratch, "REQUESTS_KEPT", 10)
    scratch.empty("once", (10,), "uint8")
    for _ in range(21):
        scratch.empty("often", (10,), "uint8")
    buffers = scratch._thread.buffers
    assert set(buffers.recent) | set(buffers.earlier) == {"often"}
