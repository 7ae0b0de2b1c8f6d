"""One process that decodes images beside the training process, and hands batches over in shared memory.

The process is started, not forked: it has none of the trainer's threads and locks. It ends with the trainer however
that ends, because its end of the pipe is then closed.

Used by: loader.py. Test: reference_tests/datasets/test_loader_process.py.
"""

import atexit
import math
import multiprocessing
import multiprocessing.util  # first: its function at exit then runs after the one here
import os
import weakref
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ..backend.freed_memory import keep_freed_memory
from ..errors import InputError
from .batch_reading import Order, Part, Rules, read_parts
from .dataset import Examples
from .held_signals import held_signals, ignore_signals

SECONDS_TO_END = 5.0  # a picture that is being decoded is finished
SLOTS = 2  # batches in shared memory: one that is copied out while the next one is copied in
BEGIN, FREE, STOP = "begin", "free", "stop"  # from the trainer
BATCH, END, ERROR = "batch", "end", "error"  # from the process

_running: "weakref.WeakSet[DecodingProcess]" = weakref.WeakSet()


class DecodingProcess:
    """A process that reads batches of examples by some rules, one order at a time."""

    def __init__(self, examples: Examples, rules: Rules) -> None:
        shape = (rules.batch_size, examples.image_size, examples.image_size, 3)
        context = multiprocessing.get_context("spawn")
        self._memory = context.RawArray("B", SLOTS * math.prod(shape))
        self._connection, others = context.Pipe()
        self._process = context.Process(target=_serve, name="nfnumpy-decoding", args=(
            others, self._memory, shape, examples, rules))
        try:
            with held_signals():
                self._process.start()
        except BaseException as error:  # pickling may call any code, and a signal that was held may raise
            self._connection.close()  # a process that has started ends
            if not isinstance(error, Exception):
                raise
            raise InputError(f"the examples cannot be sent to a decoding process: {error}") from None
        finally:
            others.close()
        self._slots = _slots(self._memory, shape)
        self._is_reading = False
        _running.add(self)

    def parts(self, order: Order) -> Generator[Part, None, None]:
        """Generate the batches of `order`, as read_parts does, in arrays of their own."""
        if self._is_reading:
            raise InputError("batches() was called while another order is being read, expected a Loader for each")
        self._send((BEGIN, order))
        self._is_reading = True
        has_ended = False
        try:
            while True:
                kind, *content = self._receive()
                has_ended = kind in (END, ERROR)
                if kind == END:
                    return
                if kind == ERROR:
                    raise _error(*content)
                slot, targets, bad = content
                images = self._slots[slot, :len(targets[0])].copy()
                self._send((FREE,))
                yield Part((images, *targets), bad)
        finally:
            if not has_ended:
                self._stop()
            self._is_reading = False

    def _stop(self) -> None:
        """Let the process give up what it reads, unless it has ended."""
        with suppress(InputError, OSError):
            self._send((STOP,))
            while self._receive()[0] not in (END, ERROR):
                pass

    def close(self) -> None:
        """End the process."""
        _running.discard(self)
        self._connection.close()
        self._process.join(SECONDS_TO_END)
        self._process.kill()
        self._process.join()

    def _send(self, message: tuple) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._gone() from None

    def _receive(self) -> tuple:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None

    def _gone(self) -> InputError:
        """The error for a process that has ended by itself."""
        self._process.join(1.0)
        return InputError(f"the process that decodes images has ended (exit code {self._process.exitcode}), perhaps "
                          f"for lack of memory; --loader threads decodes without it")


def _error(is_bad_input: bool, text: str) -> Exception:
    """The exception for an error in the process."""
    return InputError(text) if is_bad_input else RuntimeError(f"in the process that decodes images: {text}")


def _close_all() -> None:
    for process in list(_running):
        process.close()


atexit.register(_close_all)


def _slots(memory: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The shared memory as an array (SLOTS, batch, H, W, 3)."""
    return np.frombuffer(memory, dtype=np.uint8).reshape(SLOTS, *shape)


def _serve(connection: Connection, memory: Any, shape: tuple[int, ...], examples: Examples, rules: Rules) -> None:
    """What the process does: read the batches that the trainer asks for, until it closes the pipe."""
    ignore_signals()  # they are for the trainer, which may need more batches before it ends
    keep_freed_memory()
    slots = _slots(memory, shape)
    try:
        while True:
            kind, *content = connection.recv()
            if kind == BEGIN:
                with closing(read_parts(examples, content[0], rules)) as parts:
                    connection.send(_copied(connection, slots, parts, examples))
    except (EOFError, ConnectionError):
        os._exit(0)  # the trainer has ended; nothing here is worth waiting for


def _copied(connection: Connection, slots: np.ndarray, parts: Iterable[Part], examples: Examples) -> tuple:
    """Copy batches to the shared memory, as it gets free, and say where they are; returns the last message."""
    used = 0
    number = 0
    sent: set[int] = set()  # of this order only: the trainer may have given up the last one before it had all batches
    remaining = iter(parts)
    while True:
        try:
            part = next(remaining, None)
        except Exception as error:  # of any kind: it is raised in the trainer
            is_bad_input = isinstance(error, InputError | OSError)
            return ERROR, is_bad_input, str(error) if is_bad_input else f"{type(error).__name__}: {error}"
        if part is None:
            return (END,)
        while used == SLOTS or connection.poll():
            if connection.recv()[0] == STOP:
                return (END,)
            used -= 1
        images, *targets = part.batch
        slots[number, :len(images)] = images
        connection.send((BATCH, number, targets, {**part.bad, **_unsent(examples.bad_images, sent)}))
        number = (number + 1) % SLOTS
        used += 1


def _unsent(bad: dict[int, str], sent: set[int]) -> dict[int, str]:
    """What of `bad`, which only grows, is not in `sent` yet; it is afterwards."""
    if len(bad) == len(sent):
        return {}
    new = {number: error for number, error in bad.items() if number not in sent}
    sent.update(new)
    return new
