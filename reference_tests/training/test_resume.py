"""A run that is killed and resumed ends with the very bits of the run that was not."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from nfnumpy import weights

FLAGS = ["--epochs", "3", "--batch-size", "128", "--checkpoint-every", "3", "--sam", "0.05", "--sam-fraction", "0.2",
         "--stochdepth-rate", "0.25", "--dropout", "0.3", "--seed", "7"]
UNTIMED = ("epoch", "step", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "ema_test_loss",
           "ema_test_accuracy", "learning_rate")


def command(folder):
    """The training command that writes to `folder`; resuming from nothing is starting."""
    return [sys.executable, "-m", "nfnumpy.train", *FLAGS, "--resume", "--out", folder]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(checkpoint's arrays, metrics without timings) of the run that nobody killed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(folder), check=True, capture_output=True)
    return results(folder)


def results(folder):
    """What a run leaves that must not depend on its interruptions."""
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return weights.load(folder / "checkpoint.safetensors"), [{k: entry[k] for k in UNTIMED} for entry in entries]


def expect_same(folder, expected):
    """The run in `folder` ended with the bits and the metrics of `expected`."""
    arrays, entries = results(folder)
    assert arrays.keys() == expected[0].keys() and entries == expected[1]
    for name, array in expected[0].items():
        assert np.array_equal(arrays[name], array), name


def test_killed_at_ten_random_moments_a_resumed_run_ends_with_the_same_bits(tmp_path, uninterrupted):
    """SIGKILL comes 0.3 to 2 s after each start: before the first checkpoint, between any two, or inside one.

    A run that ends before its next kill is checked, and another begins, until there have been ten kills.
    """
    moments, kills, runs = random.Random(20211), 0, 0
    while kills < 10:
        process = subprocess.Popen(command(tmp_path / f"run{runs}"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            assert process.wait(timeout=moments.uniform(0.3, 2.0)) == 0, process.stderr.read()
            expect_same(tmp_path / f"run{runs}", uninterrupted)
            runs += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
    subprocess.run(command(tmp_path / f"run{runs}"), check=True, capture_output=True)
    expect_same(tmp_path / f"run{runs}", uninterrupted)


def test_a_torn_last_line_of_metrics_is_dropped_on_resuming(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    process = subprocess.Popen(command(folder), stdout=subprocess.PIPE, text=True)
    for printed in process.stdout:
        if printed.startswith("epoch 2/"):
            break
    process.kill()
    process.communicate()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "ste')
    subprocess.run(command(folder), check=True, capture_output=True)
    assert results(folder)[1] == uninterrupted[1]
