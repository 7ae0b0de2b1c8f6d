"""Resident memory of this process: now, and at most."""

import contextlib
import sys

STATUS, CLEAR = "/proc/self/status", "/proc/self/clear_refs"
FORGET_PEAK = "5"  # proc(5): sets the peak of the resident memory to what is resident now


def resident() -> int | None:
    """Bytes resident now; where the system does not say, the greatest number so far."""
    return _status("VmRSS:") or _greatest_ever()


def peak() -> int | None:
    """Bytes resident at most since `forget_peak`; where the system does not say, since the process began."""
    return _status("VmHWM:") or _greatest_ever()


def forget_peak() -> bool:
    """Start a new `peak`; False where the system cannot."""
    with contextlib.suppress(OSError), open(CLEAR, "w") as file:
        file.write(FORGET_PEAK)
        return True
    return False


def _status(key):
    """The bytes that Linux lists under `key`, or None."""
    with contextlib.suppress(OSError), open(STATUS) as file:
        for line in file:
            if line.startswith(key):
                return 1024 * int(line.split()[1])
    return None


def _greatest_ever():
    try:
        import resource
    except ImportError:  # Windows
        return None
    greatest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return greatest if sys.platform == "darwin" else 1024 * greatest
