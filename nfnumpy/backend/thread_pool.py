"""A pool of worker threads with one FIFO queue, and two kinds of jobs: `parallel_map` and `run_task_graph`.

The calling thread works too. An item of the queue is an offer to help with a job. An idle worker takes the oldest item
or sleeps. A caller never waits for a worker that has not started: a job without helpers is finished by its caller.

    caller:  post help() ---> run tasks until none is ready ---> wait until job.helpers is empty ---> return or raise
                 |                                                           ^
                 v queue                                                     | the last helper wakes the caller
    worker:  help(): enter job.helpers ---> run tasks until none is ready ---> leave job.helpers ---> next item or sleep

    task:    ready ---> running ---> finished; the tasks that it returns are ready now
                           |
                           +-------> failed; no other task starts, and the error of the least failed task is raised
"""

import collections
import contextlib
import contextvars
import heapq
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy

from . import blas_threads
from .forking import at_fork

SPIN_ITERATIONS = 100  # checks whether all helpers have finished, before the caller sleeps
SPIN_VALUES = numpy.broadcast_to(numpy.float32(0.0), (1 << 14,))  # a sum over one value in memory takes some 3 µs


class _WorkerPool:
    """Worker threads, the queue of their work, and the list of threads that sleep until there is some."""

    def __init__(self, workers: int) -> None:
        self.queue: collections.deque = collections.deque()  # (context, function), the oldest first
        self.idle_workers: collections.deque = collections.deque()  # the wakeup queues of sleeping threads
        self.wakeups: list[queue.SimpleQueue] = [queue.SimpleQueue() for _ in range(workers)]  # one for each worker
        self.is_open = True
        for number, wakeup in enumerate(self.wakeups):
            with contextlib.suppress(RuntimeError):  # the system allows no more threads: the callers do the work
                threading.Thread(target=self._work, args=(wakeup,), name=f"nfnumpy {number}", daemon=True).start()

    def post(self, function: Callable[[], None]) -> None:
        """Put function() into the queue. It will run in a copy of this thread's context (no_grad, errstate, …)."""
        self.queue.append((contextvars.copy_context(), function))
        try:
            self.idle_workers.pop().put(None)
        except IndexError:
            pass  # no thread sleeps; each looks into the queue before it does

    def run_next(self) -> bool:
        """Run the oldest item of the queue; returns False if there is none."""
        try:
            context, function = self.queue.popleft()
        except IndexError:
            return False
        context.run(function)
        return True

    def sleep(self, wakeup: queue.SimpleQueue, is_done: Callable[[], bool]) -> None:
        """Sleep until an item is posted or wakeup.put() is called; not at all if there is an item, or is_done()."""
        try:
            self.idle_workers.append(wakeup)
            if not self.queue and not is_done():  # checked after the line above: a later post finds `wakeup`
                wakeup.get()
        finally:
            with contextlib.suppress(ValueError):
                self.idle_workers.remove(wakeup)

    def wake_all(self) -> None:
        """Wake all workers: an interrupted post() may have removed one from the list without waking it."""
        for wakeup in self.wakeups:
            wakeup.put(None)

    def close(self) -> None:
        """In a forked child: drop the parent's work. The workers do not exist here."""
        self.is_open = False
        self.queue.clear()

    def _work(self, wakeup: queue.SimpleQueue) -> None:
        while self.is_open:  # not in a child forked by this thread
            if not self.run_next():
                self.sleep(wakeup, lambda: not self.is_open)


_pool: _WorkerPool | None = None
_pool_lock = threading.Lock()


def _worker_pool() -> _WorkerPool:
    """The pool of this process; the first call starts its workers."""
    global _pool
    if _pool is None:
        with _pool_lock:
            if _pool is None:
                _pool = _WorkerPool(blas_threads.thread_count() - 1)
    return _pool


def _forget_pool() -> None:
    global _pool, _pool_lock
    if _pool is not None:
        _pool.close()
    _pool, _pool_lock = None, threading.Lock()


at_fork(after_in_child=_forget_pool)


class _PoolJob:
    """Tasks that the caller and its helpers run. A subclass has work(), which runs tasks until none is ready.

    An interruption (KeyboardInterrupt) may come between any two instructions of the main thread. Only `helpers` says
    whether a task is running, and each change of it is a single call, so that no caller waits for a task that was
    lost. A lost item of the queue is harmless: a thread that adds tasks goes on to run tasks until none is ready.
    """

    def __init__(self) -> None:
        self.helpers: set[object] = set()  # one object for each thread in help()
        self.wakeup: queue.SimpleQueue = queue.SimpleQueue()  # wakes the caller
        self.errors: dict[Any, BaseException] = {}  # by task
        self.interruption: BaseException | None = None  # of a helper, between tasks
        self.is_stopped = False  # no other task starts
        self._caller, self._process = threading.get_ident(), os.getpid()

    def work(self) -> None:
        """Run tasks until none is ready or the job is stopped."""
        raise NotImplementedError

    def help(self) -> None:
        """Work on another thread than the caller's."""
        helper = object()
        try:
            self.helpers.add(helper)  # before the first task is taken
            self.work()
        except BaseException as error:
            self.interruption, self.is_stopped = error, True
            raise
        finally:
            try:
                self.helpers.discard(helper)
            finally:
                if not self.helpers:
                    self.wakeup.put(None)

    def fail(self, task: Any, error: BaseException) -> None:
        """Note that a task has raised `error`."""
        self.errors[task], self.is_stopped = error, True
        helps = threading.get_ident() != self._caller
        if helps and isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise error  # it is for the main thread's own caller as well

    def wait(self) -> None:
        """Wait until no helper is at work.

        Waking up takes some 60 µs, so for a while the caller stays awake, without the interpreter's lock: the helpers
        need it to finish.
        """
        for _ in range(SPIN_ITERATIONS):
            if not self.helpers:
                return
            numpy.add.reduce(SPIN_VALUES)
        while self.helpers:
            if os.getpid() != self._process:
                raise RuntimeError("this process was forked inside a parallel computation: its other threads are "
                                   "missing")
            self.wakeup.get()

    def stop(self) -> None:
        """After an interruption of the caller: start no other task, and wait for those that are running."""
        self.is_stopped = True
        if self.helpers:
            self.wait()
        if _pool is not None:
            _pool.wake_all()

    def raise_error(self) -> None:
        """Raise the error of the least failed task, if there is one."""
        if self.errors:
            raise self.errors[min(self.errors)]
        if self.interruption is not None:
            raise self.interruption


class _ParallelMap(_PoolJob):
    """A job whose tasks are all ready at first."""

    def __init__(self, function: Callable[[Any], Any], pieces: Sequence[Any]) -> None:
        super().__init__()
        self.function: Callable[[Any], Any] = function
        self.pieces = iter(list(enumerate(pieces)))  # shared: each thread takes the next piece
        self.results: list[Any] = [None] * len(pieces)

    def work(self) -> None:
        with blas_threads.small_ufunc_buffer():
            for position, piece in self.pieces:
                if self.is_stopped:
                    break
                try:
                    self.results[position] = self.function(piece)
                except BaseException as error:
                    self.fail(position, error)


def parallel_map(function: Callable[[Any], Any], pieces: Iterable[Any]) -> list[Any]:
    """[function(piece) for piece in pieces], on the threads of the pool; the results have the order of the pieces.

    Each thread takes the next piece when it has finished one. After an error no other piece starts; of several errors
    the first piece's is raised.
    """
    pieces = list(pieces)
    helpers = min(blas_threads.thread_count(), len(pieces)) - 1
    if helpers < 1:
        with blas_threads.single_threaded_blas(), blas_threads.small_ufunc_buffer():
            return [function(piece) for piece in pieces]
    job = _ParallelMap(function, pieces)
    with blas_threads.single_threaded_blas():
        try:
            for _ in range(helpers):
                _worker_pool().post(job.help)
            job.work()
            job.wait()
        except BaseException:
            job.stop()
            raise
    results = job.results
    del job.function, job.results  # an item of the queue may keep the job for a while
    job.raise_error()
    return results


class _TaskGraph(_PoolJob):
    """A job whose tasks make other tasks ready."""

    def __init__(self, run: Callable[[Any], Iterable[Any]]) -> None:
        super().__init__()
        self.run = run
        self.ready: list[Any] = []  # a heap: the least task first
        self.lock = threading.Lock()  # of `ready`

    def add(self, tasks: Iterable[Any]) -> None:
        """Make these tasks ready. The thread that adds them goes on to work(), so one of them needs no helper."""
        with self.lock:
            count = 0
            for task in tasks:
                heapq.heappush(self.ready, task)
                count += 1
        for _ in range(count - 1):
            _worker_pool().post(self.help)

    def work(self) -> None:
        while not self.is_stopped:
            with self.lock:
                if not self.ready:
                    return
                task = heapq.heappop(self.ready)
            try:
                self.add(self.run(task))
            except BaseException as error:
                self.fail(task, error)

    def is_done(self) -> bool:
        """Whether no task is ready or running. `ready` is read first: helpers leave only when it is empty."""
        return (self.is_stopped or not self.ready) and not self.helpers

    def work_until_done(self) -> None:
        """The caller's part: its own tasks first, then other work of the pool, such as maps inside of its tasks."""
        self.work()
        while not self.is_done():
            if self.ready and not self.is_stopped:
                self.work()
            elif not _worker_pool().run_next():
                _worker_pool().sleep(self.wakeup, self.is_done)


def run_task_graph(first: Iterable[Any], run: Callable[[Any], Iterable[Any]]) -> None:
    """Run the tasks `first`, and those that run(task) returns, on the threads of the pool, the least task first.

    After an error no other task starts; of several errors the least task's is raised.
    """
    graph = _TaskGraph(run)
    with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
        try:
            graph.add(first)
            graph.work_until_done()
        except BaseException:
            graph.stop()
            raise
    graph.raise_error()
