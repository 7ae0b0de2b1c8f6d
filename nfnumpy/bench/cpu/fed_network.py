"""A network in training whose images come from files."""

import time

import numpy

from ... import datasets
from ...training import TrainingOptions


class FedNetwork:
    """A Problem's network, and its images, which are the pictures at `paths` over and over."""

    def __init__(self, problem, paths):
        self.images, self.labels = problem.images_and_labels()
        self.session = problem.session(self.images, self.labels)
        labels = numpy.arange(len(paths)) % problem.config.num_classes
        self.split = datasets.FolderSplit(paths, labels, problem.pixels)

    def from_memory(self, steps):
        """Milliseconds of a step whose images are at hand."""
        started = time.perf_counter()
        for _ in range(steps):
            self.session.train_step(self.images, self.labels).read()
        return 1e3 * (time.perf_counter() - started) / steps

    def from_files(self, steps):
        """(milliseconds of a step after the first, the share of that time in which it waited for images)."""
        with self._loader() as loader:
            batches = self._batches(loader, 1 + steps)
            self.session.train_step(*next(batches)).read()
            waited, started = loader.waited_seconds, time.perf_counter()
            for batch in batches:
                self.session.train_step(*batch).read()
            seconds = time.perf_counter() - started
            return 1e3 * seconds / steps, (loader.waited_seconds - waited) / seconds

    def decoding(self, steps):
        """Images per second when nothing but decoding is done."""
        started = time.perf_counter()
        with self._loader() as loader:
            count = sum(len(labels) for _, labels in self._batches(loader, steps))
        return count / (time.perf_counter() - started)

    def _loader(self):
        return datasets.Loader(self.split, len(self.labels), workers=TrainingOptions.workers)

    def _batches(self, loader, steps):
        return loader.batches(numpy.arange(steps * len(self.labels)) % len(self.split))
