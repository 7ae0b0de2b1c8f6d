"""The range test raises the learning rate step by step, suggests one by its rule, and writes its two files only."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from nfnumpy import datasets, train
from nfnumpy.errors import NotFinite
from nfnumpy.training import Trainer, TrainingOptions, find_lr as module
from nfnumpy.training.find_lr import HIGHEST, LOWEST, MARGIN, SMOOTHING, RangeStep, range_test, suggestion
from reference_tests.helpers.command_line import expect_one_line, run_command
from reference_tests.training.test_training_on_cupy import SMALL


def test_steps_are_those_of_training_at_rates_in_geometric_progression():
    """The same losses as a trainer of its own has at these rates; the mean is the exponential one, bias-corrected."""
    options = TrainingOptions(batch_size=600, model="nfnet_8px", dtype="float64", ema=None)
    digits = datasets.open_dataset("digits")
    steps = list(range_test(Trainer(options, SMALL, digits), count=5))  # more than the two of an epoch
    assert [step.lr for step in steps] == pytest.approx(np.geomspace(LOWEST, HIGHEST, 5))
    other = Trainer(options, SMALL, digits)
    other.schedule = lambda step: steps[int(step)].lr
    examples = module.training_examples(other, is_keyed=False)
    with datasets.Loader(examples, 600) as loader:
        losses = [other.train_step(*batch).read().loss for epoch in range(3)
                  for batch in loader.batches(examples.numbers(epoch, 0, 2)) if other.step < 5]
    assert [step.loss for step in steps] == losses
    for k, step in enumerate(steps):
        weights = SMOOTHING ** np.arange(k, -1, -1.0)
        assert step.smoothed_loss == pytest.approx(np.average(losses[:k + 1], weights=weights))


LOSSES = st.lists(st.floats(0.1, 3.0), min_size=1, max_size=30)


@given(smoothed=LOSSES)
def test_the_suggestion_is_a_third_of_the_rate_of_the_least_loss(smoothed):
    rates = np.geomspace(LOWEST, HIGHEST, len(smoothed))
    steps = [RangeStep(rate, 2.3, loss) for rate, loss in zip(rates, smoothed, strict=True)]
    found = suggestion(steps)
    if min(smoothed) > 0.98 * 2.3:
        assert found is None
    else:
        assert found == pytest.approx(rates[np.argmin(smoothed)] / MARGIN, rel=0.05)  # two digits


@pytest.fixture
def command(capsys, monkeypatch):
    """The training command: arguments -> (status, standard output, error stream)."""
    return lambda *arguments: run_command(train.main, capsys, monkeypatch, *arguments)


def test_the_command_writes_a_picture_and_the_steps_and_nothing_else(command, few_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "STEPS", 60)
    status, printed, _ = command("--find-lr", "--data", f"idx:{few_digits}", "--batch-size", 12, "--agc", "off")
    folder = tmp_path / "runs" / "few-lr"
    assert status == 0 and {path.name for path in tmp_path.rglob("*.*")} == {"lr.png", "lr.jsonl"}
    steps = [RangeStep(**json.loads(line)) for line in (folder / "lr.jsonl").read_text().splitlines()]
    assert steps[0].lr == LOWEST and len(steps) < 60 and "it diverged at" in printed
    lines = printed.splitlines()
    assert "24 training" in lines[0] and "at most 60 steps of 12 images" in lines[1]
    assert lines[-1].startswith(f"--lr {suggestion(steps):.2g}: a third of")
    with Image.open(folder / "lr.png") as picture:
        assert picture.size[0] > 500


def test_a_loss_that_does_not_fall_suggests_nothing(command, few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 3)
    monkeypatch.setattr(module, "HIGHEST", 2e-5)
    status, printed, _ = command("--find-lr", "--data", f"idx:{few_digits}", "--out", tmp_path / "out")
    assert status == 0 and "no learning rate from 1e-05 to 2e-05 lowers the loss" in printed


def test_a_first_loss_that_is_not_finite_is_one_line(command, few_digits, tmp_path, monkeypatch):
    def overflowing(*arguments):
        raise NotFinite("the loss became nan at step 1")

    monkeypatch.setattr(Trainer, "train_step", overflowing)
    status, _, error = command("--find-lr", "--data", f"idx:{few_digits}", "--out", tmp_path / "out")
    expect_one_line(status, error, "the loss became nan at step")
    assert not list(tmp_path.rglob("lr.*"))


def test_it_cannot_be_resumed(command, tmp_path):
    status, _, error = command("--find-lr", "--resume", "--out", tmp_path)
    expect_one_line(status, error, "--find-lr with --resume")
