"""The process in which parts are measured; `supervisor` starts it and ends it when the time is up."""

import json
import signal
import sys
import warnings

from . import plan as plans, resume
from .budget import Budget
from .parts import parts_of
from .runner import DeviceLost, run_parts

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


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what it started is ended too
    sys.exit(main(sys.argv[1]))
