"""Training in nfnumpy on images that come from files."""

import contextlib
import time
from collections.abc import Iterator

import numpy

from ... import datasets
from ...training import TrainingOptions
from ..cases.networks import NetworkCase


class NetworkOnFiles:
    """The network of a case; its images are the pictures at `paths`, repeated."""

    def __init__(self, case: NetworkCase, paths: list[str]) -> None:
        self.images, self.labels = case.images_and_labels()
        self.trainer = case.trainer(self.images, self.labels)
        labels = numpy.arange(len(paths)) % case.config.num_classes
        self.split = datasets.FolderSplit(paths, labels, case.pixels)

    def from_memory(self, steps: int) -> float:
        """Milliseconds of a step whose images are in memory."""
        started = time.perf_counter()
        for _ in range(steps):
            self.trainer.train_step(self.images, self.labels).read()
        return 1e3 * (time.perf_counter() - started) / steps

    def from_files(self, steps: int) -> tuple[float, float]:
        """(milliseconds of a step after the first, the share of that time in which it waited for images)."""
        with self._loader() as loader:
            batches = self._batches(loader, 1 + steps)
            self.trainer.train_step(*next(batches)).read()
            waited = loader.waited_seconds
            started = time.perf_counter()
            for batch in batches:
                self.trainer.train_step(*batch).read()
            seconds = time.perf_counter() - started
            return 1e3 * seconds / steps, (loader.waited_seconds - waited) / seconds

    def decoding(self, steps: int) -> float:
        """Images per second when the loader decodes and nothing else runs."""
        started = time.perf_counter()
        with self._loader() as loader:
            count = sum(len(labels) for _, labels in self._batches(loader, steps))
        return count / (time.perf_counter() - started)

    def _loader(self) -> contextlib.AbstractContextManager:
        return datasets.Loader(self.split, len(self.labels), workers=TrainingOptions.workers)

    def _batches(self, loader, steps: int) -> Iterator[tuple]:
        return loader.batches(numpy.arange(steps * len(self.labels)) % len(self.split))
