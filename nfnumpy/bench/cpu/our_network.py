"""Our side: a training session and inference on NumPy."""

import contextlib

from ... import weights
from ...autograd import no_grad
from ...backend import reference
from ...datasets.preprocessing import to_input
from . import memory


class OurNetwork:
    """A Problem's network with its optimizer and one batch of images; plain: in reference mode."""

    def __init__(self, problem, plain=False):
        self.before = memory.resident()
        self._mode = reference if plain else contextlib.nullcontext
        self.images, self.labels = problem.images_and_labels()
        self.session = problem.session(self.images, self.labels)

    def resident_before(self):
        """Bytes resident before there was a network: the interpreter and the libraries."""
        return self.before

    def save(self, path):
        """Write the weights to `path`."""
        weights.save(path, self.session.model.state_dict())

    def training(self):
        """One step, from uint8 images to new weights; returns its loss."""
        with self._mode():
            return self.session.train_step(self.images, self.labels).read()[0]

    def inference(self):
        """Logits of the images, an array."""
        session = self.session
        with self._mode(), no_grad(), session.backend.computing():
            return session.model(to_input(self.images, session.backend, session.input_dtype)).data
