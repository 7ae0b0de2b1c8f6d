"""A target network with its parameters matched: asked a Question, it answers in our names and layouts."""

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...errors import InputError
from .. import tolerance
from ..variants import Entry
from . import dropping
from .answers import gradients_and_steps
from .explanation import Case
from .plans import plan_of
from .problems import question

RANDOM = {"pooled features": Entry("dropout on in evaluation", {}, "In evaluation the features before the last layer "
                                   "change from call to call: dropout is not switched off."),
          "blocks": Entry("stochastic depth on in evaluation", {}, "In evaluation a block's output changes from call "
                          "to call: stochastic depth or dropout is not switched off."),
          "logits": Entry("random in evaluation", {}, "In evaluation the logits change from call to call.")}


class Target:
    """subject: see subjects/models.py; found: what it was recognised as; precision: "auto" or what it computes in;
    notes: a list that receives what a reader should know.
    """

    def __init__(self, subject, framework, found, shapes, precision, notes):
        self.subject, self.framework, self.config, self.match = subject, framework, found.config, found.match
        self.shapes, self.precision, self.notes = shapes, precision, notes
        self.theirs = {our: name for name, our in found.match.names.items()}
        subject.attach(found.match.names)

    @property
    def dtype(self):
        """What it is given."""
        return "float64" if self.precision == "float64" else "float32"

    def answer(self, asked, gradients=True, with_step=False):
        """The Case of a Question, in the precision that the target turns out to compute in."""
        if self.precision == "auto":
            self.framework.seen.clear()
            self.precision = "float64"
            try:
                case = self._case(asked, gradients, with_step)
                self.precision = next((name for name in tolerance.COARSEST_FIRST if name in self.framework.seen),
                                      "float64")
            except InputError:  # it may be one that takes no float64
                self.precision = "float32"
            if self.precision == "float64":
                return case
        return self._case(asked, gradients, with_step)

    def place(self, tensor):
        """The target's module or parameter that a tensor of ours belongs to, or None."""
        parameter = tensor.rpartition(" of ")[2]
        return self.theirs.get(parameter) or getattr(self.subject, "places", {}).get(tensor.partition(" ")[0])

    def randomness(self, case):
        """Entries that say so, if in evaluation it answers differently when asked once more."""
        again, _ = self._ask(case.question, None)
        part = self._first_unlike(again, case)
        return (RANDOM.get(part) or RANDOM["blocks" if part.startswith("blocks") else "logits"],) if part else ()

    def dropping(self, case, rules):
        """Entries for what stochastic depth does in training, where one can look into the target."""
        if not hasattr(self.subject, "ask_in_training") or not self.subject.places:
            return ()
        try:
            first = self._first_unlike(self._ask_in_training(case.question), case)
            if first is None or not first.startswith("blocks"):
                return ()
            many = question(self.config, case.question.parameters, (16, 16), 8, seed=3)
            trace = self._ask_in_training(many)
        except InputError as error:
            self.notes.append(f"could not be asked in training: {error}")
            return ()
        found = []
        for block in plan_of(self.config, rules).blocks:
            pair = [trace.get(key) for key in (f"input of {block.name}", block.name)]
            if rules.skip_gain == "multiplied" and all(array is not None and array.ndim == 4 for array in pair):
                entering, leaving = (array.astype(np.float64) for array in pair)
                found.append(dropping.factors(many.parameters, block, entering, leaving, rules))
        return dropping.diagnosis(found, tolerance.epsilon(self.precision))

    def _case(self, asked, gradients, with_step):
        trace, grads = self._ask(asked, (lambda logits: _cotangent(logits, asked.labels)) if gradients else None)
        expected = (len(asked.labels), self.config.num_classes)
        if trace["logits"].shape != expected:
            raise InputError(f"model: the target's logits are {trace['logits'].shape}, expected {expected}")
        logits = Tensor(trace["logits"].astype(np.float64))
        answer = {**trace, "loss": np.asarray(ops.softmax_cross_entropy(logits, asked.labels).data)}
        if grads is not None:
            back = {our: layout.back(grads[self.theirs[our]], self.shapes[our])
                    for our, layout in self.match.layouts.items()}
            answer |= gradients_and_steps(back, asked.parameters, with_step)
        elif gradients:
            note = "the target has no derivatives that could be asked for"
            self.notes += [] if note in self.notes else [note]
        return Case(asked, answer)

    def _ask(self, asked, cotangent_of):
        """(trace in our layout, gradients in theirs)."""
        trace, grads = self.subject.ask(self._arrays(asked.parameters), asked.images.astype(self.dtype), cotangent_of,
                                        self.dtype)
        return self._ours(trace), grads

    def _ask_in_training(self, asked):
        return self._ours(self.subject.ask_in_training(self._arrays(asked.parameters), asked.images.astype(self.dtype),
                                                       self.dtype))

    def _arrays(self, parameters):
        """{their parameter's name: array} in their layouts."""
        return {self.theirs[our]: layout.there(parameters[our].astype(self.dtype))
                for our, layout in self.match.layouts.items()}

    def _ours(self, trace):
        """Torch's activations, NCHW, as NHWC."""
        if self.framework.name != "torch":
            return trace
        return {part: np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
                for part, array in trace.items()}

    def _first_unlike(self, trace, case):
        """The first part of which a trace does not hold what the case holds."""
        for part, array in trace.items():
            if part in case.answer and tolerance.distance(array, case.answer[part]) > \
                    1e3 * tolerance.epsilon(self.precision):
                return part
        return None


def _cotangent(logits, labels):
    """The derivative of the mean cross-entropy by the logits, in their dtype."""
    leaf = Tensor(logits.astype(np.float64), requires_grad=True)
    ops.softmax_cross_entropy(leaf, labels).backward()
    return leaf.grad.astype(logits.dtype)
