"""How much memory this process holds, and held at most."""

import contextlib
import sys

STATUS, CLEAR = "/proc/self/status", "/proc/self/clear_refs"
FORGET_PEAK = "5"  # proc(5): sets the peak of the resident memory to what is resident now


def resident():
    """Bytes resident now; where the system does not tell, those resident at most so far."""
    return _status("VmRSS:") or _most_ever()


def peak():
    """Bytes resident at most since `forget_peak`, or since the process began where that cannot be had."""
    return _status("VmHWM:") or _most_ever()


def forget_peak():
    """Let `peak` begin anew; False where the system has no such thing."""
    with contextlib.suppress(OSError), open(CLEAR, "w") as file:
        file.write(FORGET_PEAK)
        return True
    return False


def _status(key):
    """The bytes that Linux tells under `key`, or None."""
    with contextlib.suppress(OSError), open(STATUS) as file:
        for line in file:
            if line.startswith(key):
                return 1024 * int(line.split()[1])
    return None


def _most_ever():
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
