"""What follows a trained epoch: its evaluation, its line in the metrics, and whether its checkpoint is kept."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from . import report
from .bad_images import BadImagesFile
from .ending import Ending
from .examples import evaluation_loader
from .keep import Entry, epochs_without_improvement, parsed_keep
from .kept_checkpoints import keep_checkpoint, take_back
from .metrics import MetricsFile
from .metrics_tables import MetricsTables
from .run_folder import PREVIOUS, RunFolder
from .step_metrics import NotFinite
from .trainer import Trainer


class Evaluation:
    """The evaluations of a run whose epochs are saved before they are evaluated."""

    def __init__(self, trainer: Trainer, folder: RunFolder, ending: Ending, metrics: MetricsFile,
                 bad_images: BadImagesFile) -> None:
        self.trainer = trainer
        self.options = trainer.options
        self.folder = folder
        self.ending = ending
        self.metrics = metrics
        self.bad_images = bad_images
        # One for the run, so that no evaluation waits for a decoding process to start. The caller closes it.
        self.loader = evaluation_loader(trainer.dataset.test, self.options, trainer.batch_size)
        self.tables = MetricsTables(folder.path, self.options, metrics.entries)
        self.keep = None if self.options.keep is None else parsed_keep(self.options.keep)

    def finish(self, trained: Entry, is_first: bool) -> None:
        """Evaluate the epoch whose entry is `trained`, unless the metrics have it, and keep its checkpoint by --keep.

        Where the evaluation is not finite, the checkpoint before it becomes the checkpoint again. is_first: the run was
        resumed for it; then --time-limit does not end it, so that a chain of runs reaches its end.
        """
        entries = self.metrics.entries
        if not entries or entries[-1]["step"] < self.trainer.step:
            try:
                scores = self._scores(trained, in_time=not is_first)
            except NotFinite:
                take_back(self.folder)
                raise
            self.metrics.append({**trained, **scores})
            self.tables.append(entries)
            report.log_epoch(entries[-1], self.options.epochs)
        self.folder.remove(PREVIOUS)
        if self.keep is not None and keep_checkpoint(self.folder, self.keep, entries):
            report.log_best(entries[-1])
        if self.trainer.step < self.trainer.total_steps and not is_first and self.ending.is_due():
            self.ending.end(f"after epoch {trained['epoch']} of {self.options.epochs}, which is saved")

    def _scores(self, trained: Entry, in_time: bool) -> dict[str, float]:
        """The scores on the test images. in_time: whether --time-limit may end the run before them."""
        trainer = self.trainer
        batches = self.loader.batches(range(len(trainer.dataset.test)))
        scores = trainer.evaluate(self._until_due(batches, trained, in_time))
        self.bad_images.add(self.loader.bad_images.values())
        for name, value in scores.items():
            if not math.isfinite(value):
                raise NotFinite(f"{name} became {value} at step {trainer.step}")
        return scores

    def _until_due(self, batches: Iterable[Any], trained: Entry, in_time: bool) -> Iterator[Any]:
        """The batches of an evaluation; ends the run before one of them if that is due."""
        for batch in batches:
            if self.ending.is_due(in_time):
                self.ending.end(f"after epoch {trained['epoch']} of {self.options.epochs}, which is trained and saved, "
                                f"and will be evaluated first")
            yield batch

    def stops_early(self) -> bool:
        """Whether --early-stop ends the run here, at the end of an epoch; says so."""
        limit, entries = self.options.early_stop, self.metrics.entries
        is_inside = self.trainer.step % self.trainer.steps_per_epoch != 0
        if limit is None or is_inside or epochs_without_improvement(entries) < limit:
            return False
        report.log_early_stop(limit, entries)
        return True
