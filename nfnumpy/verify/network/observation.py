"""A target network with its parameters matched, and what is observed when it is run."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...autograd import Tensor
from ...errors import InputError
from .. import tolerance
from ..frameworks import Framework
from ..variants import KnownVariant
from ..variants.network import NetworkRules
from . import stochastic_depth
from .architecture import Rules, architecture_of, base_rules
from .baselines import is_buffer
from .inputs import NetworkInputs, network_inputs
from .recognition import Recognition
from .reference_run import gradients_and_steps
from .shapes import Shapes

RANDOM = {
    "pooled features": KnownVariant("dropout on in evaluation", {}, "In evaluation the features before the last layer "
                                    "change from call to call: dropout is not switched off."),
    "blocks": KnownVariant("stochastic depth on in evaluation", {}, "In evaluation a block's output changes from call "
                           "to call: stochastic depth or dropout is not switched off."),
    "logits": KnownVariant("random in evaluation", {}, "In evaluation the logits change from call to call.")}
NO_DERIVATIVES = "the target has no derivatives that could be compared"
UNLIKE = 1e3  # epsilons between two runs of one input, from which on they differ by more than rounding
SEVERAL_IMAGES = 8  # of 16 × 16 pixels, that stochastic depth is observed on


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """NetworkInputs and the target's results for them: {part or gradient: array}, in our layouts."""

    inputs: NetworkInputs
    results: Mapping[str, np.ndarray]

    def first_image(self) -> "Observation":
        """The parts' outputs for the first image alone; all of it where outputs depend on the other images."""
        if self.inputs.training:
            return self
        inputs = dataclasses.replace(self.inputs, images=self.inputs.images[:1], labels=self.inputs.labels[:1])
        return Observation(inputs, {name: array[:1] for name, array in self.results.items()
                                    if array.ndim in (2, 4) and " of " not in name})


class ObservedNetwork:
    """network: see adapters/model.py; precision: "auto" or the target's; notes: a list that gets further facts."""

    def __init__(self, network: Any, framework: Framework, found: Recognition, shapes: Shapes, precision: str,
                 notes: list[str]):
        self.network, self.framework, self.config, self.match = network, framework, found.config, found.match
        self.shapes, self.precision, self.notes = shapes, precision, notes
        self.theirs = {our: name for name, our in found.match.names.items()}
        network.attach(found.match.names)

    @property
    def dtype(self) -> str:
        """The dtype of its inputs."""
        return "float64" if self.precision == "float64" else "float32"

    def observe(self, inputs: NetworkInputs, gradients: bool = True, with_step: bool = False) -> Observation:
        """The Observation of inputs, in the precision that the target turns out to compute in."""
        if self.precision == "auto":
            self.framework.seen.clear()
            self.precision = "float64"
            try:
                observation = self._observe(inputs, gradients, with_step)
                self.precision = tolerance.coarsest(self.framework.seen)
            except InputError:  # it may take no float64
                self.precision = "float32"
            if self.precision == "float64":
                return observation
        return self._observe(inputs, gradients, with_step)

    def place_of(self, tensor: str) -> str | None:
        """The target's module or parameter that a tensor of ours belongs to."""
        parameter = tensor.rpartition(" of ")[2]
        return self.theirs.get(parameter) or self.network.places.get(tensor.partition(" ")[0])

    def randomness(self, seen: Observation) -> tuple[KnownVariant, ...]:
        """The variant that a second run in evaluation shows, if its results differ."""
        again, _ = self._run(seen.inputs, None)
        part = self._first_unlike(again, seen)
        if part is None:
            return ()
        return (RANDOM.get(part) or RANDOM["blocks" if part.startswith("blocks") else "logits"],)

    def stochastic_depth(self, seen: Observation, rules: Rules) -> tuple[KnownVariant, ...]:
        """The variants that stochastic depth shows in training, where the target's blocks are observed."""
        if not (self.network.can_train and self.network.places and stochastic_depth.is_observable(self.config, rules)):
            return ()
        try:
            if isinstance(rules, NetworkRules) and not self._blocks_differ_in_training(seen):
                return ()
            several = network_inputs(self.config, seen.inputs.parameters, (16, 16), SEVERAL_IMAGES, seed=3)
            trace = self._run_in_training(several)
        except InputError as error:
            self.notes.append(f"it could not be run in training: {error}")
            return ()
        factors = []
        for block in architecture_of(self.config, rules).blocks:
            entering, leaving = trace.get(f"input of {block.name}"), trace.get(block.name)
            if entering is not None and leaving is not None and entering.ndim == leaving.ndim == 4:
                factors.append(stochastic_depth.branch_factors(
                    several.parameters, block, entering.astype(np.float64), leaving.astype(np.float64), self.config,
                    rules))
        return stochastic_depth.known_variants(factors, tolerance.epsilon(self.precision),
                                               divides=not isinstance(rules, NetworkRules))

    def _blocks_differ_in_training(self, seen):
        first = self._first_unlike(self._run_in_training(seen.inputs), seen)
        return first is not None and first.startswith("blocks")

    def _observe(self, inputs, gradients, with_step):
        expected = (len(inputs.labels), self.config.num_classes)
        trace, grads = self._run(inputs, _loss_derivative(inputs.labels, expected) if gradients else None)
        _check_logits(trace["logits"], expected)
        logits = Tensor(trace["logits"].astype(np.float64))
        results = {**trace, "loss": np.asarray(ops.softmax_cross_entropy(logits, inputs.labels).data)}
        if inputs.training:
            found = self.network.statistics()
            results |= {f"statistics of {our}": layout.from_target(found[self.theirs[our]], self.shapes[our])
                        for our, layout in self.match.layouts.items() if is_buffer(our)}
        if grads is not None:
            ours = {our: layout.from_target(grads[self.theirs[our]], self.shapes[our])
                    for our, layout in self.match.layouts.items() if not is_buffer(our)}
            results |= gradients_and_steps(ours, inputs.parameters, with_step)
        elif gradients and NO_DERIVATIVES not in self.notes:
            self.notes.append(NO_DERIVATIVES)
        return Observation(inputs, results)

    def _run(self, inputs, cotangent_of):
        """(trace in our layout, gradients in theirs)."""
        images = inputs.images.astype(self.dtype)
        training = {"training": True} if inputs.training else {}
        trace, grads = self.network.run(self._arrays(inputs.parameters), images, cotangent_of, self.dtype, **training)
        return self._in_our_layout(trace), grads

    def _run_in_training(self, inputs):
        images = inputs.images.astype(self.dtype)
        return self._in_our_layout(self.network.run_in_training(self._arrays(inputs.parameters), images, self.dtype))

    def _arrays(self, parameters):
        """{their parameter's name: array} in their layouts."""
        given = {self.theirs[our]: layout.to_target(parameters[our].astype(self.dtype))
                 for our, layout in self.match.layouts.items()}
        return {**given, **{name: np.zeros(self.network.shapes[name], self.dtype) for name in self.match.biases}}

    def _in_our_layout(self, trace):
        """Activations NCHW as NHWC."""
        if not self.network.channels_first:
            return trace
        return {part: np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
                for part, array in trace.items()}

    def _first_unlike(self, trace, seen):
        """The first part whose output in a trace is not that of the observation."""
        parts = architecture_of(self.config, base_rules(self.config)).parts
        limit = UNLIKE * tolerance.epsilon(self.precision)
        observed = (part for part in parts if part in trace and part in seen.results)
        return next((part for part in observed if tolerance.distance(trace[part], seen.results[part]) > limit), None)


def _check_logits(logits: np.ndarray, expected: tuple[int, int]) -> None:
    """InputError unless the logits have the shape that is expected."""
    if logits.shape != expected:
        raise InputError(f"model: the target's logits are {logits.shape}, expected {expected}")


def _loss_derivative(labels: np.ndarray, expected: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """The derivative of the mean cross-entropy by the logits, in their dtype, as a function of them."""
    def derivative(logits):
        _check_logits(logits, expected)
        leaf = Tensor(logits.astype(np.float64), requires_grad=True)
        ops.softmax_cross_entropy(leaf, labels).backward()
        return leaf.grad.astype(logits.dtype)
    return derivative
