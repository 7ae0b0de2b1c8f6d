"""A whole run: epochs of steps, an evaluation after each, and on disk at every moment something to go on from."""

import math
import os
import time

from ..backend import openblas
from .. import datasets, models
from ..backend import CounterRNG, blas_threads
from ..errors import InputError
from . import checkpoint
from .curves import draw_curves
from .metrics import MetricsFile
from .options import TrainingOptions, continued
from .progress import Progress, line
from .trainer import NotFinite, Trainer

CHECKPOINT, METRICS, CURVES = "checkpoint.safetensors", "metrics.jsonl", "curves.png"


def train(given, resume=False):
    """Train as the dict `given` (fields of TrainingOptions; the rest are defaults) says; returns the metrics' entries.

    Writes checkpoint.safetensors, metrics.jsonl and curves.png to the folder `out`. resume: go on from the checkpoint
    there, bit for bit, or start if there is none. InputError for whatever cannot be used.
    """
    options, stored = _options(given, resume)
    dataset = datasets.open_dataset(options.data, image_size=options.image_size)
    if len(dataset.classes) < 2:
        raise InputError(f"--data {options.data}: one class, {dataset.classes[0]!r}; expected at least two")
    name, config = _model(options, dataset)
    session = Trainer(options, config, dataset)
    try:
        os.makedirs(options.out, exist_ok=resume or "out" in given)  # a folder chosen here is this run's alone
    except OSError as error:
        raise InputError(f"--out {options.out}: cannot make the folder: {error.strerror}") from None
    return _Run(session, name, stored).run()


def _options(given, resume):
    """(options, what the checkpoint held or None); settles the folder and refuses to overwrite a finished run."""
    out = given["out"] if "out" in given else _folder(given.get("data", TrainingOptions.data), resume)
    path = os.path.join(out, CHECKPOINT)
    if resume and os.path.exists(path):
        groups, facts = checkpoint.load(path)
        return continued(facts["options"], {**given, "out": out}), (groups, facts)
    there = [name for name in (CHECKPOINT, METRICS, CURVES) if os.path.exists(os.path.join(out, name))]
    if there and not resume:
        raise InputError(f"--out {out}: {there[0]} of another run is there already; --resume continues it, another "
                         f"--out starts anew")
    return TrainingOptions(**{**given, "out": out}), None


def _short_name(data):
    """NAME of the data "NAME", "idx:…/NAME" or "folder:…/NAME"."""
    return os.path.basename(os.path.abspath(data.rpartition(":")[2])) or "data"


def _folder(data, resume):
    """runs/NAME for data NAME, or the next free runs/NAME-2, -3 …; when resuming, the last that is there."""
    base = os.path.join("runs", _short_name(data))
    taken, name = None, base
    number = 1
    while os.path.exists(name):
        taken, number = name, number + 1
        name = f"{base}-{number}"
    return taken if resume and taken else name


def _model(options, dataset):
    """(name, configuration) of the model that the options ask for, with as many outputs as the data has classes."""
    name = options.model or models.default_for(dataset.image_size)
    changes = {"num_classes": len(dataset.classes)}
    if options.dropout is not None:
        changes["drop_rate"] = options.dropout
    if options.stochdepth_rate is not None:
        changes["stochdepth_rate"] = options.stochdepth_rate
    return name, models.config_of(name, **changes)


class _Run:
    """One call of `train`: the session, its files, and how far the current epoch has come."""

    def __init__(self, session, model_name, stored):
        self.session, self.options, self.model_name = session, session.options, model_name
        self.sums = {"loss": 0.0, "correct": 0, "clipped": 0.0}  # of the current epoch's steps
        if stored is not None:
            progress = session.restore(*stored)
            for name, zero in self.sums.items():
                if not isinstance(progress.get(name), (int, float)):
                    raise InputError(f"checkpoint: its progress has no number called {name!r}")
                self.sums[name] = type(zero)(progress[name])
            if progress.get("threads") != blas_threads.thread_count():
                line(f"resuming with {blas_threads.thread_count()} threads what began with {progress.get('threads')}: "
                     f"last bits will differ")
        self.metrics = MetricsFile(self._path(METRICS), up_to_step=session.step if stored is not None else None)
        self.seconds = 0.0

    def _path(self, name):
        return os.path.join(self.options.out, name)

    def run(self):
        """Epoch after epoch; returns the metrics' entries."""
        session, data = self.session, self.session.dataset
        total = self.options.epochs * session.steps_per_epoch
        parameters = sum(math.prod(parameter.shape) for parameter in session.model.parameters().values())
        line(f"{self.options.data}: {len(data.train)} training and {len(data.test)} test images of "
             f"{data.image_size} px, {len(data.classes)} classes; {self.model_name}: {parameters:,} parameters"
             + (f"; resuming at step {session.step} of {total}" if session.step else ""))
        remark = openblas.remark(blas_threads.thread_count())
        if remark and self.options.backend == "numpy":
            line(remark)
        with datasets.Loader(data.train, session.batch_size, workers=self.options.workers) as loader:
            try:
                while session.step < total:
                    self._epoch(loader)
            except NotFinite as error:
                kept = self._path(CHECKPOINT)
                raise InputError(f"{error}; " + (f"the last good checkpoint is kept in {kept}" if os.path.exists(kept)
                                                 else "no checkpoint was written yet")
                                 + "; a lower --lr may help, or "
                                 + ("a lower --agc" if self.options.agc else "--agc 0.01")) from None
        if self.metrics.entries:
            self._close()
        return self.metrics.entries

    def _epoch(self, loader):
        """The rest of the current epoch, its evaluation, and a checkpoint."""
        session, batch_size = self.session, self.session.batch_size
        epoch, done = divmod(session.step, session.steps_per_epoch)
        order = CounterRNG(self.options.seed, epoch).permutation("order of training images", len(session.dataset.train))
        order = order[done * batch_size:session.steps_per_epoch * batch_size]
        progress = Progress(epoch + 1, self.options.epochs, session.steps_per_epoch, done)
        started, waited = time.perf_counter(), loader.waited_seconds
        unread = None  # the last step's figures: a GPU is still at work on them while the next step is prepared

        def read(step):
            loss, correct, clipped = unread.read()
            for name, value in (("loss", loss), ("correct", correct), ("clipped", clipped)):
                self.sums[name] += value
            speed = (step - done) * batch_size / (time.perf_counter() - started)
            progress.step(self.sums["loss"] / step, self.sums["correct"] / (step * batch_size), speed,
                          session.optimizer.lr, clipped)
            return speed

        for step, batch in enumerate(session.backend.prefetch_to_device(loader.batches(order)), start=done + 1):
            figures = session.train_step(*batch)
            if unread is not None:
                read(step - 1)
            unread = figures
            every = self.options.checkpoint_every
            if every and session.step % every == 0 and step < session.steps_per_epoch:
                read(step)
                unread = None
                self._save()
        speed = read(step)
        progress.close()
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self._evaluate(epoch + 1, {
            "learning_rate": session.optimizer.lr, "clipped_fraction": self.sums["clipped"] / session.steps_per_epoch,
            "images_per_second": speed, "seconds": seconds, "waited_seconds": loader.waited_seconds - waited})
        self.sums = {name: type(value)(0) for name, value in self.sums.items()}
        self._save()

    def _evaluate(self, epoch, facts):
        session, test = self.session, self.session.dataset.test
        with datasets.Loader(test, session.batch_size, workers=self.options.workers) as loader:
            scores = session.evaluate(loader.batches(range(len(test))))
        for name, value in scores.items():
            if not math.isfinite(value):
                raise NotFinite(f"{name} became {value} at step {session.step}")
        steps = session.steps_per_epoch
        entry = {"epoch": epoch, "step": session.step, "train_loss": self.sums["loss"] / steps,
                 "train_accuracy": self.sums["correct"] / (steps * session.batch_size), **scores, **facts}
        self.metrics.append(entry)
        line(f"epoch {epoch}/{self.options.epochs}  loss {entry['train_loss']:.4f}  "
             f"test loss {entry['test_loss']:.4f}  test accuracy {100 * entry['test_accuracy']:.2f} %"
             + (f" (averaged weights {100 * entry['ema_test_accuracy']:.2f} %)" if session.ema else "")
             + f"  {facts['images_per_second']:.0f} images/s  lr {facts['learning_rate']:.3g}  "
             f"clipped {100 * facts['clipped_fraction']:.0f} %")

    def _save(self):
        self.session.save(self._path(CHECKPOINT), {**self.sums, "threads": blas_threads.thread_count()})

    def _close(self):
        """The picture, and the last line."""
        last = self.metrics.entries[-1]
        drawn = draw_curves(self.metrics.entries, self._path(CURVES),
                            f"{self.model_name} on {_short_name(self.options.data)}",
                            smoothed=self.options.label_smoothing > 0.0)
        line(f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs, {self.seconds:.1f} s of "
             f"training; " + (f"see {self._path(CURVES)}" if drawn else
                              "for a picture of the curves: pip install 'nfnumpy[plots]'"))
