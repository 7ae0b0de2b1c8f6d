"""Programs that a part starts: they end when their time is up, and what they printed is kept."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FAREWELL = 1.0  # seconds for a process to end what it has started
TAIL = 12  # lines of what a program printed that a report keeps


class Ended(NamedTuple):
    """How a program ended. status: None if it was killed after its time; text: what it printed, both streams."""

    status: int | None
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines that are not empty, without the signs that frame them."""
        stripped = (line.strip(" =\t") for line in self.text.splitlines())
        return [line for line in stripped if line]

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return self.lines[-1] if self.lines else "no output"


def run(command: Sequence[str], seconds: float, folder: Path) -> Ended:
    """Run `command` in `folder` for at most `seconds`; it is killed after that, with the processes it started."""
    with tempfile.TemporaryFile() as output:  # a pipe would have to be read, and stays open while any child lives
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   cwd=folder, start_new_session=True)
        status: int | None = None
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            kill_all(process)
        output.seek(0)
        return Ended(status, output.read().decode(errors="replace"))


def kill_all(process: subprocess.Popen) -> None:
    """End a process that was started in a session of its own, and all processes in that session's group."""
    with contextlib.suppress(OSError):  # they have ended by themselves
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
