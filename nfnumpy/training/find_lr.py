"""A learning rate range test: the learning rate rises exponentially, and the loss says which ones train.

Source: Smith (2017), arXiv 1506.01186, section 3.3; the exponential rise and the smoothed loss are common practice.

Rule: the smoothed loss is the bias-corrected exponential mean of the steps' losses with factor SMOOTHING. The
suggestion is the learning rate where it is least, divided by MARGIN: there the loss no longer falls, so that training,
which stays at its peak rate for long, wants less. The test ends where the smoothed loss exceeds DIVERGED times the loss
before training, or is not finite.

Used by: train.py. Test: reference_tests/training/test_find_lr.py.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..cli import progress_bar
from ..errors import InputError
from ..files import atomic_write
from .examples import is_keyed_by_default, training_examples, training_loader
from .lr_picture import draw_range_test
from .options import TrainingOptions
from .progress import SECONDS_BETWEEN_LINES, log
from .report import log_data_and_model
from .run import make_trainer
from .run_folder import short_name
from .step_metrics import NotFinite
from .trainer import Trainer

LOWEST, HIGHEST = 1e-5, 10.0
STEPS = 200
SMOOTHING = 0.9
MARGIN = 3.0
DIVERGED = 1.5
FALLEN = 0.98  # the least loss must be below that many times the loss before training


class RangeStep(NamedTuple):
    """One step of the test: its learning rate, the batch's loss, and the smoothed loss up to it."""

    lr: float
    loss: float
    smoothed_loss: float


def find_lr(given: dict[str, Any]) -> float | None:
    """Test learning rates from LOWEST to HIGHEST with the options `given`; returns the suggested one, None for none.

    The steps are those of a run with these options, apart from lr, warm-up, epochs and averaged weights. Writes
    lr.png and lr.jsonl to the folder `out`, by default runs/NAME-OF-DATA-lr, and nothing else. NotFinite when the first
    loss is not finite.
    """
    options = TrainingOptions(**{**given, "ema": None, "epochs": STEPS})  # an epoch has a step at least
    folder = options.out or os.path.join("runs", f"{short_name(options.data)}-lr")
    trainer = make_trainer(options, is_new=True)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot make the folder: {error.strerror}") from None
    log_data_and_model(trainer)
    log(f"at most {STEPS} steps of {trainer.batch_size} images, with learning rates from {LOWEST:g} to {HIGHEST:g}")
    steps = list(range_test(trainer, STEPS))
    suggested = suggestion(steps)
    lines = "".join(json.dumps(step._asdict()) + "\n" for step in steps)
    atomic_write(os.path.join(folder, "lr.jsonl"), lines.encode())
    picture = os.path.join(folder, "lr.png")
    title = f"{trainer.options.model} on {short_name(options.data)}, {trainer.batch_size} images a step"
    drawn = draw_range_test(steps, suggested, picture, title)
    hint = f"see {picture}" if drawn else "for a picture: pip install 'nfnumpy[plots]'"
    if suggested is None:
        log(f"no learning rate from {LOWEST:g} to {steps[-1].lr:.2g} lowers the loss; {hint}")
    else:
        log(f"--lr {suggested:.2g}: a third of {least(steps).lr:.2g}, where the smoothed loss is least; {_end(steps)}; "
            f"{hint}")
    return suggested


def range_test(trainer: Trainer, count: int) -> Iterator[RangeStep]:
    """Yield `count` steps of the trainer, which it changes; fewer if the loss diverges, but one at least.

    NotFinite for a loss that is not finite at the lowest rate, before any step.
    """
    rates = np.geomspace(LOWEST, HIGHEST, count).tolist()
    trainer.schedule = lambda step: rates[min(int(step), count - 1)]
    examples = training_examples(trainer, is_keyed_by_default(trainer.dataset))
    mean, first, last_line = 0.0, None, time.monotonic()
    with training_loader(examples, trainer.options, trainer.batch_size) as loader, \
            progress_bar(total=count, desc="learning rates") as bar:
        epoch = 0
        while trainer.step < count:
            wanted = min(trainer.steps_per_epoch, count - trainer.step)
            numbers = examples.numbers(epoch, 0, trainer.steps_per_epoch)[:wanted * trainer.batch_size]
            for batch in trainer.backend.prefetch_to_device(loader.batches(numbers)):
                try:
                    loss = trainer.train_step(*batch).read().loss
                except NotFinite:
                    if first is None:
                        raise
                    return
                mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
                smoothed = mean / (1.0 - SMOOTHING**trainer.step)
                first = loss if first is None else first
                if bar.disable and time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                    last_line = time.monotonic()
                    log(f"step {trainer.step}/{count}: lr {rates[trainer.step - 1]:.2g}  loss {loss:.4f}")
                yield RangeStep(rates[trainer.step - 1], loss, smoothed)
                if smoothed > DIVERGED * first:
                    return
                bar.update()
            epoch += 1


def least(steps: list[RangeStep]) -> RangeStep:
    """The step of the least smoothed loss."""
    return min(steps, key=lambda step: step.smoothed_loss)


def suggestion(steps: list[RangeStep]) -> float | None:
    """The learning rate that the rule suggests, to two digits; None where the loss has not fallen."""
    if least(steps).smoothed_loss > FALLEN * steps[0].loss:
        return None
    return float(f"{least(steps).lr / MARGIN:.2g}")


def _end(steps: list[RangeStep]) -> str:
    """How the test ended, in words."""
    if len(steps) < STEPS:
        return f"it diverged at {steps[-1].lr:.2g}"
    return f"it did not diverge up to {steps[-1].lr:.2g}"
