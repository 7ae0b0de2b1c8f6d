"""The process in which parts are measured; `supervisor` starts it and ends it when the time is up."""

import json
import os
import signal
import sys
import threading
import time
import warnings

from . import plan as plans, resume
from .budget import Budget
from .parts import parts_of
from .runner import DeviceLost, run_parts
from .subprocesses import FAREWELL

DEVICE_LOST = 75  # its status when a new process is to go on with the parts that are left
INTERRUPTED = 130


def main(text: str) -> int:
    """Measure what `text` says, JSON of {path, plan, parts, seconds, at}; returns the status."""
    warnings.filterwarnings("ignore")
    given = json.loads(text)
    budget = Budget(given["seconds"])
    plan = plans.from_json(given["plan"])
    parts = [part for part in parts_of(plan) if part.name in given["parts"]]
    try:
        run_parts(resume.load(given["path"]), plan, parts, budget, given["at"])
    except DeviceLost:
        return DEVICE_LOST
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def end_with_supervisor() -> None:
    """Wait until the other end of standard input is closed, which is when the supervisor has ended; then end, too."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FAREWELL)
    os._exit(INTERRUPTED)  # the main thread is in a call that cannot be interrupted


if __name__ == "__main__":
    threading.Thread(target=end_with_supervisor, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what it started is ended too
    status = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(status)  # the report is written; taking libraries and memory down would take seconds
