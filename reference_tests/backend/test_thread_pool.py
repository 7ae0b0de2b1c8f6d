"""The thread pool: results in order, errors of the first piece or task, and no caller that sleeps for ever."""

import dis
import functools
import itertools
import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError, reference
from nfnumpy.backend import blas_threads, dispatch, thread_pool
from nfnumpy.backend.thread_pool import parallel_map, run_task_graph


@functools.cache
def pool_with(workers):
    return thread_pool._WorkerPool(workers)


@pytest.fixture
def threads(monkeypatch):
    """threads(n): from now on n threads compute, on any machine."""
    def set_count(count):
        monkeypatch.setattr(blas_threads, "thread_count", lambda: count)
        monkeypatch.setattr(thread_pool, "_worker_pool", lambda: pool_with(count - 1))
        return pool_with(count - 1)
    return set_count


# ---- maps


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_have_the_order_of_the_pieces(threads, count):
    threads(count)
    for pieces in ([], [7], range(40)):
        assert parallel_map(lambda piece: piece * piece, pieces) == [piece * piece for piece in pieces]


def test_pieces_run_on_more_than_one_thread(threads):
    threads(2)
    both = threading.Barrier(2, timeout=60)  # each of two pieces waits until the other has begun

    def name_thread(piece):
        both.wait()
        return threading.current_thread().name

    assert len(set(parallel_map(name_thread, range(2)))) == 2


def test_blas_is_single_threaded_inside_a_map_only(threads):
    threads(2)
    libraries = blas_threads._blas_libraries()
    before = [library.read() for library in libraries]
    seen = parallel_map(lambda piece: [library.read() for library in libraries], range(4))
    assert before and seen == [[1] * len(libraries)] * 4
    assert [library.read() for library in libraries] == before


@pytest.mark.parametrize("count", [1, 2])
def test_the_error_of_the_first_failed_piece_is_raised(threads, count):
    threads(count)
    both = threading.Barrier(count, timeout=60)

    def fail(piece):
        if piece:
            both.wait()  # with two threads: pieces 1 and 2 fail, in any order
            raise InputError(f"piece {piece}")

    for _ in range(20):
        with pytest.raises(InputError, match="piece 1"):
            parallel_map(fail, range(3))


def test_after_an_error_no_other_piece_starts(threads):
    threads(1)
    started = []

    def fail(piece):
        started.append(piece)
        raise InputError("no")

    with pytest.raises(InputError):
        parallel_map(fail, range(9))
    assert started == [0]


def test_workers_know_the_contexts_of_their_caller(threads):
    threads(2)
    both = threading.Barrier(2, timeout=60)

    def look(piece):
        both.wait()
        return dispatch._reference.get(), np.geterr()["over"]

    with reference(), np.errstate(over="raise"):
        assert parallel_map(look, range(2)) == [(True, "raise")] * 2


# ---- task graphs


@given(parents=st.lists(st.integers(0, 30), max_size=30), count=st.integers(1, 4))
def test_each_task_runs_once_after_the_task_that_returned_it(parents, count):
    parents = [min(parent, task) for task, parent in enumerate(parents)]  # of task + 1
    done = []

    def run(task):
        done.append(task)
        return [child + 1 for child, parent in enumerate(parents) if parent == task]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_pool, "_worker_pool", lambda: pool_with(count - 1))
        run_task_graph([0], run)
    assert sorted(done) == list(range(len(parents) + 1))
    assert all(done.index(parent) < done.index(child + 1) for child, parent in enumerate(parents))


def test_one_thread_runs_the_least_ready_task_first(threads):
    threads(1)
    done = []
    run_task_graph([5, 3], lambda task: done.append(task) or ([1, 4] if task == 3 else []))
    assert done == [3, 1, 4, 5]


def test_after_an_error_no_other_task_starts(threads):
    threads(1)
    begun = []

    def run(task):
        begun.append(task)
        raise InputError(f"task {task}")

    with pytest.raises(InputError, match="task 2"):
        run_task_graph([7, 2, 4], run)
    assert begun == [2]


@pytest.mark.parametrize("tasks", [[1, 2], [2, 1]])
def test_the_error_of_the_least_failed_task_is_raised(threads, tasks):
    threads(2)
    both = threading.Barrier(2, timeout=60)

    def run(task):
        both.wait()
        raise InputError(f"task {task}")

    with pytest.raises(InputError, match="task 1"):
        run_task_graph(tasks, run)


def test_tasks_may_use_parallel_maps(threads):
    threads(4)
    found = {}

    def run(task):
        found[task] = parallel_map(lambda piece: task * piece, range(4))
        return [task + 1] if task < 20 else []

    run_task_graph([0], run)
    assert found == {task: [task * piece for piece in range(4)] for task in range(21)}


def test_blas_and_the_switch_interval_are_restored(threads):
    threads(2)
    libraries, interval = blas_threads._blas_libraries(), sys.getswitchinterval()
    before, seen = [library.read() for library in libraries], []

    def run(task):
        seen.append(([library.read() for library in libraries], sys.getswitchinterval() < 0.001))
        return []

    try:
        sys.setswitchinterval(0.25)
        for library in libraries:
            library.change(2)
        run_task_graph([1, 2], run)
        assert seen == [([1] * len(libraries), True)] * 2
        assert sys.getswitchinterval() == 0.25 and all(library.read() == 2 for library in libraries)
    finally:
        sys.setswitchinterval(interval)
        for library, count in zip(libraries, before, strict=True):
            library.change(count)


def test_two_callers_share_the_workers(threads):
    threads(3)
    results = {}

    def call(name):
        done = []
        run_task_graph([0], lambda task: done.append(task) or ([2 * task + 1, 2 * task + 2] if task < 40 else []))
        results[name] = sorted(done)

    callers = [threading.Thread(target=call, args=(name,)) for name in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == {name: list(range(81)) for name in range(3)}


# ---- interruptions


def test_an_interruption_while_the_caller_sleeps_is_raised(threads):
    """What has begun ends before, and nothing else begins."""
    pool = threads(2)
    both, begun, ended, interruptions = threading.Barrier(2, timeout=60), [], [], []

    def run(task):
        begun.append(task)
        if task != "later":
            both.wait()
        if threading.current_thread() is threading.main_thread():
            return []
        while not pool.idle_workers:  # until the caller has no task
            pass
        while not interruptions:  # a signal just before the caller falls asleep does not wake it
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        ended.append(task)
        return ["later"]

    def interrupt_once(number, frame):
        if not interruptions:
            interruptions.append(number)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt_once)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_task_graph(["a", "b"], run)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(begun) == ["a", "b"] and len(ended) == 1


HANDLERS_RUN_AFTER = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME"}  # instructions after which CPython runs signal
# handlers; it also runs them at JUMP_BACKWARD


@functools.cache
def interruptible_offsets(code):
    """The offsets in `code` of the instructions before which CPython may have raised KeyboardInterrupt."""
    instructions = list(dis.get_instructions(code))
    return {later.offset for earlier, later in itertools.pairwise(instructions)
            if earlier.opname in HANDLERS_RUN_AFTER or later.opname == "JUMP_BACKWARD"}


def interrupted_at(position, function):
    """Whether function() was interrupted at that of its possible places (0, 1, …) in thread_pool.py."""
    passed = 0

    def trace(frame, event, argument):
        nonlocal passed
        if frame.f_code.co_filename != thread_pool.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in interruptible_offsets(frame.f_code):
            passed += 1
            if passed == position + 1:
                raise KeyboardInterrupt
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(previous)
    return passed > position


def small_graph():
    run_task_graph([0], lambda task: [2 * task + 1, 2 * task + 2] if task < 3 else [])


def small_map():
    parallel_map(lambda piece: piece, range(3))


@pytest.mark.parametrize("function", [small_graph, small_map])
@pytest.mark.parametrize("count", [1, 2])
def test_an_interruption_anywhere_leaves_no_caller_asleep(threads, function, count):
    """A caller that waited for a lost task would never return."""
    pool, position = threads(count), 0
    interval = sys.getswitchinterval()
    while interrupted_at(position, function):
        position += 1
        small_graph()  # the pool works as before
        assert parallel_map(lambda piece: piece, range(3)) == [0, 1, 2]
    assert position > 10 and sys.getswitchinterval() == interval
    assert not any(function.__self__.helpers for _, function in list(pool.queue))
