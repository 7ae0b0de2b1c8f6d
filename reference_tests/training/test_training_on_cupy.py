"""Training with the cupy backend beside the numpy backend: the same seed draws the same batches and masks, and the
steps agree to rounding, for every family, with everything switched on.

A float64 step on either side adds rounding of about 5e-14 (measured against torch) and passes on the difference it
found: 1e-10 after 20 steps is 100 times the worst seen. float32 has 2^29 times the epsilon, and half precision is
rounded to 8 or 11 bits after every operation: there the bound is a share of what the loss moves.
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
from reference_tests.conftest import ROOT, STAND_IN

from PIL import Image

from nfnumpy import backend, datasets, models
from nfnumpy.training import TrainingOptions, checkpoint
from nfnumpy.training import NotFinite, Trainer

NFNET = models.NFNetConfig(widths=(8, 16), depths=(1, 2), strides=(1, 2), group_size=4, stem_widths=(3, 8),
                           stem_strides=(1, 2), num_classes=10)
FAMILIES = {
    "nfnet": NFNET,
    "nf_resnet": models.NFResNetConfig(widths=(16, 16), depths=(1, 2), strides=(1, 2), use_se=True, num_classes=10),
    "nf_regnet": models.NFRegNetConfig(widths=(16, 24), depths=(1, 2), strides=(2, 2), num_classes=10)}
RATES = {"drop_rate": 0.3, "stochdepth_rate": 0.4}


def session_of(backend_name, config, **options):
    """A training session on the embedded digits."""
    options = TrainingOptions(**{"backend": backend_name, "batch_size": 4, "lr": 0.1, "epochs": 1, "warmup_epochs": 0.0,
                                 "tf32": "off", "ema": 0.9, **options})
    return Trainer(options, config, datasets.open_dataset("digits"))


def batches(session, count):
    """The first `count` batches of the session's data, on the host."""
    size, train = session.batch_size, session.dataset.train
    for step in range(count):
        chosen = np.arange(step * size, (step + 1) * size)
        yield train.take(chosen), train.labels[chosen]


def losses_of(session, count):
    """Train `count` steps as the loop does, reading each step's figures a step late; returns [(loss, correct, …)]."""
    figures = [session.train_step(*batch) for batch in session.backend.prefetch_to_device(batches(session, count))]
    return [step.read() for step in figures]


def furthest(ours, theirs):
    """The largest difference of two dicts of arrays, relative to each array's norm."""
    return max(np.linalg.norm(backend.to_host(ours[name]) - array) / max(np.linalg.norm(array), 1e-30)
               for name, array in theirs.items())


@pytest.mark.parametrize("sam", [{}, {"sam": 0.05}, {"sam": 0.05, "sam_fraction": 0.5}], ids=["plain", "sam", "part"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float64_steps_with_every_mask_agree_with_numpy(family, sam):
    config = dataclasses.replace(FAMILIES[family], **RATES)
    expected, got = (session_of(name, config, dtype="float64", **sam) for name in ("numpy", "cupy"))
    for ours, theirs in zip(losses_of(got, 3), losses_of(expected, 3), strict=True):
        assert abs(ours[0] - theirs[0]) < 1e-10 * abs(theirs[0]) and ours[1:] == theirs[1:]
    assert furthest(got.model.state_dict(), expected.model.state_dict()) < 1e-10
    assert furthest(got.optimizer.velocity, expected.optimizer.velocity) < 1e-10
    assert furthest(got.ema.average, expected.ema.average) < 1e-10


def test_losses_agree_to_1e_10_over_20_float64_steps():
    got, expected = (np.array(losses_of(session_of(name, NFNET, dtype="float64"), 20)) for name in ("cupy", "numpy"))
    assert np.all(np.abs(got[:, 0] - expected[:, 0]) < 1e-10)


def test_losses_agree_to_1e_4_over_50_float32_steps():
    got, expected = (np.array(losses_of(session_of(name, NFNET), 50)) for name in ("cupy", "numpy"))
    assert np.all(np.abs(got[:, 0] - expected[:, 0]) < 1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_float32_and_keeps_its_weights_in_float32(precision):
    """Each logit errs by a few roundings of 2^-8 (bf16) a layer: the loss stays within 2 % and falls as far.

    fp16 starts at a scale at which no step overflows and is left out.
    """
    session = session_of("cupy", NFNET, precision=precision)
    if precision == "fp16":
        session.loss_scale.state["scale"] = cupy.asarray(np.float32(2.0**8))
    half, full = losses_of(session, 12), losses_of(session_of("cupy", NFNET), 12)
    assert {parameter.dtype.name for parameter in session.model.parameters().values()} == {"float32"}
    assert {array.dtype.name for array in session.optimizer.velocity.values()} == {"float32"}
    for ours, theirs in zip(half, full, strict=True):
        assert abs(ours[0] - theirs[0]) < 0.02 * theirs[0]


@pytest.mark.parametrize("sam", [None, 0.05])
def test_a_step_that_overflows_float16_changes_nothing_but_the_scale(sam):
    session = session_of("cupy", NFNET, precision="fp16", ema=None, sam=sam)
    session.loss_scale.state["scale"] = cupy.asarray(np.float32(2.0**127))
    before = {name: backend.to_host(array) for name, array in session.model.state_dict().items()}
    losses_of(session, 1)
    assert furthest(session.model.state_dict(), before) == 0.0
    assert float(session.loss_scale.scale) == 2.0**126 and session.step == 1


def test_two_runs_give_the_same_bits():
    first, second = (session_of("cupy", NFNET, sam=0.05) for _ in range(2))
    assert losses_of(first, 3) == losses_of(second, 3)
    assert furthest(first.model.state_dict(), {name: backend.to_host(array) for name, array
                                               in second.model.state_dict().items()}) == 0.0


def test_a_loss_that_is_not_finite_is_found_when_the_figures_are_read():
    session = session_of("cupy", NFNET)
    session.model.linear.bias.data = session.model.linear.bias.data * np.inf
    with pytest.raises(NotFinite, match="loss became nan at step 1"):
        losses_of(session, 1)


NO_WAITS = """
from reference_tests.training.test_training_on_cupy import NFNET, session_of, batches
from cupy._array import waits
for options in ({}, {"sam": 0.05}, {"precision": "fp16"}):
    session = session_of("cupy", NFNET, **options)
    for batch in session.backend.prefetch_to_device(batches(session, 2)):
        waits.clear()
        figures = session.train_step(*batch)
        assert not waits, waits
    figures.read()
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


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory):
    """An idx data set of 40 training and 10 test images of the digits."""
    folder, digits = tmp_path_factory.mktemp("few") / "few", datasets.open_dataset("digits")
    folder.mkdir()
    for split, name, count in ((digits.train, "train", 40), (digits.test, "t10k", 10)):
        chosen = np.arange(count)
        datasets.write_idx(folder / f"{name}-images-idx3-ubyte", split.take(chosen)[..., 0])
        datasets.write_idx(folder / f"{name}-labels-idx1-ubyte", split.labels[chosen].astype(np.uint8))
    return folder


def test_the_training_and_the_predicting_command_run_with_backend_cupy(few_digits, tmp_path):
    """Also with half precision; what was trained there is read on numpy."""
    out = tmp_path / "run"
    finished = on_the_stand_in("-m", "nfnumpy.train", "--backend", "cupy", "--data", f"idx:{few_digits}", "--epochs", 2,
                               "--batch-size", 8, "--precision", "bf16", "--out", out)
    assert finished.returncode == 0, finished.stderr
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [5, 10]
    picture = tmp_path / "digit.png"
    Image.fromarray(datasets.open_dataset("digits").test.take(np.arange(1))[0]).save(picture)
    said = [on_the_stand_in("-m", "nfnumpy.predict", out / "checkpoint.safetensors", picture, "--backend", name)
            for name in ("cupy", "numpy")]
    assert [run.returncode for run in said] == [0, 0] and said[0].stdout == said[1].stdout


@pytest.mark.parametrize("first, second", [("cupy", "numpy"), ("numpy", "cupy")])
def test_a_checkpoint_of_either_backend_is_resumed_by_the_other(tmp_path, first, second):
    """The run that changes backends after two steps ends where the one that stays on numpy does, to rounding."""
    config = dataclasses.replace(NFNET, **RATES)
    session, expected = (session_of(name, config, dtype="float64") for name in (first, "numpy"))
    losses_of(expected, 4)
    losses_of(session, 2)
    session.save(tmp_path / "checkpoint.safetensors", {})
    resumed = session_of(second, config, dtype="float64")
    resumed.restore(*checkpoint.load(tmp_path / "checkpoint.safetensors"))
    for batch in islice(resumed.backend.prefetch_to_device(batches(resumed, 4)), 2, 4):
        resumed.train_step(*batch)
    for ours, theirs in ((resumed.model.state_dict(), expected.model.state_dict()),
                         (resumed.optimizer.velocity, expected.optimizer.velocity),
                         (resumed.ema.average, expected.ema.average)):
        assert furthest(ours, theirs) < 1e-10


def test_the_scale_of_float16_is_part_of_the_checkpoint(tmp_path):
    session, resumed = (session_of("cupy", NFNET, precision="fp16") for _ in range(2))
    session.loss_scale.state["scale"] = cupy.asarray(np.float32(2.0**10))
    losses_of(session, 1)
    session.save(tmp_path / "checkpoint.safetensors", {})
    resumed.restore(*checkpoint.load(tmp_path / "checkpoint.safetensors"))
    assert float(resumed.loss_scale.scale) == 2.0**10 and int(resumed.loss_scale.state["good_steps"]) == 1
