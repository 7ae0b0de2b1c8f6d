"""Objects in processes of their own: each works on request and is blocked, at no cost, between requests.

So each has its libraries, threads and memory to itself, and its peak of memory is its own.
"""

import contextlib
import importlib
import multiprocessing
import signal
import warnings
from multiprocessing.connection import Connection
from typing import Any

from . import memory, timing

KILLED = -9  # the status of a process that the system ended, most often for its memory


class Process:
    """A process that has one object and calls its methods on request. Use as a context manager, or call `close()`.

    maker: "module:name" of the class (or function) that makes the object from `arguments` in that process; it may
    need libraries that are not installed here. Raises timing.OneLine when that fails there.
    """

    def __init__(self, maker: str, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end,), daemon=True)
        self._process.start()
        other_end.close()
        try:
            self._request("make", maker, *arguments)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """The result of that method there; raises timing.OneLine when it raises, or when the process ends."""
        return self._request("call", method, *arguments)

    def sample(self, least: float, method: str, *arguments: Any) -> tuple[float, int | None]:
        """(milliseconds of a call there as in timing.steady_milliseconds, peak of resident memory in bytes)."""
        return self._request("sample", least, method, *arguments)

    def _request(self, *request):
        try:
            self._connection.send(request)
            worked, result = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(timeout=10)
            status = self._process.exitcode
            hint = "; out of memory?" if status == KILLED else ""
            raise timing.OneLine(f"its process ended with status {status}{hint}") from None
        if not worked:
            raise timing.OneLine(result)
        return result

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class _Server:
    """In the process: the object, and what may be requested."""

    def make(self, maker, *arguments):
        module, _, name = maker.partition(":")
        self.object = getattr(importlib.import_module(module), name)(*arguments)

    def call(self, method, *arguments):
        return getattr(self.object, method)(*arguments)

    def sample(self, least, method, *arguments):
        memory.forget_peak()
        return timing.steady_milliseconds(lambda: self.call(method, *arguments), least), memory.peak()


def _serve(connection: Connection) -> None:
    """What the process does: answer requests until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is for the parent process, which ends this one
    warnings.filterwarnings("ignore")
    server = _Server()
    with contextlib.suppress(EOFError, OSError):
        while True:
            name, *arguments = connection.recv()
            try:
                answer = True, getattr(server, name)(*arguments)
            except Exception as error:
                answer = False, timing.one_line(error)
            connection.send(answer)
