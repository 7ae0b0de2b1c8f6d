"""The memory pool's figures; here every array has its own place."""

import contextlib

from reference_tests.helpers.cuda_on_cpu import guarded


class MemoryPool:
    """Holds nothing back."""

    def __init__(self, allocator=None):
        pass

    def used_bytes(self):
        return guarded.bytes_in_use()

    total_bytes = used_bytes

    def free_bytes(self):
        return 0

    def malloc(self, size):
        raise NotImplementedError

    def free_all_blocks(self, stream=None):
        pass


def get_default_memory_pool():
    return MemoryPool()


class MemoryHook:
    """Is not called: there is no pool to follow."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@contextlib.contextmanager
def using_allocator(allocator=None):
    yield


def set_allocator(allocator=None):
    pass
