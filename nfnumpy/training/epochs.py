"""The epochs of a run: steps, an evaluation after each epoch, and checkpoints on disk to resume from."""

import math
import time
from typing import Any

from .. import datasets
from ..backend import blas_threads
from . import report
from .checkpoint import Checkpoint
from .epoch_sums import EpochSums, restored
from .examples import training_examples
from .metrics import MetricsFile
from .progress import Progress
from .run_folder import CHECKPOINT, METRICS, RunFolder
from .step_metrics import DelayedMetrics, NotFinite
from .trainer import Trainer


class TrainingRun:
    """One call of `train`: the trainer, the files of the run, and the sums over the current epoch's steps."""

    def __init__(self, trainer: Trainer, model_name: str, folder: RunFolder, stored: Checkpoint | None) -> None:
        self.trainer = trainer
        self.options = trainer.options
        self.model_name = model_name
        self.folder = folder
        self.sums = EpochSums()
        if stored is not None:
            self._restore(stored)
        up_to_step = None if stored is None else trainer.step
        self.metrics = MetricsFile(folder.file(METRICS), up_to_step)
        self.seconds = 0.0
        self.examples = training_examples(trainer, model_name)

    def _restore(self, stored: Checkpoint) -> None:
        """Continue from a checkpoint's state and sums."""
        progress = self.trainer.restore(*stored)
        self.sums = restored(progress)
        report.log_other_threads(progress.get("threads"), blas_threads.thread_count())

    def run(self) -> list[dict[str, Any]]:
        """Train all remaining epochs; returns the metrics' entries."""
        trainer = self.trainer
        report.log_start(trainer, self.model_name)
        with datasets.Loader(self.examples, trainer.batch_size, workers=self.options.workers) as loader:
            try:
                while trainer.step < trainer.total_steps:
                    self._epoch(loader)
            except NotFinite as error:
                raise NotFinite(f"{error}; {report.advice(self.options.agc, self.folder)}") from None
        if self.metrics.entries:
            report.log_end(trainer, self.model_name, self.folder, self.metrics.entries, self.seconds)
        return self.metrics.entries

    def _epoch(self, loader: datasets.Loader) -> None:
        """Train the rest of the current epoch, evaluate, and write a checkpoint."""
        trainer = self.trainer
        epoch, done = divmod(trainer.step, trainer.steps_per_epoch)
        started = time.perf_counter()
        waited = loader.waited_seconds
        speed = 0.0
        with Progress(epoch + 1, self.options.epochs, trainer.steps_per_epoch, done) as progress:
            batches = trainer.backend.prefetch_to_device(
                loader.batches(self.examples.numbers(epoch, done, trainer.steps_per_epoch)))
            values_of_steps = DelayedMetrics((trainer.train_step(*batch) for batch in batches), self._saves_after)
            for step, values in enumerate(values_of_steps, start=done + 1):
                speed = (step - done) * trainer.batch_size / (time.perf_counter() - started)
                self.sums.add(values)
                progress.step(self.sums.loss / step, self.sums.correct / (step * trainer.batch_size), speed,
                              trainer.optimizer.lr, values.clipped)
                if self._saves_after(epoch * trainer.steps_per_epoch + step):
                    self._save()
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self._evaluate(epoch + 1, {"images_per_second": speed, "seconds": seconds,
                                   "waited_seconds": loader.waited_seconds - waited})
        self.sums = EpochSums()
        self._save()

    def _saves_after(self, step: int) -> bool:
        """Whether a checkpoint is written after `step`, a step inside an epoch."""
        every = self.options.checkpoint_every
        return every is not None and step % every == 0 and step % self.trainer.steps_per_epoch != 0

    def _evaluate(self, epoch: int, timings: dict[str, float]) -> None:
        """Evaluate on the test images, write the entry to the metrics and log its line."""
        trainer = self.trainer
        test = trainer.dataset.test
        with datasets.Loader(test, trainer.batch_size, workers=self.options.workers) as loader:
            scores = trainer.evaluate(loader.batches(range(len(test))))
        for name, value in scores.items():
            if not math.isfinite(value):
                raise NotFinite(f"{name} became {value} at step {trainer.step}")
        means = self.sums.means(trainer.steps_per_epoch, trainer.batch_size, trainer.optimizer.units_of)
        entry = {"epoch": epoch, "step": trainer.step, **means, **scores, "learning_rate": trainer.optimizer.lr,
                 "weight_norm": trainer.weight_norm(), **timings}
        self.metrics.append(entry)
        report.log_epoch(entry, self.options.epochs)

    def _save(self) -> None:
        """Write a checkpoint."""
        progress = {**self.sums.as_progress(), "threads": blas_threads.thread_count()}
        self.trainer.save(self.folder.file(CHECKPOINT), progress)
