"""The epochs of a run: steps, a checkpoint on disk to resume from after each epoch, and its evaluation."""

import time
from typing import Any

from .. import datasets
from ..backend import blas_threads
from ..errors import InputError
from . import report
from .bad_images import BadImagesFile
from .checkpoint import Checkpoint
from .divergence import LossWatch
from .ending import Ending
from .epoch_sums import EpochSums, restored
from .evaluation import Evaluation
from .examples import is_keyed_by_default, training_examples, training_loader
from .kept_checkpoints import set_aside
from .metrics import MetricsFile, checked_trained
from .progress import Progress
from .run_folder import CHECKPOINT, METRICS, PREVIOUS, RunFolder
from .step_metrics import DelayedMetrics, NotFinite
from .trainer import Trainer


class TrainingRun:
    """One call of `train`: the trainer, the files of the run, and the sums over the current epoch's steps.

    ending: says when to save and end before the last epoch. digest: of the inventory of the data.
    """

    def __init__(self, trainer: Trainer, folder: RunFolder, stored: Checkpoint | None, ending: Ending,
                 digest: str) -> None:
        self.trainer = trainer
        self.options = trainer.options
        self.folder = folder
        self.ending = ending
        self.digest = digest
        self.sums = EpochSums()  # of the current epoch
        self.trained: dict[str, Any] = {}  # the entry, without scores, of an epoch that is trained and not evaluated
        self.has_keyed_order = is_keyed_by_default(trainer.dataset)
        if stored is not None:
            self._restore(stored)
        up_to_step = None if stored is None else trainer.step
        self.metrics = MetricsFile(folder.file(METRICS), up_to_step)
        self.last_step: int | None = None  # of the epoch, after which the run ends early
        self.seconds = 0.0
        self.examples = training_examples(trainer, self.has_keyed_order)
        self.bad_images = BadImagesFile(folder)
        self.loader = training_loader(self.examples, self.options, trainer.batch_size)
        self.evaluation = Evaluation(trainer, folder, ending, self.metrics, self.bad_images)
        self.watch = LossWatch(len(trainer.dataset.classes), trainer.warmup_steps, trainer.steps_per_epoch)

    def _restore(self, stored: Checkpoint) -> None:
        """Continue from a checkpoint's state and sums."""
        trainer = self.trainer
        progress = trainer.restore(*stored)
        if trainer.step > trainer.total_steps:
            raise InputError(f"--epochs {self.options.epochs}: the run has trained "
                             f"{trainer.step / trainer.steps_per_epoch:g} epochs already")
        self.sums = restored(progress)
        self.has_keyed_order = progress.get("keyed_order", False) is True
        self.trained = checked_trained(progress.get("trained", {}))
        report.log_other_threads(progress.get("threads"), blas_threads.thread_count())

    def run(self) -> list[dict[str, Any]]:
        """Train all remaining epochs; returns the metrics' entries."""
        trainer = self.trainer
        report.log_start(trainer)
        self.ending.begin(trainer.state_bytes)
        with self.loader as loader, self.evaluation.loader:
            try:
                if self.trained:
                    self._finish_epoch(is_first=True)
                while trainer.step < trainer.total_steps and not self.evaluation.stops_early():
                    self._epoch(loader)
            except NotFinite as error:
                raise NotFinite(f"{error}; {report.advice(self.options.agc, self.folder)}") from None
        if self.metrics.entries:
            report.log_end(trainer, self.folder, self.metrics.entries, self.seconds)
            self.bad_images.log()
        return self.metrics.entries

    def _epoch(self, loader: datasets.Loader) -> None:
        """Train the rest of the current epoch, write a checkpoint, and evaluate."""
        trainer = self.trainer
        epoch = trainer.step // trainer.steps_per_epoch
        started, waited = time.perf_counter(), loader.waited_seconds
        speed = self._steps(loader, epoch)
        if trainer.step != (epoch + 1) * trainer.steps_per_epoch:
            raise RuntimeError(f"epoch {epoch + 1} has ended at step {trainer.step}, expected "
                               f"{(epoch + 1) * trainer.steps_per_epoch}")
        seconds, waited = time.perf_counter() - started, loader.waited_seconds - waited
        self.trained = self._entry(epoch + 1, {"images_per_second": speed, "seconds": seconds,
                                               "waited_seconds": waited})
        if self.seconds == 0.0:  # the first epoch
            report.log_waiting(waited, seconds, self.options)
        self.seconds += seconds
        self.sums = EpochSums()
        self._save_trained()
        self._finish_epoch()

    def _steps(self, loader: datasets.Loader, epoch: int) -> float:
        """Make the steps that are left of an epoch; returns the images per second."""
        trainer = self.trainer
        started, before, done = time.perf_counter(), trainer.step, trainer.step - epoch * trainer.steps_per_epoch
        speed = 0.0
        with Progress(epoch + 1, self.options.epochs, trainer.steps_per_epoch, done) as progress:
            batches = trainer.backend.prefetch_to_device(
                loader.batches(self.examples.numbers(epoch, done, trainer.steps_per_epoch)))
            values_of_steps = DelayedMetrics((trainer.train_step(*batch) for batch in batches), self._is_read_at_once)
            for step, values in enumerate(values_of_steps, start=1):
                speed = step * trainer.batch_size / (time.perf_counter() - started)
                self.sums.add(values)
                report.log_astray(self.watch.see(before + step, values.loss), self.options)
                progress.step(self.sums.loss / (done + step), self.sums.correct / ((done + step) * trainer.batch_size),
                              speed, trainer.optimizer.lr, values.clipped)
                self._save_inside_epoch(before + step)
        return speed

    def _save_trained(self) -> None:
        """Write the checkpoint of a trained epoch, and keep the one before until the epoch is evaluated."""
        set_aside(self.folder)
        try:
            self._save()
        except BaseException:
            self.folder.remove(PREVIOUS)  # the checkpoint is as it was
            raise

    def _finish_epoch(self, is_first: bool = False) -> None:
        """Evaluate the epoch that is trained; then the checkpoint no longer has to say that it is to be evaluated."""
        self.evaluation.finish(self.trained, is_first)
        self.trained = {}

    def _is_read_at_once(self, step: int) -> bool:
        """Whether the values of `step` are read before the next one starts; decides whether the run ends after it."""
        if self.ending.is_due():
            self.last_step = step
        return step == self.last_step or self._saves_after(step)

    def _saves_after(self, step: int) -> bool:
        """Whether --checkpoint-every wants a checkpoint after `step`."""
        every = self.options.checkpoint_every
        return every is not None and step % every == 0

    def _save_inside_epoch(self, step: int) -> None:
        """Write a checkpoint after `step` if one is due there, unless the epoch ends; end the run if that is due."""
        if step % self.trainer.steps_per_epoch == 0 or not (step == self.last_step or self._saves_after(step)):
            return
        self._save()
        if step == self.last_step:
            self.ending.end(f"after step {step} of {self.trainer.total_steps}, which is saved")

    def _entry(self, epoch: int, timings: dict[str, float]) -> dict[str, Any]:
        """The entry of a trained epoch in the metrics, as far as it is known before the evaluation."""
        trainer = self.trainer
        means = self.sums.means(trainer.steps_per_epoch, trainer.batch_size, trainer.optimizer.units_of)
        return {"epoch": epoch, "step": trainer.step, **means, "learning_rate": trainer.optimizer.lr,
                "weight_norm": trainer.weight_norm(), **timings}

    def _save(self) -> None:
        """Write a checkpoint, and the list of the pictures that could not be read so far."""
        self.bad_images.add(self.loader.bad_images.values())
        with self.ending.saving():
            self.trainer.save(self.folder.file(CHECKPOINT), {**self.sums.as_progress(), "trained": self.trained,
                              "inventory": self.digest, "threads": blas_threads.thread_count(),
                              "keyed_order": self.has_keyed_order})
