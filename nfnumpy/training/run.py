"""A whole run: epochs of steps, an evaluation after each epoch, and a checkpoint on disk to resume from."""

import math
import time
from typing import Any

from .. import datasets, models
from ..augment import augmentation_of
from ..backend import CounterRNG, blas_threads, openblas
from ..errors import InputError
from . import checkpoint
from .checkpoint import Checkpoint
from .curves import draw_curves
from .metrics import MetricsFile
from .options import TrainingOptions, resumed_options
from .progress import Progress, log
from .run_folder import CHECKPOINT, CURVES, METRICS, RunFolder, default_folder, short_name
from .step_metrics import DelayedMetrics, NotFinite, StepValues
from .trainer import Trainer


def train(given: dict[str, Any], resume: bool = False) -> list[dict[str, Any]]:
    """Train with the options `given` (fields of TrainingOptions; the rest are defaults); returns the metrics' entries.

    Writes checkpoint.safetensors, metrics.jsonl and curves.png to the folder `out`. resume: continue from the
    checkpoint there, bit for bit, or, if the run ended before its first checkpoint, start it again with its options.
    InputError for options, data or a folder that cannot be used; NotFinite when the training diverges.
    """
    if "out" in given:
        folder = RunFolder(given["out"])
    else:
        folder = RunFolder(default_folder(given.get("data", TrainingOptions.data), resume))
    options, stored = _options(given, folder, resume)
    dataset = datasets.open_dataset(options.data, options.image_size, options.max_pixels)
    if len(dataset.classes) < 2:
        raise InputError(f"--data {options.data}: one class, {dataset.classes[0]!r}; expected at least two")
    name, config = _model(options, dataset)
    trainer = Trainer(options, config, dataset)
    with folder.locked(options, resume, is_chosen_here="out" not in given and not resume):
        run = TrainingRun(trainer, name, folder, stored)
        try:
            return run.run()
        except NotFinite:
            raise  # the same options would lead to the same end
        except (Exception, KeyboardInterrupt) as error:
            error.add_note(f"to go on: --resume --out {folder.path}")
            raise


def _options(given: dict[str, Any], folder: RunFolder, resume: bool) -> tuple[TrainingOptions, Checkpoint | None]:
    """The options, and what the checkpoint holds when resuming from one."""
    given = {**given, "out": folder.path}
    if not resume:
        folder.refuse_another_run()
        return TrainingOptions(**given), None
    if folder.has(CHECKPOINT):
        stored = checkpoint.load(folder.file(CHECKPOINT))
        return resumed_options(stored.facts["options"], given), stored
    options = resumed_options(folder.options_of_unfinished_run(), given)
    log(f"{folder.path}: the run ended before its first checkpoint and begins again")
    return options, None


def _model(options: TrainingOptions, dataset: datasets.Dataset) -> tuple[str, Any]:
    """(name, configuration) of the model that the options choose, with as many outputs as the data has classes."""
    name = options.model or models.default_for(dataset.image_size)
    changes: dict[str, Any] = {"num_classes": len(dataset.classes)}
    if options.dropout is not None:
        changes["drop_rate"] = options.dropout
    if options.stochdepth_rate is not None:
        changes["stochdepth_rate"] = options.stochdepth_rate
    return name, models.config_of(name, **changes)


class TrainingRun:
    """One call of `train`: the trainer, the files of the run, and the sums over the current epoch's steps."""

    def __init__(self, trainer: Trainer, model_name: str, folder: RunFolder, stored: Checkpoint | None) -> None:
        self.trainer = trainer
        self.options = trainer.options
        self.model_name = model_name
        self.folder = folder
        self.sums = {"loss": 0.0, "correct": 0, "clipped": 0.0}  # of the current epoch's steps
        if stored is not None:
            self._restore(stored)
        up_to_step = None if stored is None else trainer.step
        self.metrics = MetricsFile(folder.file(METRICS), up_to_step)
        self.seconds = 0.0
        self.augmentation = augmentation_of(self.options.augment, model_name, trainer.dataset.image_size)

    def _restore(self, stored: Checkpoint) -> None:
        """Continue from a checkpoint's state and sums; says so if the number of threads has changed."""
        progress = self.trainer.restore(*stored)
        for name, zero in self.sums.items():
            if not isinstance(progress.get(name), (int, float)):
                raise InputError(f"checkpoint: its progress has no number called {name!r}")
            self.sums[name] = type(zero)(progress[name])
        before = progress.get("threads")
        now = blas_threads.thread_count()
        if before != now:
            log(f"resuming with {now} threads a run that began with {before}: the last bits will differ")

    def run(self) -> list[dict[str, Any]]:
        """Train all remaining epochs; returns the metrics' entries."""
        trainer = self.trainer
        self._log_start()
        with datasets.Loader(trainer.dataset.train, trainer.batch_size, workers=self.options.workers) as loader:
            try:
                while trainer.step < trainer.total_steps:
                    self._epoch(loader)
            except NotFinite as error:
                raise NotFinite(f"{error}; {self._advice()}") from None
        if self.metrics.entries:
            self._finish()
        return self.metrics.entries

    def _log_start(self) -> None:
        """Log data, model and step, and remarks that matter before a run of many hours."""
        trainer = self.trainer
        data = trainer.dataset
        parameters = sum(math.prod(parameter.shape) for parameter in trainer.model.parameters().values())
        position = f"; resuming at step {trainer.step} of {trainer.total_steps}" if trainer.step else ""
        log(f"{self.options.data}: {len(data.train)} training and {len(data.test)} test images of "
            f"{data.image_size} px, {len(data.classes)} classes; "
            f"{self.model_name}: {parameters:,} parameters{position}")
        if trainer.warmup_steps < trainer.wanted_warmup_steps:
            log(f"--warmup-epochs {self.options.warmup_epochs:g}: the warm-up takes at most half of the run, here "
                f"{trainer.warmup_steps} of {trainer.total_steps} steps")
        remark = openblas.remark(blas_threads.thread_count())
        if remark and self.options.backend == "numpy":
            log(remark)

    def _advice(self) -> str:
        """What an error about a loss or a weight that is not finite recommends."""
        kept = "no checkpoint was written yet"
        if self.folder.has(CHECKPOINT):
            kept = f"the last good checkpoint is kept in {self.folder.file(CHECKPOINT)}"
        clipping = "a lower --agc" if self.options.agc else "--agc 0.01"
        return f"{kept}; a lower --lr may help, or {clipping}"

    def _epoch(self, loader: datasets.Loader) -> None:
        """Train the rest of the current epoch, evaluate, and write a checkpoint."""
        trainer = self.trainer
        epoch, done = divmod(trainer.step, trainer.steps_per_epoch)
        started = time.perf_counter()
        waited = loader.waited_seconds
        speed = 0.0
        with Progress(epoch + 1, self.options.epochs, trainer.steps_per_epoch, done) as progress:
            batches = trainer.backend.prefetch_to_device(
                loader.batches(self._order(epoch, done), self._transform(epoch)))
            values_of_steps = DelayedMetrics((trainer.train_step(*batch) for batch in batches), self._saves_after)
            for step, values in enumerate(values_of_steps, start=done + 1):
                speed = (step - done) * trainer.batch_size / (time.perf_counter() - started)
                self._add(values)
                progress.step(self.sums["loss"] / step, self.sums["correct"] / (step * trainer.batch_size), speed,
                              trainer.optimizer.lr, values.clipped)
                if self._saves_after(epoch * trainer.steps_per_epoch + step):
                    self._save()
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self._evaluate(epoch + 1, {"images_per_second": speed, "seconds": seconds,
                                   "waited_seconds": loader.waited_seconds - waited})
        self.sums = {name: type(value)(0) for name, value in self.sums.items()}
        self._save()

    def _order(self, epoch: int, done: int) -> Any:
        """The indices of the epoch's training images in their order, without those of the `done` first steps."""
        trainer = self.trainer
        order = CounterRNG(self.options.seed, epoch).permutation("order of training images", len(trainer.dataset.train))
        return order[done * trainer.batch_size:trainer.steps_per_epoch * trainer.batch_size]

    def _transform(self, epoch: int) -> datasets.Transform | None:
        """What makes an example of a picture and its index in this epoch; None without augmentation."""
        if self.augmentation is None:
            return None
        augmentation, randomness = self.augmentation, CounterRNG(self.options.seed, epoch)
        return lambda picture, index: augmentation(picture, randomness, index)

    def _saves_after(self, step: int) -> bool:
        """Whether a checkpoint is written after `step`, a step inside an epoch."""
        every = self.options.checkpoint_every
        return every is not None and step % every == 0 and step % self.trainer.steps_per_epoch != 0

    def _add(self, values: StepValues) -> None:
        """Add a step's values to the epoch's sums."""
        self.sums["loss"] += values.loss
        self.sums["correct"] += values.correct
        self.sums["clipped"] += values.clipped

    def _evaluate(self, epoch: int, timings: dict[str, float]) -> None:
        """Evaluate on the test images, write the entry to the metrics and log its line."""
        trainer = self.trainer
        test = trainer.dataset.test
        with datasets.Loader(test, trainer.batch_size, workers=self.options.workers) as loader:
            scores = trainer.evaluate(loader.batches(range(len(test))))
        for name, value in scores.items():
            if not math.isfinite(value):
                raise NotFinite(f"{name} became {value} at step {trainer.step}")
        steps = trainer.steps_per_epoch
        entry = {"epoch": epoch, "step": trainer.step, "train_loss": self.sums["loss"] / steps,
                 "train_accuracy": self.sums["correct"] / (steps * trainer.batch_size), **scores,
                 "learning_rate": trainer.optimizer.lr, "clipped_fraction": self.sums["clipped"] / steps, **timings}
        self.metrics.append(entry)
        log(_line(entry, self.options.epochs))

    def _save(self) -> None:
        """Write a checkpoint."""
        self.trainer.save(self.folder.file(CHECKPOINT), {**self.sums, "threads": blas_threads.thread_count()})

    def _finish(self) -> None:
        """Draw the curves and log the last line."""
        last = self.metrics.entries[-1]
        curves = self.folder.file(CURVES)
        drawn = draw_curves(self.metrics.entries, curves, f"{self.model_name} on {short_name(self.options.data)}",
                            smoothed=self.options.label_smoothing > 0.0)
        hint = f"see {curves}" if drawn else "for a picture of the curves: pip install 'nfnumpy[plots]'"
        log(f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs, {self.seconds:.1f} s of "
            f"training; {hint}")


def _line(entry: dict[str, Any], epochs: int) -> str:
    """The line that shows an evaluation."""
    averaged = ""
    if "ema_test_accuracy" in entry:
        averaged = f" (averaged weights {100 * entry['ema_test_accuracy']:.2f} %)"
    return (f"epoch {entry['epoch']}/{epochs}  loss {entry['train_loss']:.4f}  test loss {entry['test_loss']:.4f}  "
            f"test accuracy {100 * entry['test_accuracy']:.2f} %{averaged}  {entry['images_per_second']:.0f} images/s  "
            f"lr {entry['learning_rate']:.3g}  clipped {100 * entry['clipped_fraction']:.0f} %")
