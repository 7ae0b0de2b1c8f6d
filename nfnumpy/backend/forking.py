"""What has to happen when this process is forked.

`os.fork` copies the memory of a process but only the forking thread: in the child, worker threads are gone, and a lock
that another thread held stays locked for ever. Each module of the backend with such state registers functions here.

One case is OpenBLAS's own: if another thread is computing a product on several of *OpenBLAS's* threads during the fork,
OpenBLAS may wait for ever in the parent. nfnumpy's products run on one BLAS thread each; the small ones outside of its
fast paths do so within `backend.get("numpy").computing()`, as in the training loop.
"""

import os
from collections.abc import Callable


def at_fork(**functions: Callable[[], object]) -> None:
    """Register functions to call at a fork: `before`, `after_in_parent`, `after_in_child`.

    They are the arguments of `os.register_at_fork`. Nothing happens on systems without fork.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, where processes are never forked
        os.register_at_fork(**functions)
