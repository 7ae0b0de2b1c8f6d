"""Training with the cupy backend compared with the numpy backend: the same seed draws the same batches and masks, and
the steps agree to rounding, for every family, with everything switched on.

A float64 step of either backend adds rounding of about 5e-14 (measured against torch) to the difference that the
earlier steps left: 1e-10 after 20 steps is 100 times the largest one measured. float32 has 2^29 times the epsilon,
and half precision is rounded to 8 or 11 bits after every operation: there the bound is a share of what the loss
moves.
"""

import dataclasses
import json
import os
import subprocess
import sys
from itertools import islice

import cupy
import numpy as np
import pytest
from PIL import Image

from nfnumpy import backend, datasets, evaluate, models, predict, train
from nfnumpy.training import NotFinite, Trainer, TrainingOptions, checkpoint
from nfnumpy.training.step_metrics import DelayedMetrics
from reference_tests.conftest import ROOT, STAND_IN
from reference_tests.helpers.batch_normalized import RESNET
from reference_tests.helpers.command_line import run_command
from reference_tests.helpers.dataset_files import write_few_digits

NFNET = models.NFNetConfig(widths=(8, 16), depths=(1, 2), strides=(1, 2), group_size=4, stem_widths=(3, 8),
                           stem_strides=(1, 2), num_classes=10)
FAMILIES = {
    "nfnet": NFNET,
    "nf_resnet": models.NFResNetConfig(widths=(16, 16), depths=(1, 2), strides=(1, 2), use_se=True, num_classes=10),
    "nf_regnet": models.NFRegNetConfig(widths=(16, 24), depths=(1, 2), strides=(2, 2), num_classes=10),
    "resnet": RESNET}
# For runs of many steps: every step launches all kernels of a network, and on the CPU a launch costs a millisecond.
SMALL = models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(2, 4),
                           stem_strides=(2, 2), num_classes=10)
RATES = {"drop_rate": 0.3, "stochdepth_rate": 0.4}


def trainer_of(backend_name, config, **options):
    """A Trainer on the embedded digits."""
    options = TrainingOptions(**{"backend": backend_name, "batch_size": 4, "lr": 0.1, "epochs": 1, "warmup_epochs": 0.0,
                                 "tf32": "off", "ema": 0.9, **options})
    return Trainer(options, config, datasets.open_dataset("digits"))


def batches(trainer, count):
    """The first `count` batches of the trainer's data, on the host."""
    size = trainer.batch_size
    split = trainer.dataset.train
    for step in range(count):
        chosen = np.arange(step * size, (step + 1) * size)
        yield split.take(chosen), split.labels[chosen]


def values_of(trainer, count):
    """Train `count` steps as a run does, reading each step's values a step late; returns the StepValues."""
    steps = (trainer.train_step(*batch) for batch in trainer.backend.prefetch_to_device(batches(trainer, count)))
    return list(DelayedMetrics(steps, at_once=lambda step: False))


def losses_of(trainer, count):
    """The losses (count,) of as many steps."""
    return np.array([values.loss for values in values_of(trainer, count)])


def furthest(ours, theirs):
    """The largest difference of two dicts of arrays, relative to each array's norm."""
    return max(np.linalg.norm(backend.to_host(ours[name]) - array) / max(np.linalg.norm(array), 1e-30)
               for name, array in theirs.items())


@pytest.mark.parametrize("sam", [{}, {"sam": 0.05}, {"sam": 0.05, "sam_fraction": 0.5}], ids=["plain", "sam", "part"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float64_steps_with_every_mask_agree_with_numpy(family, sam):
    config = dataclasses.replace(FAMILIES[family], **RATES)
    expected, got = (trainer_of(name, config, dtype="float64", **sam) for name in ("numpy", "cupy"))
    for ours, theirs in zip(values_of(got, 3), values_of(expected, 3), strict=True):
        for name in ("loss", "gradient_norm"):
            value, expected_value = getattr(ours, name), getattr(theirs, name)
            assert value == expected_value or abs(value - expected_value) < 1e-10 * abs(expected_value)
        assert ours[1:4] == theirs[1:4]
    assert furthest(got.model.state_dict(), expected.model.state_dict()) < 1e-10
    assert furthest(got.optimizer.velocity, expected.optimizer.velocity) < 1e-10
    assert furthest(got.ema.average, expected.ema.average) < 1e-10


@pytest.mark.parametrize("dtype, steps, bound", [("float64", 20, 1e-10), ("float32", 50, 1e-4)])
def test_losses_of_many_steps_agree_with_numpy(dtype, steps, bound):
    got, expected = (losses_of(trainer_of(name, SMALL, batch_size=2, dtype=dtype), steps) for name in ("cupy", "numpy"))
    assert np.all(np.abs(got - expected) < bound)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_float32_of_numpy(precision):
    """Each logit errs by a few roundings of 2^-8 (bf16) a layer: the loss stays within 2 %. Weights are float32.

    fp16 starts at a scale at which no step overflows, so that no step is skipped.
    """
    trainer = trainer_of("cupy", SMALL, precision=precision)
    if precision == "fp16":
        trainer.loss_scale.state["scale"] = cupy.asarray(np.float32(2.0**8))
    half = losses_of(trainer, 12)
    full = losses_of(trainer_of("numpy", SMALL), 12)
    assert {parameter.dtype.name for parameter in trainer.model.parameters().values()} == {"float32"}
    assert {array.dtype.name for array in trainer.optimizer.velocity.values()} == {"float32"}
    assert np.all(np.abs(half - full) < 0.02 * full)


@pytest.mark.parametrize("config", [SMALL, RESNET], ids=["nfnet", "resnet"])
@pytest.mark.parametrize("sam", [None, 0.05])
def test_a_step_that_overflows_float16_changes_only_the_scale(sam, config):
    """Running statistics stay as they are, too."""
    trainer = trainer_of("cupy", config, precision="fp16", ema=None, sam=sam)
    trainer.loss_scale.largest = 2.0**127
    trainer.loss_scale.state["scale"] = cupy.asarray(np.float32(2.0**127))
    before = {name: backend.to_host(array) for name, array in trainer.model.state_dict().items()}
    losses_of(trainer, 1)
    assert furthest(trainer.model.state_dict(), before) == 0.0
    assert float(trainer.loss_scale.scale) == 2.0**126 and trainer.step == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_running_statistics_stay_float32_in_half_precision(precision):
    trainer = trainer_of("cupy", RESNET, precision=precision)
    values_of(trainer, 2)
    for buffers in (trainer.model.buffers(), {name: trainer.ema.average[name] for name in trainer.model.buffers()}):
        assert buffers and {array.dtype.name for array in buffers.values()} == {"float32"}


def test_two_runs_give_the_same_bits():
    first, second = (trainer_of("cupy", SMALL, sam=0.05) for _ in range(2))
    assert values_of(first, 3) == values_of(second, 3)
    assert furthest(first.model.state_dict(), {name: backend.to_host(array) for name, array
                                               in second.model.state_dict().items()}) == 0.0


def test_a_loss_that_is_not_finite_is_found_on_reading():
    trainer = trainer_of("cupy", SMALL)
    trainer.model.linear.bias.data = trainer.model.linear.bias.data * np.inf
    with pytest.raises(NotFinite, match="loss became nan at step 1"):
        losses_of(trainer, 1)


NO_WAITS = """
from reference_tests.training.test_training_on_cupy import SMALL, batches, trainer_of
from cupy._array import waits
for options in ({}, {"sam": 0.05}, {"precision": "fp16"}):
    trainer = trainer_of("cupy", SMALL, **options)
    for batch in trainer.backend.prefetch_to_device(batches(trainer, 2)):
        waits.clear()
        metrics = trainer.train_step(*batch)
        assert not waits, waits
    metrics.read()
"""


def on_the_stand_in(*arguments, **environment):
    """Run Python with the stand-in in CuPy's place, whether or not there is a GPU."""
    path = os.pathsep.join([STAND_IN, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run([sys.executable, *map(str, arguments)], env={**os.environ, "PYTHONPATH": path, **environment},
                          capture_output=True, text=True)


def test_no_step_makes_the_host_wait():
    """The stand-in counts whatever would: .item(), .get(), bool(), int(), synchronize()."""
    finished = on_the_stand_in("-c", NO_WAITS)
    assert finished.returncode == 0, finished.stderr


def test_the_commands_run_with_backend_cupy(capsys, monkeypatch, tmp_path):
    """Also with half precision; what was trained there is read on numpy."""
    data = write_few_digits(tmp_path / "few", training=10, test=2)
    arguments = ["--backend", "cupy", "--data", f"idx:{data}", "--epochs", 2, "--batch-size", 10, "--precision", "bf16",
                 "--out", tmp_path / "run"]
    status, _, error = run_command(train.main, capsys, monkeypatch, *arguments)
    assert status == 0, error
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2]
    picture = tmp_path / "digit.png"
    Image.fromarray(datasets.open_dataset("digits").test.read(0)).save(picture)
    printed = [run_command(predict.main, capsys, monkeypatch, tmp_path / "run" / "checkpoint.safetensors", picture,
                           "--backend", name) for name in ("cupy", "numpy")]
    assert printed[0] == printed[1] and printed[0][0] == 0
    reports = []
    for name in ("cupy", "numpy"):
        evaluate.main([str(tmp_path / "run" / "checkpoint.safetensors"), "--data", f"idx:{data}", "--backend", name,
                       "--json", str(tmp_path / "report.json")])
        reports.append(json.loads((tmp_path / "report.json").read_text()))
    assert reports[0]["accuracy"] == reports[1]["accuracy"] and reports[0]["images"] == 2
    assert reports[0]["loss"] == pytest.approx(reports[1]["loss"], rel=1e-4)  # float32, a dozen layers


@pytest.mark.parametrize("first, second", [("cupy", "numpy"), ("numpy", "cupy")])
def test_a_checkpoint_of_one_backend_is_resumed_by_the_other(tmp_path, first, second):
    """The run that changes backends after two steps ends where the one that stays on numpy does, to rounding."""
    config = dataclasses.replace(NFNET, **RATES)
    trainer, expected = (trainer_of(name, config, dtype="float64") for name in (first, "numpy"))
    losses_of(expected, 4)
    losses_of(trainer, 2)
    trainer.save(tmp_path / "checkpoint.safetensors", {})
    resumed = trainer_of(second, config, dtype="float64")
    resumed.restore(*checkpoint.load(tmp_path / "checkpoint.safetensors"))
    for batch in islice(resumed.backend.prefetch_to_device(batches(resumed, 4)), 2, 4):
        resumed.train_step(*batch)
    for ours, theirs in ((resumed.model.state_dict(), expected.model.state_dict()),
                         (resumed.optimizer.velocity, expected.optimizer.velocity),
                         (resumed.ema.average, expected.ema.average)):
        assert furthest(ours, theirs) < 1e-10


def test_the_scale_of_float16_is_part_of_the_checkpoint(tmp_path):
    trainer, resumed = (trainer_of("cupy", SMALL, precision="fp16") for _ in range(2))
    trainer.loss_scale.state["scale"] = cupy.asarray(np.float32(2.0**10))
    losses_of(trainer, 1)
    trainer.save(tmp_path / "checkpoint.safetensors", {})
    resumed.restore(*checkpoint.load(tmp_path / "checkpoint.safetensors"))
    assert float(resumed.loss_scale.scale) == 2.0**10 and int(resumed.loss_scale.state["good_steps"]) == 1
