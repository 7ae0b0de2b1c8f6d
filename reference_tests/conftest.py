"""What all tests share: reproducible property tests, and one core to each of the two workers."""

import os

# Before anything loads NumPy: BLAS threads that wait for a core busy with the other worker made tests 10 times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("reproducible")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A directory that Hypothesis may write in again and again."""
    return tmp_path_factory.mktemp("scratch")
