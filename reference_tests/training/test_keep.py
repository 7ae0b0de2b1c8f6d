"""--keep and --early-stop: which checkpoints are there after every epoch, and when a run ends."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from nfnumpy import InputError, predict, weights
from nfnumpy.training import Trainer, checkpoint, load_classifier, report, train
from nfnumpy.training.keep import epochs_without_improvement, parsed_keep, score
from nfnumpy.training.kept_checkpoints import keep_checkpoint
from nfnumpy.training.run_folder import RunFolder
from reference_tests.helpers.command_line import run_command

ACCURACIES = (0.3, 0.5, 0.4, 0.5, 0.6, 0.2)  # of the epochs of a run


@pytest.fixture(autouse=True)
def known_accuracies(monkeypatch):
    """Evaluations whose accuracy is known: 0 of the last weights, and of the averaged weights as in ACCURACIES."""
    monkeypatch.setattr(report, "draw_curves", lambda *arguments, **more: False)

    def evaluate(self, batches):
        list(batches)
        accuracy = ACCURACIES[self.step // self.steps_per_epoch - 1]
        return {"test_loss": 1.0, "test_accuracy": 0.0, "ema_test_loss": 1.0, "ema_test_accuracy": accuracy}

    monkeypatch.setattr(Trainer, "evaluate", evaluate)


@pytest.fixture
def options(few_digits, tmp_path):
    """Six epochs of a step."""
    return {"data": f"idx:{few_digits}", "epochs": len(ACCURACIES), "batch_size": 24, "out": str(tmp_path / "run")}


def kept(folder):
    """The numbers of the epochs whose checkpoints are in `folder`; each holds that epoch's state."""
    numbers = []
    for path in sorted(folder.glob("epoch-*.safetensors")):
        numbers.append(int(path.stem[len("epoch-"):]))
        assert checkpoint.load(path).facts["step"] == numbers[-1]
    return numbers


@pytest.mark.parametrize("rule, expected, best", [
    ("best", [5], 5), ("best:3", [2, 4, 5], 5), ("last:2", [5, 6], None), ("all", [1, 2, 3, 4, 5, 6], None)])
def test_a_run_keeps_what_the_rule_says(tmp_path, options, capsys, rule, expected, best):
    """Of equal epochs the earlier one is the better; best.safetensors is the best one's checkpoint."""
    train({**options, "keep": rule})
    folder = tmp_path / "run"
    assert kept(folder) == expected
    assert (folder / "best.safetensors").exists() == (best is not None)
    assert checkpoint.load(folder / "checkpoint.safetensors").facts["step"] == 6
    printed = capsys.readouterr().out
    if best is not None:
        assert checkpoint.load(folder / "best.safetensors").facts["step"] == best
        assert [line for line in printed.splitlines() if line.startswith("best.")] == [
            f"best.safetensors: epoch {epoch}, test accuracy {accuracy} %"
            for epoch, accuracy in ((1, "30.00"), (2, "50.00"), (5, "60.00"))]


def test_every_kept_checkpoint_predicts(tmp_path, options, capsys, monkeypatch):
    """And each gives the probabilities of its own weights."""
    train({**options, "keep": "best:2"})
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "picture.png")
    printed = set()
    for name in ("best.safetensors", "epoch-0002.safetensors", "checkpoint.safetensors"):
        status, out, _ = run_command(predict.main, capsys, monkeypatch, tmp_path / "run" / name,
                                     tmp_path / "picture.png")
        assert status == 0
        printed.add(out)
        assert load_classifier(tmp_path / "run" / name).classes == tuple("0123456789")
    assert len(printed) == 3


@pytest.mark.parametrize("patient_for, last", [(1, 3), (2, 4), (3, 6)])
def test_a_run_ends_after_epochs_without_improvement(options, capsys, patient_for, last):
    """Epoch 2 is better than 3 and 4; 4 is only equal to it; 5 is better."""
    entries = train({**options, "early_stop": patient_for})
    assert entries[-1]["epoch"] == last
    printed = capsys.readouterr().out
    assert (f"--early-stop {patient_for}: no epoch since epoch 2 is better than its test accuracy of 50.00 %" in
            printed) == (last < 6)


def test_a_run_that_ended_early_stays_ended_and_goes_on_when_that_is_asked(options):
    train({**options, "early_stop": 1})
    out = {"out": options["out"]}
    assert train(out, resume=True)[-1]["epoch"] == 3
    assert train({**out, "early_stop": 3}, resume=True)[-1]["epoch"] == 6


def test_another_rule_removes_nothing_that_it_would_have_dropped_before(tmp_path, options):
    """When the run goes on after epoch 4, "last:2" has dropped epochs 1 and 2 already, and drops 3 and 4."""
    train({**options, "epochs": 4, "keep": "all"})
    train({"out": options["out"], "epochs": 6, "keep": "last:2"}, resume=True)
    assert kept(tmp_path / "run") == [1, 5, 6]


def test_a_rule_that_comes_later_makes_no_best_of_a_worse_epoch(tmp_path, options):
    """Epoch 2 was not kept; epochs 3 and 4 are no better, and 5 is."""
    train({**options, "epochs": 3})
    out = {"out": options["out"], "keep": "best:1"}
    train({**out, "epochs": 4}, resume=True)
    assert not (tmp_path / "run" / "best.safetensors").exists() and kept(tmp_path / "run") == []
    train({**out, "epochs": 6}, resume=True)
    assert kept(tmp_path / "run") == [5]


def test_a_file_system_without_links_gets_copies(tmp_path, options, monkeypatch):
    def no_links(*arguments):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", no_links)
    train({**options, "keep": "best:2"})
    folder = tmp_path / "run"
    assert kept(folder) == [2, 5] and checkpoint.load(folder / "best.safetensors").facts["step"] == 5
    assert not [path for path in folder.iterdir() if "unfinished" in path.name]


@settings(max_examples=30)
@given(accuracies=st.lists(st.integers(0, 5), min_size=1, max_size=12), seed=st.integers(0, 99),
       rule=st.sampled_from(["best", "best:2", "best:5", "last:3", "all"]))
def test_after_every_epoch_the_files_are_those_of_the_rule(scratch, accuracies, seed, rule):
    """Also if a killed run does an epoch's work twice."""
    for path in scratch.iterdir():
        path.unlink()
    folder, entries, twice = RunFolder(str(scratch)), [], random.Random(seed)
    for epoch, accuracy in enumerate(accuracies, start=1):
        (scratch / "new").write_text(str(epoch))
        (scratch / "new").replace(scratch / "checkpoint.safetensors")
        entries.append({"epoch": epoch, "test_accuracy": accuracy / 5})
        for _ in range(twice.randint(1, 2)):
            keep_checkpoint(folder, parsed_keep(rule), entries)
        order = sorted(entries, key=lambda entry: (-entry["test_accuracy"], entry["epoch"]))
        count = int(rule.partition(":")[2] or 1)
        wanted = {"best": order[:count], "last": entries[-count:], "all": entries}[rule.partition(":")[0]]
        files = {path.name: path.read_text() for path in scratch.iterdir()}
        assert {name: text for name, text in files.items() if name.startswith("epoch")} == \
               {f"epoch-{entry['epoch']:04}.safetensors": str(entry["epoch"]) for entry in wanted}
        assert files.get("best.safetensors") == (str(order[0]["epoch"]) if rule.startswith("best") else None)
        assert epochs_without_improvement(entries) == epoch - order[0]["epoch"]


def test_the_score_is_that_of_the_averaged_weights_where_there_are_any():
    assert score({"test_accuracy": 0.5}) == 0.5
    assert score({"test_accuracy": 0.5, "ema_test_accuracy": 0.25}) == 0.25


def test_a_new_run_does_not_overwrite_a_best_checkpoint(tmp_path, options):
    (tmp_path / "run").mkdir()
    weights.save(tmp_path / "run" / "best.safetensors", {"a": np.zeros(3)})
    with pytest.raises(InputError, match=r"best\.safetensors of another run"):
        train(options)
    assert json.dumps(sorted(path.name for path in (tmp_path / "run").iterdir())) == '["best.safetensors"]'
