"""The state of a run and its one step: forward, backward, (SAM's second pass,) update, average."""

import dataclasses
import math

from .. import backend as backends
from .. import models, ops, optim
from ..autograd import no_grad, trust_saved_arrays
from . import checkpoint
from .inputs import to_input


class Session:
    """Model, optimizer, SAM, averaged weights and schedule of one run, at `self.step` steps taken.

    options: TrainingOptions; config: the model's; dataset: what it learns; steps_per_epoch: how many steps the schedule counts as an epoch.
    """

    def __init__(self, options, config, dataset, steps_per_epoch):
        self.options, self.config = options, config
        self.classes, self.image_size = dataset.classes, dataset.image_size
        self.backend = backends.get(options.backend)
        self.model = models.model_of(config, backend=self.backend, dtype=options.dtype, seed=options.seed)
        self.optimizer = optim.SGD(self.model, lr=0.0, momentum=options.momentum, weight_decay=options.weight_decay,
                                   clipping=options.agc)
        self.sam = optim.SAM(self.optimizer, options.sam, options.sam_fraction) if options.sam else None
        self.ema = optim.ExponentialMovingAverage(self.model.parameters(), options.ema) if options.ema else None
        total = options.epochs * steps_per_epoch
        self.schedule = optim.warmup_cosine(options.lr, min(round(options.warmup_epochs * steps_per_epoch), total // 2),
                                            total)

    @property
    def step(self):
        """Steps taken so far, which is also where the randomness stands."""
        return self.model.randomness.step

    def train_step(self, images, labels):
        """One step on uint8 images (N, H, W, 3) and labels (N,): returns (loss, correct), Python numbers.

        A loss that is not finite leaves the weights as they were and is returned for the caller to see.
        """
        with self.backend.computing():
            return self._train_step(images, labels)

    def _train_step(self, images, labels):
        x = to_input(images, self.backend, self.options.dtype)
        labels = self.backend.asarray(labels)
        self.optimizer.lr = self.schedule(self.step)
        if self.sam is not None:
            part = self.sam.ascent_size(len(labels))
            loss, _ = self._backward(x[:part], labels[:part])
            if not math.isfinite(loss):
                return loss, 0
            self.sam.first_step()
        loss, correct = self._backward(x, labels)
        if math.isfinite(loss):
            (self.optimizer.step if self.sam is None else self.sam.second_step)()
            if self.ema is not None:
                self.ema.update()
        return loss, correct

    def _backward(self, x, labels):
        with trust_saved_arrays():
            logits = self.model(x, training=True)
            loss = ops.softmax_cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)
            loss.backward()
        return loss.item(), int((logits.data.argmax(axis=1) == labels).sum())

    def evaluate(self, batches):
        """(mean loss without smoothing, share correct) of the model over (images, labels) batches."""
        loss = correct = count = 0
        with no_grad(), self.backend.computing():
            for images, labels in batches:
                labels = self.backend.asarray(labels)
                logits = self.model(to_input(images, self.backend, self.options.dtype))
                loss += ops.softmax_cross_entropy(logits, labels).item() * len(labels)
                correct += int((logits.data.argmax(axis=1) == labels).sum())
                count += len(labels)
        return loss / count, correct / count

    def save(self, path, progress):
        """Write everything to the checkpoint file `path`; `progress`: what the loop wants back on resuming."""
        groups = {"model": self.model.state_dict(), "velocity": self.optimizer.velocity}
        if self.ema is not None:
            groups["ema"] = self.ema.average
        checkpoint.save(path, groups, {
            "step": self.step, "ema_updates": self.ema.updates if self.ema is not None else None,
            "options": dataclasses.asdict(self.options), "family": type(self.config).__name__,
            "config": dataclasses.asdict(self.config), "classes": list(self.classes), "image_size": self.image_size,
            "progress": progress})

    def restore(self, groups, facts):
        """Take over what `checkpoint.load` returned; returns the loop's progress."""
        self.model.load_state_dict(groups.get("model", {}))
        checkpoint.restore(groups.get("velocity", {}), self.optimizer.velocity, "momentum")
        if self.ema is not None:
            checkpoint.restore(groups.get("ema", {}), self.ema.average, "averaged weights")
            self.ema.updates = facts["ema_updates"]
        self.model.randomness.step = facts["step"]
        return facts["progress"]
