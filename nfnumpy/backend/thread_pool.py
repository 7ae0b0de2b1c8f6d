"""Our threads at work: pieces of one job, and tasks of which one makes others possible.

A thread that calls is one of the crew. Work lies in one queue, oldest first; who has nothing to do takes of it, or
sleeps until there is some. Nobody waits for a thread that has not begun: what is done before it wakes up is done.
"""

import collections
import contextlib
import contextvars
import functools
import heapq
import queue
import threading

import numpy

from . import blas_threads

SPIN_ITERATIONS = 100  # looks at what the others do before going to sleep
SPIN_VALUES = numpy.broadcast_to(numpy.float32(0.0), (1 << 14,))  # a sum of one value in memory takes some 3 µs


class _WorkerPool:
    """The work that waits, and those threads that sleep until there is some."""

    def __init__(self, helpers):
        self.waiting, self.idle_workers = collections.deque(), collections.deque()
        for number in range(helpers):
            threading.Thread(target=self.serve, args=(queue.SimpleQueue(), lambda: False), name=f"nfnumpy {number}",
                             daemon=True).start()

    def post(self, work):
        """Have someone call work(); a thread knows nothing of its caller's contexts (no_grad, …) but a copy."""
        self.waiting.append((contextvars.copy_context(), work))
        try:
            self.idle_workers.pop().put(None)
        except IndexError:
            pass  # all are awake and will look

    def serve(self, wakeup, is_done):
        """Take work until there is none left that is_done() waits for; wakeup: a queue that wakes this thread."""
        while not is_done():
            try:
                context, work = self.waiting.popleft()
            except IndexError:
                self._sleep(wakeup, is_done)
            else:
                context.run(work)
                del context, work  # and what they hold, before the next comes

    def _sleep(self, wakeup, is_done):
        self.idle_workers.append(wakeup)
        try:
            if not self.waiting and not is_done():  # once more, as who came before the last line rang no wakeup
                wakeup.get()
        finally:
            with contextlib.suppress(ValueError):
                self.idle_workers.remove(wakeup)


@functools.cache
def _worker_pool():
    return _WorkerPool(blas_threads.thread_count() - 1)


class _ParallelMap:
    """Pieces of work that whoever has time takes one of, until none is left."""

    def __init__(self, function, pieces):
        self.function, self.pieces = function, iter(list(enumerate(pieces)))
        self.results, self.errors = [None] * len(pieces), {}
        self._finished, self._last = [], queue.SimpleQueue()

    def work(self):
        """Take pieces and finish them."""
        with blas_threads.small_ufunc_buffer():
            for position, piece in self.pieces:
                try:
                    self.results[position] = self.function(piece)
                except BaseException as error:
                    self.errors[position] = error
                self._finished.append(position)
        if self.is_done():
            self._last.put(None)

    def is_done(self):
        """Whether all pieces are finished."""
        return len(self._finished) == len(self.results)

    def wait(self):
        """Until those have finished who took the last pieces.

        Waking up takes some 60 µs, so for a while this thread stays awake, without the interpreter's lock: the others
        need it to finish.
        """
        for _ in range(SPIN_ITERATIONS):
            if self.is_done():
                return
            numpy.add.reduce(SPIN_VALUES)
        while not self.is_done():
            self._last.get()


def parallel_map(function, pieces):
    """[function(piece) for piece in pieces], on our threads; the order of the results is that of the pieces.

    Each thread takes the next piece when it is done with its last. Of several errors the first piece's is raised.
    """
    job = _ParallelMap(function, list(pieces))
    with blas_threads.single_threaded_blas():
        for _ in range(min(blas_threads.thread_count(), len(job.results)) - 1):
            _worker_pool().post(job.work)
        job.work()
        job.wait()
    if job.errors:
        raise job.errors[min(job.errors)]
    results, job.function, job.results = job.results, None, ()
    return results


class _TaskGraph:
    """Tasks that can be done now, the least first, and how many are not finished."""

    def __init__(self, run):
        self.run, self.ready, self.unfinished, self.errors = run, [], 0, {}
        self.lock, self.wakeup, self.is_cancelled = threading.Lock(), queue.SimpleQueue(), False

    def add(self, tasks):
        """These can be done now."""
        with self.lock:
            for task in tasks:
                heapq.heappush(self.ready, task)
            self.unfinished += len(tasks)
        for _ in tasks:
            _worker_pool().post(self.do_one)

    def do_one(self):
        """The least of the tasks, unless one has failed or they are called off."""
        with self.lock:
            task = heapq.heappop(self.ready)
        try:
            self.add([] if self.errors or self.is_cancelled else self.run(task))
        except BaseException as error:
            self.errors[task] = error
        with self.lock:
            self.unfinished -= 1
        if self.is_done():
            self.wakeup.put(None)

    def is_done(self):
        """Whether none is left."""
        return not self.unfinished


def run_task_graph(first, run):
    """Do the tasks of the list `first`, and those that run(task) returns, on our threads, the least first.

    Of several errors the least task's is raised; what has not begun by then is left undone.
    """
    tasks = _TaskGraph(run)
    with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
        tasks.add(first)
        try:
            _worker_pool().serve(tasks.wakeup, tasks.is_done)
        except BaseException:  # an interruption of the caller's sleep
            tasks.is_cancelled = True
            _worker_pool().serve(tasks.wakeup, tasks.is_done)
            raise
    if tasks.errors:
        raise tasks.errors[min(tasks.errors)]
