"""Training steps and inference in nfnumpy on the processor."""

import contextlib

import numpy

from ... import models, weights
from ...autograd import no_grad
from ...backend import reference
from ...datasets.preprocessing import to_input
from .. import memory
from ..cases.networks import NetworkCase


class NfnumpyNetwork:
    """The network of a case with its optimizer and one batch of images; plain: in reference mode."""

    def __init__(self, case: NetworkCase, plain: bool = False) -> None:
        self.before = memory.resident()
        self._mode = reference if plain else contextlib.nullcontext
        self.images, self.labels = case.images_and_labels()
        self.trainer = case.trainer(self.images, self.labels)
        self._folded: models.ImageClassifier | None = None

    def resident_before(self) -> int | None:
        """Bytes resident before there was a network: the interpreter and the libraries."""
        return self.before

    def save(self, path: str) -> None:
        """Write the weights to `path`."""
        weights.save(path, self.trainer.model.state_dict())

    def training(self) -> float:
        """One step, from uint8 images to new weights; returns its loss."""
        with self._mode():
            return self.trainer.train_step(self.images, self.labels).read()[0]

    def inference(self) -> numpy.ndarray:
        """Logits of the images."""
        return self._logits(self.trainer.model)

    def folded(self) -> numpy.ndarray:
        """Logits of the images of the folded network, which is made at the first call."""
        if self._folded is None:
            self._folded = models.folded(self.trainer.model)
        return self._logits(self._folded)

    def _logits(self, model):
        trainer = self.trainer
        with self._mode(), no_grad(), trainer.backend.computing():
            return model(to_input(self.images, trainer.backend, trainer.input_dtype)).data
