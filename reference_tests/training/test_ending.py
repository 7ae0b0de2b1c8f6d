"""A run that is asked to end, by a signal or --time-limit, saves first and goes on later with the same bits."""

import json
import os
import random
import signal
import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfnumpy import InputError, train as command, weights
from nfnumpy.errors import Terminated
from nfnumpy.training import report, train
from nfnumpy.training.ending import Ending, TimeIsUp, duration
from nfnumpy.training.trainer import Trainer
from reference_tests.helpers.command_line import run_command
from reference_tests.helpers.dataset_files import write_few_digits

STEPS_PER_EPOCH, EPOCHS = 3, 2
TIMINGS = ("images_per_second", "seconds", "waited_seconds")


@pytest.fixture(scope="module")
def options(few_digits):
    """Two epochs of three steps, with everything random switched on."""
    return {"data": f"idx:{few_digits}", "epochs": EPOCHS, "batch_size": 8, "sam": 0.05, "sam_fraction": 0.25,
            "stochdepth_rate": 0.25, "dropout": 0.3, "augment": "nfnet", "seed": 3}


@pytest.fixture(scope="module")
def uninterrupted(options, tmp_path_factory):
    """The results of the run without an interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train({**options, "out": str(folder)})
    return results(folder)


@pytest.fixture(autouse=True)
def interruptible():
    """Tests that a script starts in the background begin with SIGINT ignored, which a run would leave as it is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(report, "draw_curves", lambda *arguments, **more: False)


def results(folder):
    """(the checkpoint's arrays, the metrics without timings) of a run."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return (weights.load(folder / "checkpoint.safetensors"),
            [{key: value for key, value in entry.items() if key not in TIMINGS} for entry in entries])


def expect_same(folder, expected):
    """The run in `folder` ended with the bits and the metrics of `expected`."""
    arrays, entries = results(folder)
    assert entries == expected[1] and arrays.keys() == expected[0].keys()
    assert all(np.array_equal(arrays[name], array) for name, array in expected[0].items())


def after_calls(monkeypatch, function_name, count, action):
    """Call `action` after the `count`-th call, from 1, of a method of Trainer, in its caller's thread."""
    function = getattr(Trainer, function_name)
    calls = []

    def counted(*arguments, **options):
        result = function(*arguments, **options)
        calls.append(None)
        if len(calls) == count:
            action()
        return result

    monkeypatch.setattr(Trainer, function_name, counted)


@pytest.mark.parametrize("number, raised, step", [
    (signal.SIGINT, KeyboardInterrupt, 2),
    *((signal.SIGTERM, Terminated, step) for step in (1, STEPS_PER_EPOCH, STEPS_PER_EPOCH * EPOCHS))])
def test_a_signal_at_any_step_is_a_checkpoint_of_that_step(tmp_path, monkeypatch, options, uninterrupted, number,
                                                            raised, step):
    """A signal in the last step of an epoch ends the run before the evaluation, which follows when it goes on."""
    out = {"out": str(tmp_path / "run")}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as end:
        after_calls(patch, "train_step", step, lambda: signal.raise_signal(number))
        train({**options, **out})
    assert end.type is raised and end.value.__notes__ == [f"to go on: --resume --out {out['out']}"]
    where = f"step {step} of 6" if step % STEPS_PER_EPOCH else f"epoch {step // STEPS_PER_EPOCH} of 2"
    assert where in str(end.value)
    steps = []
    with monkeypatch.context() as patch:
        step_of = Trainer.train_step
        patch.setattr(Trainer, "train_step", lambda self, *batch: steps.append(self.step) or step_of(self, *batch))
        train(out, resume=True)
    assert steps == list(range(step, STEPS_PER_EPOCH * EPOCHS))
    expect_same(tmp_path / "run", uninterrupted)


def test_a_signal_on_cupy_is_a_checkpoint_too(tmp_path, monkeypatch):
    """Where a step's values are read after the next step has been started."""
    options = {"data": f"idx:{write_few_digits(tmp_path / 'few', training=6, test=2)}", "epochs": 1, "batch_size": 3,
               "backend": "cupy", "precision": "bf16"}
    train({**options, "out": str(tmp_path / "whole")})
    out = {"out": str(tmp_path / "run")}
    with monkeypatch.context() as patch, pytest.raises(Terminated, match="after step 1 of 2"):
        after_calls(patch, "train_step", 1, lambda: signal.raise_signal(signal.SIGTERM))
        train({**options, **out})
    train(out, resume=True)
    expect_same(tmp_path / "run", results(tmp_path / "whole"))


@pytest.mark.parametrize("number, status, word", [(signal.SIGTERM, 143, "terminated"),
                                                  (signal.SIGINT, 130, "interrupted")])
def test_the_command_ends_with_the_status_of_the_signal_and_a_line(tmp_path, capsys, monkeypatch, few_digits, number,
                                                                   status, word):
    after_calls(monkeypatch, "train_step", 1, lambda: signal.raise_signal(number))
    found = run_command(command.main, capsys, monkeypatch, "--data", f"idx:{few_digits}", "--batch-size", 8,
                        "--epochs", 2, "--out", tmp_path / "run")
    assert found[0] == status
    assert found[2] == f"{word} after step 1 of 6, which is saved; to go on: --resume --out {tmp_path / 'run'}\n"


def test_a_second_signal_ends_the_run_at_once(tmp_path, monkeypatch, options):
    """Without a checkpoint; the run starts again."""
    with monkeypatch.context() as patch, pytest.raises(Terminated):
        after_calls(patch, "_backward", 1, lambda: [signal.raise_signal(signal.SIGTERM) for _ in range(2)])
        train({**options, "out": str(tmp_path / "run")})
    assert "checkpoint.safetensors" not in os.listdir(tmp_path / "run")


def test_handlers_of_signals_are_those_of_the_caller_afterwards(tmp_path, options):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train({**options, "epochs": 1, "out": str(tmp_path / "run")})
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored():
    """As SIGINT is for a program that a shell script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Ending() as ending:
            ending.begin(0)
            signal.raise_signal(signal.SIGINT)
            assert not ending.is_due()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_in_another_thread_leaves_signals_alone():
    failures = []

    def use():
        try:
            with Ending() as ending:
                ending.begin(0)
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not failures


def test_a_chain_of_runs_whose_time_is_always_over_reaches_the_end(tmp_path, capsys, options, uninterrupted):
    """Each run takes a step at least, or makes an evaluation that the last one had no time for."""
    out = {"out": str(tmp_path / "run")}
    train({**options, **out, "time_limit": 0.5})
    ends = [capsys.readouterr().out.splitlines()[-1]]
    while "--time-limit: the run ends after" in ends[-1]:
        assert f"to go on: --resume --out {out['out']}" in ends[-1]
        train(out, resume=True)
        ends.append(capsys.readouterr().out.splitlines()[-1])
    assert len(ends) <= 1 + STEPS_PER_EPOCH * EPOCHS
    expect_same(tmp_path / "run", uninterrupted)


def test_a_time_limit_that_is_not_reached_changes_nothing(tmp_path, options, uninterrupted):
    train({**options, "out": str(tmp_path / "run"), "time_limit": 86400})
    expect_same(tmp_path / "run", uninterrupted)


class Clock:
    """A clock whose time the test sets."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@given(limit=st.floats(60.0, 1e5), step=st.floats(0.01, 5.0), save=st.floats(0.0, 10.0), jitter=st.integers(0, 2**32))
def test_a_run_with_a_limit_has_saved_before_it_is_over(limit, step, save, jitter):
    """Steps that take up to half longer or shorter than the last ones, and a checkpoint of a known duration."""
    random_numbers = random.Random(jitter)
    clock = Clock()
    clock.time = 1000.0
    ending = Ending(limit, clock)
    ending.begin(state_bytes=int(save * 1e8))
    clock.time += max(0.0, limit - 200.0 * step - 30.0)  # not all the steps of a day
    ending.is_due()
    ending._step_seconds = step
    while True:
        clock.time += step * random_numbers.uniform(0.75, 1.25)
        if ending.is_due():
            break
    assert clock.time + save <= 1000.0 + limit
    assert clock.time + save >= 1000.0 + limit - 2.0 - 3.0 * 1.25 * step - 0.5 * save - 1e-6  # and not much earlier
    with pytest.raises(TimeIsUp):
        ending.end("after step 1")


@pytest.mark.parametrize("text, seconds", [("2h30m", 9000), ("45m", 2700), ("5400", 5400), ("90s", 90), ("1d", 86400),
                                           ("1d2h3m4s", 93784), ("0", 0)])
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2.5h", "-1h", "1h2h", "2h 30m", "30m2h", "soon", "1w", "1h30", "٣h", "٣",
                                  "1" * 40])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="no duration"):
        duration(text)
