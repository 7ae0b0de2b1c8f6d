"""Objects in processes of their own: each works when it is asked, and costs nothing while it waits.

So each has its libraries, threads and memory to itself, and its peak of memory is its own.
"""

import contextlib
import importlib
import multiprocessing
import signal
import warnings

from .. import timing
from . import memory

KILLED = -9  # the status of a process that the system ended, most often for its memory


class Process:
    """A process that holds one object and calls its methods on demand. Use as a context manager, or call `close()`.

    maker: "module:name" of what is called with `arguments`, in that process, to make the object; it may need
    libraries that are not installed here. Raises timing.OneLine when that fails there.
    """

    def __init__(self, maker, *arguments):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._request("make", maker, *arguments)
        except BaseException:
            self.close()
            raise

    def ask(self, method, *arguments):
        """The result of that method there; raises timing.OneLine when it raises, or when the process ends."""
        return self._request("call", method, *arguments)

    def sample(self, least, method, *arguments):
        """(milliseconds of a call there, as timing.steady_milliseconds has it, the peak of resident memory, bytes)."""
        return self._request("sample", least, method, *arguments)

    def _request(self, *request):
        try:
            self._connection.send(request)
            worked, result = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(timeout=10)
            status = self._process.exitcode
            raise timing.OneLine(f"its process ended with status {status}"
                                 + "; out of memory?" * (status == KILLED)) from None
        if not worked:
            raise timing.OneLine(result)
        return result

    def close(self):
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class _Holder:
    """In the process: the object, and what may be requested."""

    def make(self, maker, *arguments):
        module, _, name = maker.partition(":")
        self.held = getattr(importlib.import_module(module), name)(*arguments)

    def call(self, method, *arguments):
        return getattr(self.held, method)(*arguments)

    def sample(self, least, method, *arguments):
        memory.forget_peak()
        return timing.steady_milliseconds(lambda: self.call(method, *arguments), least), memory.peak()


def _serve(connection):
    """What the process does: answer requests until there is nobody to make them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is its parent's, which ends it
    warnings.filterwarnings("ignore")
    holder = _Holder()
    with contextlib.suppress(EOFError, OSError):
        while True:
            name, *arguments = connection.recv()
            try:
                answer = True, getattr(holder, name)(*arguments)
            except Exception as error:
                answer = False, timing.one_line(error)
            connection.send(answer)
