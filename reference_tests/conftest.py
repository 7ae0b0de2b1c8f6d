"""What all tests share: reproducible property tests, and one core to each of the two workers."""

import os
import sys
from pathlib import Path

# Before anything loads NumPy: BLAS threads that wait for a core busy with the other worker made tests 10 times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["NFNUMPY_TF32"] = "0"  # where there is a GPU, float32 means float32

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("reproducible")
torch.set_num_threads(1)


def _gpu_is_at_hand():
    try:
        import cupy
        return cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # not installed, no driver, no device: each has its own
        for name in [name for name in sys.modules if name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends")]:
            del sys.modules[name]
        return False


GPU = _gpu_is_at_hand()
ROOT = Path(__file__).parents[1]
STAND_IN = str(Path(__file__).parent / "helpers" / "cupy_stand_in")
if not GPU:
    sys.path.insert(0, STAND_IN)  # `import cupy` finds the stand-in, whose kernels run on the CPU


def pytest_runtest_teardown() -> None:
    """The bench gives PyTorch all cores: every later test of the process would take four times its processor time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A directory that Hypothesis may write in again and again."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory):
    """A folder of IDX files: 24 training and 8 test images of the embedded digits, all ten classes."""
    from reference_tests.helpers.dataset_files import write_few_digits

    return write_few_digits(tmp_path_factory.mktemp("few") / "few")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, few_digits):
    """The folder of a run of two epochs on few_digits; to be copied, not changed."""
    from nfnumpy.training import train

    folder = tmp_path_factory.mktemp("finished") / "run"
    train({"data": f"idx:{few_digits}", "epochs": 2, "batch_size": 12, "out": str(folder)})
    return folder
