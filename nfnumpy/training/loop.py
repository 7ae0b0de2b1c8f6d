"""A whole run: epochs of steps, an evaluation after each, and on disk at every moment something to go on from."""

import dataclasses
import math
import os
import time

from .. import analysis, datasets, models
from ..backend import Randomness
from ..errors import InputError
from . import checkpoint
from .curves import draw_curves
from .metrics import MetricsFile
from .options import TrainingOptions, continued
from .progress import Progress, line
from .session import Session

CHECKPOINT, METRICS, CURVES = "checkpoint.safetensors", "metrics.jsonl", "curves.png"


def train(given, resume=False):
    """Train as the dict `given` (fields of TrainingOptions; the rest are defaults) says; returns the metrics' entries.

    Writes checkpoint.safetensors, metrics.jsonl and curves.png to the folder `out`. resume: go on from the checkpoint
    there, bit for bit, or start if there is none. InputError for whatever cannot be used.
    """
    options, stored = _options(given, resume)
    dataset = datasets.open_dataset(options.data, image_size=options.image_size)
    if len(dataset.train) < options.batch_size:
        options = dataclasses.replace(options, batch_size=len(dataset.train))
    name, config = _model(options, dataset)
    session = Session(options, config, dataset, len(dataset.train) // options.batch_size)
    try:
        os.makedirs(options.out, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {options.out}: cannot make the folder: {error.strerror}") from None
    return _Run(session, dataset, name, stored).run()


def _options(given, resume):
    """(options, what the checkpoint held or None); settles the folder and refuses to overwrite a finished run."""
    out = given.get("out") or _folder(given.get("data", TrainingOptions.data), resume)
    path = os.path.join(out, CHECKPOINT)
    if resume and os.path.exists(path):
        groups, facts = checkpoint.load(path)
        return continued(facts["options"], {**given, "out": out}), (groups, facts)
    if os.path.exists(path):
        raise InputError(f"--out {out}: a run is there already; --resume continues it, another --out starts anew")
    return TrainingOptions(**{**given, "out": out}), None


def _short_name(data):
    """NAME of the data "NAME", "idx:…/NAME" or "folder:…/NAME"."""
    return os.path.basename(os.path.abspath(data.rpartition(":")[2])) or "data"


def _folder(data, resume):
    """runs/NAME for data NAME, or the next free runs/NAME-2, -3 …; when resuming, the last that is there."""
    base = os.path.join("runs", _short_name(data))
    taken, name = None, base
    number = 1
    while os.path.exists(os.path.join(name, CHECKPOINT)):
        taken, number = name, number + 1
        name = f"{base}-{number}"
    return taken if resume and taken else name


def _model(options, dataset):
    """(name, configuration) of the model that the options ask for, with as many outputs as the data has classes."""
    name = options.model or models.suited_to(dataset.image_size)
    changes = {"num_classes": len(dataset.classes)}
    if options.dropout is not None:
        changes["drop_rate"] = options.dropout
    if options.stochdepth_rate is not None:
        changes["stochdepth_rate"] = options.stochdepth_rate
    return name, models.variant(name, **changes)


class _Run:
    """One call of `train`: the session, its data, its files, and how far the current epoch has come."""

    def __init__(self, session, dataset, model_name, stored):
        self.session, self.dataset, self.options, self.model_name = session, dataset, session.options, model_name
        self.steps_per_epoch = len(dataset.train) // self.options.batch_size
        self.loss_sum, self.correct = 0.0, 0
        if stored is not None:
            progress = session.restore(*stored)
            self.loss_sum, self.correct = float(progress.get("loss_sum", 0.0)), int(progress.get("correct", 0))
        self.metrics = MetricsFile(self._path(METRICS), up_to_step=session.step if stored is not None else None)
        self.seconds = 0.0

    def _path(self, name):
        return os.path.join(self.options.out, name)

    def run(self):
        """Epoch after epoch; returns the metrics' entries."""
        options, total = self.options, self.options.epochs * self.steps_per_epoch
        line(f"{options.data}: {len(self.dataset.train)} training and {len(self.dataset.test)} test images of "
             f"{self.dataset.image_size} px, {len(self.dataset.classes)} classes; {self.model_name}: "
             f"{analysis.count_params(self.session.model):,} parameters"
             + (f"; resuming at step {self.session.step} of {total}" if self.session.step else ""))
        with datasets.Loader(self.dataset.train, options.batch_size, workers=options.workers) as loader:
            while self.session.step < total:
                self._epoch(loader)
        if self.metrics.entries:
            self._close()
        return self.metrics.entries

    def _epoch(self, loader):
        """The rest of the current epoch, its evaluation, and a checkpoint."""
        epoch, done = divmod(self.session.step, self.steps_per_epoch)
        order = Randomness(self.options.seed, epoch).permutation("order of training images", len(self.dataset.train))
        order = order[done * self.options.batch_size:self.steps_per_epoch * self.options.batch_size]
        progress = Progress(epoch + 1, self.options.epochs, self.steps_per_epoch, done)
        started, waited, first = time.perf_counter(), loader.waited_seconds, self.session.step
        clipped = 0.0
        for images, labels in loader.batches(order):
            self._step(images, labels)
            steps = self.session.step - epoch * self.steps_per_epoch
            clipped += self.session.optimizer.clipped_fraction()
            speed = (self.session.step - first) * self.options.batch_size / (time.perf_counter() - started)
            progress.step(self.loss_sum / steps, self.correct / (steps * self.options.batch_size), speed,
                          self.session.optimizer.lr, self.session.optimizer.clipped_fraction())
            every = self.options.checkpoint_every
            if every and self.session.step % every == 0 and steps < self.steps_per_epoch:
                self._save()
        progress.close()
        self.seconds += time.perf_counter() - started
        taken = self.session.step - first
        self._evaluate(epoch + 1, {
            "learning_rate": self.session.optimizer.lr, "clipped_fraction": clipped / taken,
            "images_per_second": speed, "seconds": time.perf_counter() - started,
            "waited_seconds": loader.waited_seconds - waited})
        self.loss_sum, self.correct = 0.0, 0
        self._save()

    def _step(self, images, labels):
        loss, correct = self.session.train_step(images, labels)
        if not math.isfinite(loss):
            kept = self._path(CHECKPOINT)
            raise InputError(f"the loss became {loss} at step {self.session.step + 1}; "
                             + (f"the last good checkpoint is kept in {kept}" if os.path.exists(kept) else
                                "no checkpoint was written yet") + "; a lower --lr or a lower --agc may help")
        self.loss_sum, self.correct = self.loss_sum + loss, self.correct + correct

    def _evaluate(self, epoch, facts):
        images = self.steps_per_epoch * self.options.batch_size
        with datasets.Loader(self.dataset.test, 250, workers=self.options.workers) as loader:
            def evaluated():
                return self.session.evaluate(loader.batches(range(len(self.dataset.test))))
            test_loss, test_accuracy = evaluated()
            entry = {"epoch": epoch, "step": self.session.step, "train_loss": self.loss_sum / self.steps_per_epoch,
                     "train_accuracy": self.correct / images, "test_loss": test_loss, "test_accuracy": test_accuracy}
            if self.session.ema is not None:
                with self.session.ema.applied():
                    entry["ema_test_loss"], entry["ema_test_accuracy"] = evaluated()
        self.metrics.append({**entry, **facts})
        line(f"epoch {epoch}/{self.options.epochs}  loss {entry['train_loss']:.4f}  test loss {test_loss:.4f}  "
             f"test accuracy {100 * test_accuracy:.2f} %"
             + (f" (averaged weights {100 * entry['ema_test_accuracy']:.2f} %)" if self.session.ema else "")
             + f"  {facts['images_per_second']:.0f} images/s  lr {facts['learning_rate']:.3g}  "
             f"clipped {100 * facts['clipped_fraction']:.0f} %")

    def _save(self):
        self.session.save(self._path(CHECKPOINT), {"loss_sum": self.loss_sum, "correct": self.correct})

    def _close(self):
        """The picture, and the last line."""
        last = self.metrics.entries[-1]
        drawn = draw_curves(self.metrics.entries, self._path(CURVES), f"{self.model_name} on {_short_name(self.options.data)}",
                            smoothed=self.options.label_smoothing > 0.0)
        line(f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs, {self.seconds:.1f} s of "
             f"training; " + (f"see {self._path(CURVES)}" if drawn else
                              "for a picture of the curves: pip install 'nfnumpy[plots]'"))
