"""Scenarios with child processes, each of which asserts what must hold; `python -m` prints the errors as JSON.

They run in a process of their own, because a fork copies everything that the process has: pytest, torch, threads. The
arguments are the names of the scenarios. NFNUMPY_THREADS=2 makes every model compute on two threads.
"""

import concurrent.futures
import gc
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback

import numpy as np

import nfnumpy as nf
from nfnumpy.backend import blas_threads, buffer_pool, scratch, thread_pool

SECONDS = 30  # for a child that hangs
IMAGES = np.random.default_rng(0).standard_normal((32, 8, 8, 3), dtype=np.float32)
LABELS = np.arange(32) % 10


def classify(images, seed=0):
    """The logits of a fresh model for some images, as bytes: equal bits are equal bytes."""
    with nf.no_grad():
        return nf.models.create("nfnet_8px", seed=seed)(images, training=False).data.tobytes()


def train(steps=2):
    """The parameters of a fresh model after some steps of training, as bytes."""
    model = nf.models.create("nfnet_8px", seed=1)
    optimizer = nf.optim.SGD(model, lr=0.1)
    for _ in range(steps):
        nf.ops.softmax_cross_entropy(model(IMAGES, training=True), LABELS).backward()
        optimizer.step()
    return b"".join(parameter.data.tobytes() for parameter in model.parameters().values())


class Child:
    """A forked process that computes function(); result() returns what it returned."""

    def __init__(self, function):
        self.reading, writing = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            signal.alarm(SECONDS)
            try:
                answer = (function(), None)
            except BaseException:
                answer = (None, traceback.format_exc())
            with open(writing, "wb") as file:
                pickle.dump(answer, file)
            os._exit(0)
        os.close(writing)

    def result(self):
        with open(self.reading, "rb") as file:
            answer = file.read()
        os.waitpid(self.process, 0)
        assert answer, "the child died, or hung and was killed"
        result, error = pickle.loads(answer)
        assert error is None, error
        return result


def in_thread(function):
    """What function() returns on another thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


# ---- os.fork


def fork_before_first_use():
    child = Child(lambda: classify(IMAGES))
    assert thread_pool._pool is None
    assert child.result() == classify(IMAGES)


def fork_after_first_use():
    def compute():
        found, looked_at = classify(IMAGES), threading.Event()
        thread_pool._worker_pool().post(looked_at.set)  # behind what was posted before
        assert looked_at.wait(60.0), "no worker looks at the queue"
        return found, len(thread_pool._worker_pool().queue)

    expected = classify(IMAGES)
    assert Child(compute).result() == (expected, 0)


def fork_from_a_thread():
    assert in_thread(lambda: Child(lambda: classify(IMAGES)).result()) == classify(IMAGES)


def fork_of_a_fork():
    assert Child(lambda: Child(lambda: classify(IMAGES)).result()).result() == classify(IMAGES)


def fork_while_a_thread_computes():
    expected, trained, results = classify(IMAGES), train(), []
    is_computing, is_over = threading.Event(), threading.Event()

    def compute():
        with nf.backend.get("numpy").computing():
            is_computing.set()
            while not is_over.is_set():
                results.append(train())

    thread = threading.Thread(target=compute)
    thread.start()
    is_computing.wait()
    try:
        found = {Child(lambda: classify(IMAGES)).result() for _ in range(5)}
    finally:
        is_over.set()
        thread.join()
    assert found == {expected} and set(results) == {trained}


def train_while_a_fork_predicts():
    trained, predicted = train(6), [classify(IMAGES, seed) for seed in range(6)]
    child = Child(lambda: [classify(IMAGES, seed) for seed in range(6)])
    assert train(6) == trained
    assert child.result() == predicted


def pooled_memory_is_private():
    array = buffer_pool.empty((1 << 18,), "uint8")
    array[...] = 1
    assert Child(lambda: array.fill(2) or array.sum()).result() == 2 * array.size
    assert (array == 1).all()


def inherited_arrays_leave_no_trace_in_the_pool():
    arrays = [buffer_pool.empty((1 << 18,), "uint8") for _ in range(3)]
    del arrays[0]

    def compute():
        arrays.clear()
        gc.collect()
        pool = buffer_pool.pool
        pool.release()
        before = pool.lent_bytes, pool.waiting_bytes
        array = buffer_pool.empty((1 << 18,), "uint8")
        lent = pool.lent_bytes
        del array
        pool.take(1)
        return before, lent, pool.waiting_bytes

    assert Child(compute).result() == ((0, 0), 1 << 18, 1 << 18)


def locks_of_other_threads_are_free():
    locks = (buffer_pool.pool._lock, thread_pool._pool_lock, scratch._lock)
    is_locked, is_over = threading.Event(), threading.Event()

    def keep_locked():
        for lock in locks:
            lock.acquire()
        is_locked.set()
        is_over.wait()
        for lock in locks:
            lock.release()

    def compute():
        scratch.release()
        buffer_pool.pool.release()
        return in_thread(train)

    expected = train()
    thread = threading.Thread(target=keep_locked)
    thread.start()
    is_locked.wait()
    child = Child(compute)
    is_over.set()
    thread.join()
    assert child.result() == expected


def read_settings():
    return [library.read() for library in blas_threads._blas_libraries()], sys.getswitchinterval()


def settings_of_other_threads_end():
    is_inside, is_over, before = threading.Event(), threading.Event(), read_settings()

    def stay_inside():
        with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
            is_inside.set()
            is_over.wait()

    thread = threading.Thread(target=stay_inside)
    thread.start()
    is_inside.wait()
    inside = read_settings()
    child = Child(read_settings)
    is_over.set()
    thread.join()
    assert inside != before and child.result() == before == read_settings()


def settings_of_the_forking_thread_stay():
    before = read_settings()
    with blas_threads.single_threaded_blas(), blas_threads.short_switch_interval():
        child, inside = Child(read_settings), read_settings()
        with blas_threads.single_threaded_blas():
            pass
        assert child.result() == inside == read_settings() != before
    assert read_settings() == before


def scratch_in_use_is_not_overwritten():
    outer = scratch.empty("name", (1000,), "uint8")
    outer[...] = 1
    assert Child(lambda: scratch.empty("name", (1000,), "uint8").fill(2) or int(outer.sum())).result() == 1000


def fork_inside_a_parallel_map_is_an_error():
    both, is_forked, children = threading.Barrier(2, timeout=SECONDS), threading.Event(), []

    def compute(piece):
        both.wait()  # each thread has one piece
        if threading.current_thread() is threading.main_thread():
            children.append(os.fork())
            signal.alarm(0 if children[0] else SECONDS)
            is_forked.set()
        else:
            is_forked.wait()
        return piece

    try:
        thread_pool.parallel_map(compute, range(2))
    except RuntimeError:
        os._exit(77)
    if not children[0]:
        os._exit(1)  # a result without the other thread's piece
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 77


# ---- the standard library's pools and torch's loader


def pool_of(method):
    expected = [classify(IMAGES, seed) for seed in range(3)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap_async(classify, [(IMAGES, seed) for seed in range(3)]).get(SECONDS) == expected


def multiprocessing_fork():
    pool_of("fork")


def multiprocessing_spawn():
    pool_of("spawn")


def multiprocessing_forkserver():
    pool_of("forkserver")


def process_pool_executor():
    expected = [classify(IMAGES, seed) for seed in range(3)]
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
        assert list(executor.map(classify, [IMAGES] * 3, range(3), timeout=SECONDS)) == expected


class Logits:
    """A data set for torch's DataLoader whose examples are computed by nfnumpy."""

    def __len__(self):
        return 4

    def __getitem__(self, number):
        return np.frombuffer(classify(IMAGES, number), dtype=np.uint8).copy()


def torch_data_loader():
    from torch.utils.data import DataLoader
    expected = [classify(IMAGES, number) for number in range(4)]
    batches = DataLoader(Logits(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=SECONDS)
    assert [row.numpy().tobytes() for batch in batches for row in batch] == expected


def main(names):
    errors = {}
    for name in names:
        try:
            globals()[name]()
            errors[name] = None
        except Exception:
            errors[name] = traceback.format_exc()
    print(json.dumps(errors))


if __name__ == "__main__":
    main(sys.argv[1:])
