"""The state of a run and its one step: forward, backward, (SAM's second pass,) update, average."""

import contextlib
import dataclasses
import math

from .. import backend as backends
from .. import models, ops, optim
from ..autograd import no_grad, trust_saved_arrays
from ..errors import InputError
from ..functional.losses import count_correct
from . import checkpoint
from ..datasets.preprocessing import to_input


class NotFinite(InputError):
    """A loss or a weight is infinite or not a number."""


class Trainer:
    """Model, optimizer, SAM, averaged weights and schedule of one run, at `self.step` steps taken.

    options: TrainingOptions; config: the model's; dataset: what it learns. Batches have `self.batch_size` images, of
    which an epoch takes `self.steps_per_epoch`, leaving out what does not fill one.
    """

    def __init__(self, options, config, dataset):
        self.options, self.config, self.dataset = options, config, dataset
        self.batch_size = min(options.batch_size, len(dataset.train))
        self.steps_per_epoch = len(dataset.train) // self.batch_size
        self.backend = backends.get(options.backend)
        self.input_dtype = self.backend.compute_dtype(options.precision, options.dtype)
        self.loss_scale = optim.LossScale(self.backend) if options.precision == "fp16" else None
        self.model = models.from_config(config, backend=self.backend, dtype=options.dtype, seed=options.seed)
        self.optimizer = optim.SGD(self.model, lr=0.0, momentum=options.momentum, weight_decay=options.weight_decay,
                                   clipping=options.agc, loss_scale=self.loss_scale)
        self.sam = optim.SAM(self.optimizer, options.sam, options.sam_fraction) if options.sam else None
        self.ema = optim.ExponentialMovingAverage(self.model, options.ema) if options.ema else None
        total = options.epochs * self.steps_per_epoch
        warmup = min(round(min(options.warmup_epochs, options.epochs) * self.steps_per_epoch), total // 2)
        self.schedule = optim.warmup_cosine(options.lr, warmup, total)

    @property
    def step(self):
        """Steps taken so far, which is also where the randomness stands."""
        return self.model.randomness.step

    def train_step(self, images, labels):
        """One step on uint8 images (N, H, W, 3) and labels (N,), as `backend.uploaded` hands them over.

        Returns the step's StepMetrics, which wait for the step only when they are read. With SAM on the whole batch loss
        and accuracy are those before the step uphill, else, as always, those of the gradient used.
        Raises NotFinite, leaving the weights as they were, for a loss that is not finite; on a GPU, which is ahead of
        what the host knows, reading the figures does.
        """
        x, labels = self._to_input(images), self.backend.asarray(labels)
        self.optimizer.lr = self.schedule(self.step)
        with self._computing():
            if self.sam is None:
                result = self._backward(x, labels)
                self.optimizer.step()
            elif self.sam.ascent_fraction == 1.0:
                result = self.sam.step(lambda: self._backward(x, labels))
            else:
                part = self.sam.ascent_size(len(labels))
                result = self.sam.step(lambda: self._backward(x, labels),
                                       lambda: self._backward(x[:part], labels[:part]))
            if self.ema is not None:
                self.ema.update()
            return StepMetrics(self, *result)

    def _to_input(self, images):
        return to_input(images, self.backend, self.input_dtype)

    @contextlib.contextmanager
    def _computing(self):
        with self.backend.computing(), backends.tf32(self.options.tf32 == "on"):
            yield

    def _backward(self, x, labels):
        """(loss, number correct) as arrays (), with the gradients in the parameters."""
        with trust_saved_arrays():
            logits = self._logits(x, training=True)
            loss = ops.softmax_cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)
            if not self.backend.asynchronous:
                self.check_loss(loss.item(), self.step + 1)
            loss.backward(self.loss_scale and self.loss_scale.scale)
        return loss.data, count_correct(logits.data, labels)

    def _logits(self, x, training=False):
        """In the weights' dtype, whatever the network computes in."""
        logits = self.model(x, training=training)
        return logits if self.input_dtype == self.model.linear.weight.dtype else \
            ops.cast(logits, dtype=self.model.linear.weight.dtype)

    @staticmethod
    def check_loss(loss, step):
        """Raise NotFinite if the number `loss` is not finite."""
        if not math.isfinite(loss):
            raise NotFinite(f"the loss became {loss} at step {step}")

    def evaluate(self, batches):
        """Mean loss without smoothing and share correct over (images, labels) batches: (test_loss, test_accuracy).

        Returns a dict of these and, for the averaged weights, of the same as ema_test_….
        """
        sums, count = {}, 0
        with no_grad(), self._computing():
            for images, labels in self.backend.prefetch_to_device(batches):
                x, labels = self._to_input(images), self.backend.asarray(labels)
                self._score(x, labels, "test_", sums)
                if self.ema is not None:
                    with self.ema.applied():
                        self._score(x, labels, "ema_test_", sums)
                count += len(labels)
        return {name: total / count for name, total in sums.items()}

    def _score(self, x, labels, prefix, sums):
        logits = self._logits(x)
        loss = ops.softmax_cross_entropy(logits, labels).item() * len(labels)
        for name, value in ((f"{prefix}loss", loss), (f"{prefix}accuracy", int(count_correct(logits.data, labels)))):
            sums[name] = sums.get(name, 0) + value

    def save(self, path, progress):
        """Write everything to the checkpoint file `path`; `progress`: what the loop wants back on resuming.

        Raises NotFinite, and writes nothing, if a weight is not finite.
        """
        state = self.model.state_dict()
        for name, array in state.items():
            if not bool(self.backend.xp.isfinite(array).all()):
                raise NotFinite(f"{name} was no longer finite at step {self.step}")
        groups = {"model": state, "velocity": self.optimizer.velocity}
        if self.ema is not None:
            groups["ema"] = self.ema.average
        if self.loss_scale is not None:
            groups["loss_scale"] = self.loss_scale.state
        checkpoint.save(path, groups, {
            "step": self.step, "ema_updates": self.ema.updates if self.ema is not None else None,
            "options": dataclasses.asdict(self.options), "progress": progress, **self._identity()})

    def _identity(self):
        """What must be the same for a run to be the same run, as JSON gives it back."""
        config = {key: list(value) if isinstance(value, tuple) else value
                  for key, value in dataclasses.asdict(self.config).items()}
        return {"family": type(self.config).__name__, "config": config, "classes": list(self.dataset.classes),
                "image_size": self.dataset.image_size, "training_images": len(self.dataset.train)}

    def restore(self, groups, facts):
        """Take over what `checkpoint.load` returned; returns the loop's progress. InputError if it is another run's."""
        for key, own in self._identity().items():
            if facts.get(key) != own:
                raise InputError(f"the run to resume had another {key.replace('_', ' ')}: {facts.get(key)!r}, and now "
                                 f"it is {own!r}")
        self.model.load_state_dict(groups.get("model", {}))
        checkpoint.restore(groups.get("velocity", {}), self.optimizer.velocity, "momentum")
        if self.ema is not None:
            checkpoint.restore(groups.get("ema", {}), self.ema.average, "averaged weights")
            self.ema.updates = facts["ema_updates"] or 0
        if self.loss_scale is not None:
            checkpoint.restore(groups.get("loss_scale", {}), self.loss_scale.state, "loss scale")
        self.model.randomness.step = facts["step"]
        return facts["progress"]


class StepMetrics:
    """What a step found: loss, number correct, share of units that AGC clipped."""

    def __init__(self, session, loss, correct):
        self._session, self._step = session, session.step
        xp, clipped = session.backend.xp, session.optimizer.clipped_units
        together = [loss, correct, xp.zeros_like(loss) if clipped is None else clipped]
        self._values = session.backend.copy_to_host_async(xp.stack([xp.astype(value, xp.float64) for value in together]))

    def read(self):
        """(loss, correct, clipped fraction), Python numbers; waits until they are known. Raises NotFinite."""
        loss, correct, clipped = (float(value) for value in self._values())
        self._session.check_loss(loss, self._step)
        return loss, int(correct), clipped / max(1, self._session.optimizer.units)
