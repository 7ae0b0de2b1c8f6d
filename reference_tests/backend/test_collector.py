"""The garbage collector stays out of a stretch of code, and is afterwards as it was."""

import gc

import pytest

from nfnumpy.backend.collector import without_collector


def test_no_garbage_is_collected_within_the_context():
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), without_collector():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is enabled
    gc.enable()
