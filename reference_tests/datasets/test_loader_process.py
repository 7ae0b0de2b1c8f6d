"""A process that decodes gives the same batches as threads, its errors cross over, and it ends with its trainer."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from nfnumpy.datasets import Loader, SkippingSplit
from nfnumpy.datasets.batch_reading import Rules
from nfnumpy.datasets.loader_process import DecodingProcess
from nfnumpy.errors import InputError
from reference_tests.conftest import ROOT
from reference_tests.helpers.dataset_files import one_line
from reference_tests.helpers.numbered_split import Numbered


def listed(stream):
    """(first pixels, labels) of all batches."""
    return [(images[:, 0, 0, 0].tolist(), labels.tolist()) for images, labels in stream]


@pytest.fixture(scope="module")
def loader():
    """A loader with a process, which is started once."""
    with Loader(Numbered(200, bad={150}, fails={160}), 8, workers=2, kind="process") as opened:
        yield opened


@pytest.mark.parametrize("count", [0, 1, 8, 9, 100])
def test_a_process_gives_the_batches_of_threads(loader, count):
    order = np.random.default_rng(count).permutation(100)[:count]
    expected = listed(Loader(Numbered(200), 8, workers=0).batches(order))
    assert listed(loader.batches(order)) == expected


def test_batches_are_the_callers_own(loader):
    """They stay as they are while the shared memory is filled again."""
    batches = list(loader.batches(np.arange(80)))
    assert [images[0, 0, 0, 0] for images, _ in batches] == list(range(0, 80, 8))
    batches[0][0][:] = 0


def test_an_epoch_that_is_given_up_leaves_the_process_for_the_next_one(loader):
    for taken in (0, 1, 5):
        stream = loader.batches(np.arange(100))
        for _ in range(taken):
            next(stream)
        stream.close()
    assert listed(loader.batches(np.arange(8))) == [(list(range(8)), [*range(7), 0])]


def test_two_orders_at_the_same_time_are_refused(loader):
    first = loader.batches(np.arange(100))
    next(first)
    with pytest.raises(InputError, match="another order"):
        next(loader.batches(np.arange(8)))
    first.close()


def test_a_bad_image_is_the_same_error_after_good_batches(loader):
    stream = loader.batches(np.arange(136, 160))
    assert len(next(stream)[1]) == 8
    with pytest.raises(InputError, match=r"^image 150 is bad; --on-bad-image skip"):
        next(stream)
    assert listed(loader.batches(np.arange(8)))  # and the process goes on


def test_a_mistake_crosses_over_as_one_line(loader):
    with pytest.raises(RuntimeError, match=r"in the process that decodes images: KeyError.*a mistake at 160") as caught:
        list(loader.batches(np.arange(160, 161)))
    one_line(caught)


def test_a_data_set_that_cannot_be_sent_is_refused():
    split = Numbered(8)
    split.function = lambda: None
    with Loader(split, 8, kind="process") as opened, pytest.raises(InputError, match="cannot be sent"):
        list(opened.batches(np.arange(8)))


def test_images_that_others_took_the_place_of_are_reported_by_the_process():
    split = SkippingSplit(Numbered(40, bad={1, 9}))
    with Loader(split, 8, kind="process") as opened:
        assert listed(opened.batches(range(8)))[0][0] == [0, 8, *range(2, 8)]
        assert opened.bad_images == {1: "image 1 is bad"} and not split.bad_images
        list(opened.batches(range(8, 16)))
        assert set(opened.bad_images) == {1, 9}


def test_each_bad_image_is_sent_once_an_order():
    """And again with the next order: the batch that had it may not have been taken from the process."""
    process = DecodingProcess(SkippingSplit(Numbered(40, bad={1, 30})), Rules(batch_size=4, workers=1, prefetch=1))
    try:
        first, second = ([sorted(part.bad) for part in process.parts(range(40))] for _ in range(2))
    finally:
        process.close()
    assert first[0] == [1] and sorted(number for bad in first for number in bad) == [1, 30]
    assert second == [[1, 30], *[[]] * 9]


def test_a_process_that_ends_by_itself_is_one_line():
    with Loader(Numbered(8, ends={3}), 8, kind="process") as opened:
        with pytest.raises(InputError) as caught:
            list(opened.batches(np.arange(8)))
        one_line(caught, "exit code 3", "--loader threads")


def is_running(number):
    """Whether there is a process with this number that has not ended."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


TRAINER = """
import sys
import numpy as np
from nfnumpy.datasets import ArraySplit, Loader
if __name__ == "__main__":
    split = ArraySplit(np.zeros((64, 9, 9, 3), np.uint8), np.zeros(64), 5)
    loader = Loader(split, 4, kind="process")
    stream = loader.batches(np.arange(64))
    next(stream)
    print(loader._process._process.pid, flush=True)
    if sys.argv[1] == "wait":
        sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["exit", signal.SIGKILL])
def test_the_process_ends_with_the_trainer(tmp_path, end):
    """Also when the trainer is killed: it is its end of the pipe that closes."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    trainer = subprocess.Popen([sys.executable, str(script), "exit" if end == "exit" else "wait"], cwd=ROOT,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    number = int(trainer.stdout.readline())
    if end != "exit":
        os.kill(number, signal.SIGINT)  # as for the whole group; it goes on until the trainer ends
        os.kill(number, signal.SIGTERM)
        assert is_running(number)
        trainer.send_signal(end)
    # The process has a copy of the error stream: its end is reached when both have ended.
    _, errors = trainer.communicate(timeout=60)
    assert not is_running(number) and errors == ""


SIGNALLED = """
import os
import signal
import numpy as np
from nfnumpy.datasets import ArraySplit, Loader

class Signalled(ArraySplit):
    def __setstate__(self, state):
        self.__dict__.update(state)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    split = Signalled(np.zeros((8, 9, 9, 3), np.uint8), np.zeros(8), 5)
    with Loader(split, 4, kind="process") as loader:
        print(len(list(loader.batches(np.arange(8)))), signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before)
"""


def test_a_signal_while_the_process_starts_leaves_it_running(tmp_path):
    """Ctrl-C reaches the whole group, also a process that has not come to ignoring it yet."""
    script = tmp_path / "trainer.py"
    script.write_text(SIGNALLED)
    trainer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60,
                             env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (trainer.stdout, trainer.stderr) == ("2 True\n", "")
