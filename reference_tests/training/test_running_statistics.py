"""Training a network whose normalizations keep running statistics: what takes a batch in, what is saved, averaged and
decayed, and what a test with them depends on.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from nfnumpy import InputError, datasets, models, weights
from nfnumpy.training import TrainingOptions, checkpoint, report, train
from nfnumpy.training.find_lr import range_test
from nfnumpy.training.trainer import Trainer
from reference_tests.helpers.batch_normalized import RESNET
from reference_tests.helpers.named_parameters import equal

BATCH = 6


def trainer_of(**options):
    """A Trainer of RESNET on the embedded digits."""
    options = TrainingOptions(**{"batch_size": BATCH, "lr": 0.1, "warmup_epochs": 0.0, "epochs": 1, "ema": 0.9,
                                 "dtype": "float64", **options})
    return Trainer(options, RESNET, datasets.open_dataset("digits"))


def take_steps(trainer, count, start=0):
    """Steps on the digits from number `start` on."""
    split = trainer.dataset.train
    for step in range(start, start + count):
        chosen = np.arange(BATCH * step, BATCH * (step + 1))
        trainer.train_step(split.take(chosen), split.labels[chosen])


@pytest.mark.parametrize("options", [{}, {"sam": 0.05, "sam_fraction": 0.5}, {"sam": 0.05, "optimizer": "rmsprop"}],
                         ids=["plain", "sam on a part", "sam with rmsprop"])
def test_a_run_that_is_resumed_ends_with_the_same_bits(options, tmp_path):
    whole, first, second = (trainer_of(**options) for _ in range(3))
    take_steps(whole, 4)
    take_steps(first, 2)
    first.save(tmp_path / "checkpoint.safetensors", {})
    second.restore(*checkpoint.load(tmp_path / "checkpoint.safetensors"))
    take_steps(second, 2, start=2)
    buffers = whole.model.buffers()
    assert len(buffers) == 2 * 6 and buffers.keys() <= whole.ema.average.keys()
    for one, other in ((whole.model.state_dict(), second.model.state_dict()), (whole.ema.average, second.ema.average)):
        assert one.keys() == other.keys() and equal(one, other)


def test_averaged_statistics_lag_behind_the_running_ones():
    """average ← d·average + (1 - d)·running after every step, with d = min(0.9, (1 + t)/(10 + t))."""
    trainer = trainer_of()
    average = {name: array.copy() for name, array in trainer.model.buffers().items()}
    for step in range(3):
        take_steps(trainer, 1, start=step)
        decay = (1 + step) / (10 + step)
        average = {name: decay * average[name] + (1 - decay) * array for name, array in trainer.model.buffers().items()}
    for name, expected in average.items():  # 3 steps of 3 roundings
        np.testing.assert_allclose(trainer.ema.average[name], expected, rtol=16 * np.finfo(float).eps)


def test_sams_first_pass_on_the_whole_batch_is_the_one_that_counts():
    """At the weights themselves: the statistics are those of a step without SAM, bit for bit."""
    plain, sharp = trainer_of(), trainer_of(sam=0.5)
    for trainer in (plain, sharp):
        take_steps(trainer, 1)
    assert equal(plain.model.buffers(), sharp.model.buffers())
    assert not equal(plain.model.state_dict(), sharp.model.state_dict())


@pytest.mark.parametrize("fraction, passes", [(1.0, [(BATCH, True), (BATCH, False)]),
                                              (0.5, [(3, False), (BATCH, True)])])
def test_of_sams_two_passes_one_on_the_whole_batch_counts(fraction, passes, monkeypatch):
    trainer, seen = trainer_of(sam=0.05, sam_fraction=fraction), []
    call = models.ResNet.__call__

    def recorded(model, x, training=False, *, update_statistics=True):
        seen.append((x.shape[0], update_statistics))
        return call(model, x, training, update_statistics=update_statistics)

    monkeypatch.setattr(models.ResNet, "__call__", recorded)
    take_steps(trainer, 1)
    assert seen == passes


def test_gammas_and_betas_are_clipped_as_one_unit_each_and_do_not_decay():
    optimizer = trainer_of().optimizer
    of_norms = {name for name in optimizer.parameters if ".norm." in name}
    assert {name.rpartition(".")[2] for name in of_norms} == {"gamma", "beta"}
    assert optimizer.decayed == {name for name in optimizer.parameters if name.endswith("weight")}
    assert of_norms <= optimizer.clipped and all(optimizer.units_of[name] == 1 for name in of_norms)


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_a_test_does_not_depend_on_how_images_are_put_into_batches(size):
    """Nor on an incomplete last batch: some 100 roundings of numbers near 1."""
    trainer = trainer_of()
    take_steps(trainer, 2)
    images, labels = trainer.dataset.test.take(np.arange(7)), trainer.dataset.test.labels[:7]
    whole = trainer.evaluate([(images, labels)])
    parts = trainer.evaluate((images[k:k + size], labels[k:k + size]) for k in range(0, 7, size))
    assert parts == pytest.approx(whole, rel=1e-12)


def test_a_range_test_of_learning_rates_runs():
    assert len(list(range_test(trainer_of(ema=None), 3))) == 3


@pytest.mark.parametrize("batch_size, buffers, is_said", [(1, {"running_mean": 0}, True),
                                                          (2, {"running_mean": 0}, False), (1, {}, False)])
def test_batches_of_one_image_are_remarked(batch_size, buffers, is_said, monkeypatch):
    lines = []
    monkeypatch.setattr(report, "log", lines.append)
    monkeypatch.setattr(report, "log_data_and_model", lambda trainer: None)
    report.log_start(SimpleNamespace(batch_size=batch_size, model=SimpleNamespace(buffers=lambda: buffers),
                                     warmup_steps=0, wanted_warmup_steps=0, options=SimpleNamespace(backend="cupy")))
    assert any("a single image" in line for line in lines) == is_said


def test_a_family_without_stochastic_depth_is_trained_without_it(few_digits, tmp_path, monkeypatch):
    small = models.DenseNetConfig(depths=(1, 1), growth=4, num_classes=10)
    monkeypatch.setattr(models, "config_of", lambda name, **changes: dataclasses.replace(small, **changes))
    options = {"data": f"idx:{few_digits}", "model": "densenet121", "epochs": 1, "batch_size": 12, "image_size": 32}
    with pytest.raises(InputError, match=r"^--stochdepth-rate 0\.1: densenet121 has no such rate$"):
        train({**options, "stochdepth_rate": 0.1, "out": str(tmp_path / "run")})
    assert train({**options, "out": str(tmp_path / "run")})[0]["epoch"] == 1
    assert checkpoint.load(tmp_path / "run" / "checkpoint.safetensors").facts["options"]["stochdepth_rate"] is None


def test_the_normalization_is_an_option(few_digits, tmp_path):
    """It is part of the checkpoint, from which a run is resumed and other runs start without naming it again."""
    options = {"data": f"idx:{few_digits}", "batch_size": 12, "epochs": 1}
    first = {**options, "model": "resnet_8px", "norm": "group", "out": str(tmp_path / "first")}
    train(first)
    path = tmp_path / "first" / "checkpoint.safetensors"
    facts = checkpoint.load(path).facts
    assert facts["config"]["norm"] == facts["options"]["norm"] == "group"
    assert not [name for name in checkpoint.load(path).groups["model"] if "running" in name]
    train({"epochs": 2, "out": first["out"]}, resume=True)
    train({**options, "init_from": str(path), "out": str(tmp_path / "second")})
    assert checkpoint.load(tmp_path / "second" / "checkpoint.safetensors").facts["config"]["norm"] == "group"
    with pytest.raises(InputError, match=r"^--norm group: nfnet_8px has no normalization to exchange$"):
        train({**options, "model": "nfnet_8px", "norm": "group", "out": str(tmp_path / "third")})
    with pytest.raises(InputError, match=r"^--norm grup: expected batch or .* or none$"):
        train({**options, "model": "resnet_8px", "norm": "grup", "out": str(tmp_path / "third")})


def test_a_finished_run_goes_on_with_the_bits_of_a_longer_one(few_digits, tmp_path):
    """As a whole run of the command, on a variant with batch normalization. A constant rate: factor 1 at no step."""
    options = {"data": f"idx:{few_digits}", "model": "resnet_8px", "batch_size": 12, "schedule": "step",
               "decay_rate": 1.0, "warmup_epochs": 0.0, "sam": 0.05, "ema": 0.9}
    whole, part = ({**options, "out": str(tmp_path / name)} for name in ("whole", "part"))
    train({**whole, "epochs": 2})
    train({**part, "epochs": 1})
    train({"out": part["out"], "epochs": 2}, resume=True)
    one, other = (weights.load(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "part"))
    assert one.keys() == other.keys() and any("running" in name for name in one) and equal(one, other)
