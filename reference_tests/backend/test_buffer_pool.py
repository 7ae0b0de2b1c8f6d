"""The pool lends memory to one array at a time, and keeps little more than was in use."""

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nfnumpy as nf
from nfnumpy.backend import buffer_pool
from nfnumpy.backend.buffer_pool import LARGER_BY, SMALLEST, SPARE, BufferPool

LARGE = (SMALLEST // 4,)  # float32


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(buffer_pool, "pool", BufferPool())
    return buffer_pool.pool


def address(array):
    return array.__array_interface__["data"][0]


def test_the_memory_of_a_deleted_array_is_used_again(pool):
    first = buffer_pool.empty(LARGE, "float32")
    start = address(first)
    del first
    assert address(buffer_pool.empty(LARGE, "float32")) == start


@pytest.mark.parametrize("view_of", [lambda a: a[3:], lambda a: a.reshape(-1, 4).T[1], lambda a: a.view("int32"),
                                     lambda a: np.frombuffer(a), np.asarray, memoryview])
def test_memory_is_not_used_again_while_a_view_is_alive(pool, view_of):
    first = buffer_pool.empty(LARGE, "float32")
    start = address(first)
    view = view_of(first)
    del first
    gc.collect()
    assert address(buffer_pool.empty(LARGE, "float32")) != start
    del view
    assert address(buffer_pool.empty(LARGE, "float32")) == start


@given(steps=st.lists(st.one_of(st.integers(1, 40), st.none()), max_size=60), seed=st.integers(0, 2**32 - 1))
def test_arrays_share_no_memory_and_waiting_bytes_are_bounded(steps, seed):
    """The bytes in use and waiting together are at most SPARE times the most that were ever in use.

    steps: a number makes an array of so many pieces of SMALLEST bytes, None deletes a random array.
    """
    draws, alive, most = np.random.default_rng(seed), {}, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffer_pool, "pool", BufferPool())
        patch.setattr(buffer_pool, "SPARE_BYTES", 0)
        for number, step in enumerate(steps):
            if step is not None:
                alive[number] = buffer_pool.empty((step * SMALLEST,), "uint8")
                alive[number][...] = number
            elif alive:
                del alive[draws.choice(sorted(alive))]
            in_use = sum(array.size for array in alive.values())
            most = max(most, buffer_pool.pool.lent_bytes)
            assert in_use <= buffer_pool.pool.lent_bytes
            if step is not None:
                assert buffer_pool.pool.lent_bytes + buffer_pool.pool.waiting_bytes <= SPARE * most
            assert all((array == value).all() for value, array in alive.items())
        assert all(array.size <= buffer_pool.pool.lent_bytes <= LARGER_BY * most for array in alive.values())


def test_released_memory_goes_back_to_the_system(pool):
    arrays = [buffer_pool.empty(LARGE, "float32") for _ in range(3)]
    del arrays
    buffer_pool.pool.take(1)  # registers the returned pieces
    assert buffer_pool.pool.waiting_bytes > 0
    buffer_pool.pool.release()
    assert buffer_pool.pool.waiting_bytes == 0


def test_threads_may_use_the_pool_at_the_same_time(pool):
    wrong = []

    def work(value):
        for _ in range(200):
            array = buffer_pool.empty(LARGE, "float32")
            array[...] = value
            if not (array == value).all():
                wrong.append(value)

    workers = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    buffer_pool.pool.take(1)  # registers the returned pieces
    assert not wrong and buffer_pool.pool.lent_bytes == SMALLEST


def test_too_large_an_array_is_a_memory_error_without_effect(pool):
    with pytest.raises(MemoryError, match="no memory"):
        buffer_pool.empty((1 << 50,), "float32")
    assert pool.lent_bytes == 0 and buffer_pool.empty(LARGE, "float32").shape == LARGE


def test_small_arrays_are_numpys_own(pool):
    assert buffer_pool.empty((3, 4), "float64").base is None and buffer_pool.pool.lent_bytes == 0


def test_an_array_in_pooled_memory_owns_its_memory(pool):
    array = buffer_pool.empty(LARGE, "float32")
    assert buffer_pool.owns_its_memory(array) and not buffer_pool.owns_its_memory(array[1:])


def test_after_two_training_steps_no_memory_is_fresh(monkeypatch):
    monkeypatch.setattr(buffer_pool, "pool", BufferPool())
    model = nf.models.create("nfnet_8px")
    optimizer = nf.optim.SGD(model, lr=0.1)
    x, labels = np.random.default_rng(0).standard_normal((64, 8, 8, 3), dtype=np.float32), np.arange(64) % 10

    def step():
        nf.ops.softmax_cross_entropy(model(x, training=True), labels).backward()
        optimizer.step()

    step()
    step()
    fresh = []
    monkeypatch.setattr(buffer_pool, "_fresh", lambda size: fresh.append(size) or np.empty(size, dtype=np.uint8))
    step()
    assert fresh == []
