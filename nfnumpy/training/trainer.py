"""The state of a run and its one step: forward, backward, (SAM's second pass,) update, average."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import backend as backends, models, ops, optim
from ..autograd import Tensor, no_grad, trust_saved_arrays
from ..backend.arrays import Array
from ..datasets import Dataset, to_input
from ..errors import NotFinite
from ..functional.losses import softmax_cross_entropy
from ..functional.metrics import count_correct, count_in_top
from . import checkpoint
from .captured import CapturedInference, CapturedTraining
from .initial_weights import InitialWeights
from .optimizers import KEPT, optimizer_of, schedule_of
from .options import TrainingOptions
from .parameter_patterns import freeze
from .resumption import check_identity, identity_of
from .step_metrics import StepMetrics, check_loss

NORM_INTERVAL = 10  # steps; on a small network the norm takes more than a hundredth of a step
TOP = 5  # the k of top-k accuracy


class Trainer:
    """Model, optimizer, SAM, averaged weights and schedule of one run, at `self.step` steps taken.

    config: the model's configuration; initial: the weights that it starts from, if not fresh ones. An epoch has
    `self.steps_per_epoch` batches of `self.batch_size` images; images that do not fill a last batch are left out.
    """

    def __init__(self, options: TrainingOptions, config: Any, dataset: Dataset,
                 initial: InitialWeights | None = None) -> None:
        self.options = options
        self.config = config
        self.dataset = dataset
        self.batch_size = min(options.batch_size, len(dataset.train))
        self.steps_per_epoch = len(dataset.train) // self.batch_size
        self.backend = backends.get(options.backend)
        self.input_dtype = self.backend.compute_dtype(options.precision, options.dtype)
        self.loss_scale = optim.LossScale(self.backend) if options.precision == "fp16" else None
        self.model = models.from_config(config, backend=self.backend, dtype=options.dtype, seed=options.seed)
        if initial is not None:
            initial.load_into(self.model, dataset.classes)
        parameters = self.model.parameters()
        freeze(parameters, options.freeze)
        self.weight_dtype = self.model.linear.weight.dtype
        self.optimizer = optimizer_of(options, self.model, self.loss_scale)
        self.sam = optim.SAM(self.optimizer, options.sam, options.sam_fraction) if options.sam else None
        self.ema = None
        if options.ema:
            self.ema = optim.ExponentialMovingAverage(self.model, options.ema,
                                                      averaged=lambda name: parameters[name].requires_grad)
        self._compute: Callable[..., tuple[Array, ...]] = self._backward
        if options.cuda_graph == "on":
            self._compute = CapturedTraining(self._backward, self.model)
        self._keeps_statistics = self.loss_scale is not None and bool(self.model.buffers())
        self._measures_norm = False
        self._gradient_norm: Array | None = None  # of the step's last pass, if it was measured
        self.total_steps = options.epochs * self.steps_per_epoch
        self.wanted_warmup_steps = round(min(options.warmup_epochs, options.epochs) * self.steps_per_epoch)
        self.warmup_steps = min(self.wanted_warmup_steps, self.total_steps // 2)
        self.schedule = schedule_of(options, self.steps_per_epoch, self.warmup_steps)

    @property
    def step(self) -> int:
        """Number of steps taken, which is also the state of the random numbers."""
        return self.model.randomness.step

    @property
    def state_bytes(self) -> int:
        """About how many bytes a checkpoint has: weights, the optimizer's state and averaged weights, if any."""
        copies = 1 + len(self.optimizer.state) + (self.ema is not None)
        return copies * sum(parameter.data.nbytes for parameter in self.model.parameters().values())

    def train_step(self, images: Array, labels: Array, shares: Array | None = None) -> StepMetrics:
        """One step on uint8 images (N, H, W, 3) and labels (N,), as `backend.prefetch_to_device` yields them.

        shares: of the classes in mixed images, (N, classes), which the loss compares with; the labels count correct
        images only.
        The returned StepMetrics wait for the step only when they are read. With SAM on the whole batch their loss and
        accuracy are those before the ascent step, otherwise those of the pass whose gradient is used. That pass is also
        the one whose batch running statistics take in: one pass of the two, as in the authors' code of SAM (Foret et
        al., google-research/sam), where it is the first, and the whole batch.
        Raises NotFinite, and does not change the weights, for a loss that is not finite. On a GPU, which computes the
        step later, reading the metrics raises it.
        """
        given = images, labels, *(() if shares is None else (shares,))
        statistics = self.model.buffers() if self._keeps_statistics else {}
        batch = [self.backend.asarray(array) for array in given]
        scale = () if self.loss_scale is None else (self.loss_scale.scale,)
        self.optimizer.lr = self.schedule(self.step)
        self._measures_norm = self.step % self.steps_per_epoch % NORM_INTERVAL == 0
        self._gradient_norm = None
        with self._computing():
            if self.sam is None:
                result = self._pass(*batch, *scale)
                self.optimizer.step()
            elif self.sam.ascent_fraction == 1.0:
                is_first = iter((True, False))
                result = self.sam.step(lambda: self._pass(*batch, *scale, update_statistics=next(is_first)))
            else:
                part = self.sam.ascent_size(len(labels))
                result = self.sam.step(
                    lambda: self._pass(*batch, *scale),
                    lambda: self._pass(*(array[:part] for array in batch), *scale, update_statistics=False))
            proceeded = None if self.loss_scale is None else self.loss_scale.proceeded
            self._restore_unless(proceeded, statistics)
            if self.ema is not None:
                self.ema.update(proceeded)
            loss, correct = result
            return StepMetrics(self.backend, self.step, loss, correct, self.optimizer, self._gradient_norm)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """Context of the backend's threads or stream, and of the rounding of products that the options choose."""
        with self.backend.computing(), backends.tf32(self.options.tf32 == "on"):
            yield

    def _restore_unless(self, proceeded: Array | None, statistics: dict[str, Array]) -> None:
        """Put back the buffers `statistics` of before a step that overflowed, whose moments may not be finite."""
        if statistics:
            self.model.assign_buffers({name: self.backend.xp.where(proceeded, array, statistics[name])
                                       for name, array in self.model.buffers().items()})

    def _pass(self, *arrays: Array, update_statistics: bool = True) -> tuple[Array, ...]:
        """What `_backward` returns; at every NORM_INTERVAL-th step of an epoch, the gradients' norm is taken too."""
        result = self._compute(*arrays, update_statistics=update_statistics)
        if self._measures_norm:
            gradients = [parameter.grad for parameter in self.optimizer.parameters.values()]
            norm = optim.global_norm([gradient for gradient in gradients if gradient is not None])
            self._gradient_norm = norm if self.loss_scale is None else norm / arrays[-1]
        return result

    def weight_norm(self) -> float:
        """The L2 norm of all parameters taken as one vector."""
        return float(optim.global_norm([parameter.data for parameter in self.optimizer.parameters.values()]))

    def _backward(self, images: Array, labels: Array, *more: Array,
                  update_statistics: bool = True) -> tuple[Array, ...]:
        """(loss, number correct) as arrays (), with the gradients in the parameters.

        more: the shares of mixed images, if they are mixed, and the loss scale that multiplies the gradients, if there
        is one; update_statistics: whether running statistics take the batch in.
        """
        scale = None if self.loss_scale is None else more[-1]
        targets = labels if len(more) == (scale is not None) else more[0]
        with trust_saved_arrays():
            logits = self._logits(images, training=True, update_statistics=update_statistics)
            loss = ops.softmax_cross_entropy(logits, targets, label_smoothing=self.options.label_smoothing)
            if not self.backend.asynchronous:
                check_loss(loss.item(), self.step)
            loss.backward(scale)
        return loss.data, count_correct(logits.data, labels)

    def _logits(self, images: Array, **options: bool) -> Tensor:
        """The logits of uint8 images, cast to the weights' dtype if the network computes in another one.

        options: as the model takes them.
        """
        logits = self.model(to_input(images, self.backend, self.input_dtype), **options)
        return logits if self.input_dtype == self.weight_dtype else ops.cast(logits, dtype=self.weight_dtype)

    def evaluate(self, batches: Iterable[tuple[np.ndarray, ...]]) -> dict[str, float]:
        """Mean loss without smoothing and share correct over (images, labels) batches.

        Returns a dict with test_loss and test_accuracy and, where there are more than TOP classes,
        test_top5_accuracy, the share of images whose class is among the five most probable; for the averaged weights
        the same, as ema_test_loss and so on.
        """
        sums: dict[str, float] = {}
        count = 0
        last, averaged = self.inference(), self.inference()
        with no_grad(), self._computing():
            for images, labels in self.backend.prefetch_to_device(batches):
                labels = self.backend.asarray(labels)
                self._score(last(images), labels, "test_", sums)
                if self.ema is not None:
                    with self.ema.applied():
                        self._score(averaged(images), labels, "ema_test_", sums)
                count += len(labels)
        return {name: total / count for name, total in sums.items()}

    def inference(self) -> Callable[[Array], Array]:
        """A function of uint8 images, an array of the backend, that returns their logits; to be called in no_grad()."""
        def logits_of(images: Array) -> Array:
            return self._logits(images).data

        return CapturedInference(logits_of, self.model) if self.options.cuda_graph == "on" else logits_of

    def _score(self, logits: Array, labels: Array, prefix: str, sums: dict[str, float]) -> None:
        """Add the loss and the number correct of a batch to `sums`."""
        loss = softmax_cross_entropy(logits, labels).item() * len(labels)
        correct = int(count_correct(logits, labels))
        sums[f"{prefix}loss"] = sums.get(f"{prefix}loss", 0) + loss
        sums[f"{prefix}accuracy"] = sums.get(f"{prefix}accuracy", 0) + correct
        if logits.shape[1] > TOP:
            in_top = int(count_in_top(logits, labels, TOP))
            sums[f"{prefix}top{TOP}_accuracy"] = sums.get(f"{prefix}top{TOP}_accuracy", 0) + in_top

    def save(self, path: str, progress: dict[str, Any]) -> None:
        """Write the whole state to the checkpoint file `path`; `progress`: a dict that `restore` returns.

        Raises NotFinite, and writes nothing, if a weight is not finite.
        """
        state = self.model.state_dict()
        for name, array in state.items():
            if not bool(self.backend.xp.isfinite(array).all()):
                raise NotFinite(f"{name} was no longer finite at step {self.step}")
        groups = {"model": state, **self.optimizer.state}
        if self.ema is not None:
            groups["ema"] = self.ema.average
        if self.loss_scale is not None:
            groups["loss_scale"] = self.loss_scale.state
        ema_updates = None if self.ema is None else int(self.ema.updates)
        facts = {"step": self.step, "ema_updates": ema_updates, "options": dataclasses.asdict(self.options),
                 "progress": progress, "evaluation": list(self.dataset.test.transform),
                 **identity_of(self.config, self.dataset)}
        checkpoint.save(path, groups, facts)

    def restore(self, groups: dict[str, dict[str, np.ndarray]], facts: dict[str, Any]) -> dict[str, Any]:
        """Load a checkpoint's content; returns the progress saved with it. InputError if it is another run's."""
        check_identity(facts, self.config, self.dataset)
        self.model.load_state_dict(groups.get("model", {}))
        for kind, arrays in self.optimizer.state.items():
            checkpoint.restore(groups.get(kind, {}), arrays, KEPT[kind])
        if self.ema is not None:
            checkpoint.restore(groups.get("ema", {}), self.ema.average, "averaged weights")
            self.ema.updates = facts["ema_updates"] or 0
        if self.loss_scale is not None:
            self.loss_scale.restore(groups.get("loss_scale", {}))
        self.model.randomness.step = facts["step"]
        return facts["progress"]
