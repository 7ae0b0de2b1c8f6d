"""A whole network: activations, logits, every parameter's gradient, and one step of the optimizer.

The reference: nfnumpy.models, by rules in verify/network (2101.08692, 2102.06171, and the authors' released code, which
decides).
"""

import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ... import models
from ...errors import InputError
from .. import tolerance
from ..adapters import title_of
from ..adapters.model import network_target
from ..compare import ROUNDED_CONSTANTS
from ..diagnosis import CONFORMING, named
from ..frameworks import Framework
from ..network.architecture import Architecture, architecture_of, base_rules
from ..network.baselines import is_buffer
from ..network.diagnosis import diagnose, excesses
from ..network.inputs import NetworkInputs, floored, network_inputs, odd_size, random_parameters
from ..network.matching import read_map
from ..network.observation import Observation, ObservedNetwork
from ..network.recognition import Recognition, name_of, recognize
from ..network.reference_run import LARGE
from ..network.shapes import parameter_shapes
from ..variants import apply
from ..variants.network import NetworkRules
from ..verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict

SEED = 1
LARGEST = 64  # pixels, unless option `size` gives another size
LARGEST_OF = {models.InceptionV3Config: 128}  # it takes none below 75
SMALL_IMAGES = (1, 4, 16)  # pixels that are tried for the counterexample
NAMES_SHOWN = 4  # of parameters, in a note

Table = Mapping[str, tuple[float, float]]  # name -> (error, allowed), relative


def check_model(target: Any, *, framework: str = "auto", examples: int = 20, name: str | None = None,
                variant: str | None = None, config: Any = None, size: int | None = None, batch: int = 2,
                map: Mapping[str, str] | str | os.PathLike[str] | None = None, precision: str = "auto",
                **options: Any) -> Verdict:
    """The Verdict on a network.

    target: a torch module, class or factory, "timm:NAME", an object with init and apply (Flax, Haiku), or a function of
    (parameters, images). variant: the name of ours that is meant, else it is recognized by the parameters' shapes; or
    config, a configuration of nfnumpy.models; size, batch: of the images (size: 64 or the network's own if less); map:
    their parameters' names to ours, a dict or a JSON file; precision: what it computes in, "auto" for the coarsest of
    its results; options are passed to the target. `examples` is not used: there are two input cases. InputError when
    the target cannot be used.
    """
    config = models.config_of(variant) if variant is not None and config is None else config
    network, used_framework = network_target(target, framework, config, options)
    found = recognize(network.shapes, outputs_first=network.outputs_first, config=config,
                      given=None if map is None else read_map(map))
    if size is None:
        size = network.image_size or min(LARGEST_OF.get(type(found.config), LARGEST), found.config.test_size)
    if not all(isinstance(number, int) and number >= 1 for number in (size, batch)):
        raise InputError(f"model: size={size!r}, batch={batch!r}: expected positive whole numbers")
    return _Comparison(network, used_framework, found, precision).verdict(name or title_of(target), size, batch)


class _Comparison:
    def __init__(self, network: Any, framework: Framework, found: Recognition, precision: str):
        self.config, self.structure = found.config, found.variants
        self.base = apply(base_rules(found.config), found.variants)
        self.architecture = architecture_of(self.config, self.base)
        self.shapes = parameter_shapes(self.config, self.base)
        self.notes = list(_recognition_notes(found))
        self.target = ObservedNetwork(network, framework, found, self.shapes, precision, self.notes)

    def verdict(self, name: str, size: int, batch: int) -> Verdict:
        """Run the target, compare, explain."""
        seen = tuple(self._observations(size, batch))
        random = self.target.randomness(seen[-1])
        tables = self._tables(seen, gradients=False)
        if self._wrong(tables) and self.target.framework.rounds_constants and self.target.precision == "float64":
            self.target.precision = "float32"
            self.notes.append(ROUNDED_CONSTANTS)
            tables = self._tables(seen, gradients=False)
        if not self._wrong(tables):  # else gradients differ anyway; they are compared with the form that is recognized
            tables = self._tables(seen, gradients=True)
        wrong = self._wrong(tables)
        found: dict[str, Any] = dict(
            kind="model", target=name, framework=self.target.framework.name, precision=self.target.precision,
            examples=len(seen), differences=_differences(tables, self.architecture, self.target.precision))
        if random:
            return self._diverges(found, random, (), seen)
        explained = diagnose(seen, self.config, self.base, self.target.precision) if wrong else CONFORMING
        variants, nearest = explained.variants, explained.nearest
        if variants is None:
            return self._diverges(found, self.structure, nearest, seen)
        dropping = self.target.stochastic_depth(seen[-1], apply(self.base, variants))
        variants = (*self.structure, *variants, *dropping)
        if not wrong:
            found["differences"] = tuple(self._agreeing(found["differences"]))
        if not variants:
            return Verdict(outcome=CONFORMS, notes=tuple(self.notes), **found)
        if not all(variant.benign for variant in variants):
            return self._diverges(found, variants, (), seen)
        return Verdict(outcome=VARIANT, relative_difference=self._relative_difference(seen), notes=tuple(self.notes),
                       **named(variants), **found)

    def _observations(self, size, batch):
        """The results for two inputs: parameters as networks have them; images of odd sizes, units under the floor."""
        make = _inputs if sum(map(math.prod, self.shapes.values())) < LARGE else _inputs.__wrapped__
        usual, odd_and_floored = make(self.config, tuple(self.shapes.items()), size, batch)
        yield self.target.observe(usual, with_step=isinstance(self.base, NetworkRules))
        if any(map(is_buffer, self.shapes)) and self.target.network.can_train:
            training = dataclasses.replace(usual, training=True)
            try:
                yield self.target.observe(training)
            except InputError as error:
                self.notes.append(f"with the moments of the batch: {error}")
        try:
            yield self.target.observe(odd_and_floored)
        except InputError as error:
            odd = odd_and_floored.images.shape[1:3]
            self.notes.append(f"with images of {odd[0]}×{odd[1]}: {error}")

    def _tables(self, seen: Sequence[Observation], gradients: bool) -> list[Table]:
        return [excesses(each, self.config, self.base, self.target.precision, gradients) for each in seen]

    def _wrong(self, tables):
        """The network's results that rounding does not explain: logits, loss, gradients, the step."""
        inside = self.architecture.parts[:-1]
        return [name for table in tables for name, (error, limit) in table.items()
                if error > limit and name not in inside]

    def _agreeing(self, differences):
        """Without the activations that differ although all results agree: the target has them in another form."""
        inside = [difference.tensor for difference in differences if not difference.agrees]
        if inside:
            verb = f" and {len(inside) - 1} more differ" if inside[1:] else " differs"
            self.notes.append(f"inside, {inside[0]}{verb}, but all results agree")
        return (difference for difference in differences if difference.agrees)

    def _diverges(self, found, variants, nearest, seen):
        first = next((difference for difference in found["differences"] if not difference.agrees), None)
        place = first and self.target.place_of(first.tensor)
        if place:
            self.notes.append(f"it first differs in the target's {place}")
        return Verdict(outcome=DIVERGES, nearest=tuple(variant.name for variant in nearest),
                       relative_difference=self._relative_difference(seen),
                       counterexample=self._smallest(seen[0].inputs), notes=tuple(self.notes), **named(variants),
                       **found)

    def _relative_difference(self, seen):
        """Of the logits from the reference's on typical weights; None where the parameters have other shapes."""
        if self.structure:
            return None
        return excesses(seen[0], self.config, self.base, self.target.precision)["logits"][0]

    def _smallest(self, inputs: NetworkInputs) -> dict[str, Any]:
        """The smallest image that shows the difference, and what the parameters can be made from again."""
        facts = {"variant": dataclasses.asdict(self.config), "seed": SEED}
        for size in (size for size in SMALL_IMAGES if size < inputs.images.shape[1]):
            smaller = network_inputs(self.config, inputs.parameters, (size, size), 1, SEED)
            try:
                tables = self._tables([self.target.observe(smaller, gradients=False)], gradients=False)
            except (ArithmeticError, ValueError):  # the network takes no image so small
                continue
            if self._wrong(tables):
                return {**facts, "image": list(smaller.images.shape)}
        return {**facts, "image": list(inputs.images.shape)}


@functools.lru_cache(maxsize=8)
def _inputs(config: Any, shapes: tuple[tuple[str, tuple[int, ...]], ...], size: int,
            batch: int) -> tuple[NetworkInputs, NetworkInputs]:
    """The usual inputs, and images of odd sizes for parameters with units under the floor."""
    parameters = random_parameters(dict(shapes), SEED)
    return (network_inputs(config, parameters, (size, size), batch, SEED),
            network_inputs(config, floored(parameters), odd_size(size), batch, SEED + 1))


def _recognition_notes(found: Recognition) -> Iterator[str]:
    """Notes on the network that the target was recognized as, and on the match of its parameters."""
    yield f"recognized as {name_of(found.config)}; parameters matched by {found.match.how}"
    for what, names in (("the target has no", found.match.absent),
                        ("not used, set to 0:", found.match.biases),
                        ("not used, left as the target made them:",
                         [name for name in found.match.unused if name not in found.match.biases])):
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            yield f"{what} {', '.join(names[:NAMES_SHOWN])}{more}"


def _differences(tables: Sequence[Table], architecture: Architecture, precision: str) -> tuple[Difference, ...]:
    """Parts one by one, in epsilons of the precision.

    Of the gradients and the step of each part the worst tensor alone: there are hundreds.
    """
    titles = {block.name: f"{block.name} (stage {block.stage + 1})" for block in architecture.blocks
              if block.stage is not None}
    worst: dict[tuple[str, str], Difference] = {}
    epsilon = tolerance.epsilon(precision)
    for table in tables:
        for name, (error, limit) in table.items():
            what, of, parameter = name.partition(" of ")
            part = ".".join(parameter.split(".")[:2 if parameter.startswith("blocks.") else 1])
            key = (what, part) if of else (name, "")
            difference = Difference(titles.get(name, name), error / epsilon, limit / epsilon, error)
            if key not in worst or difference.excess > worst[key].excess:
                worst[key] = difference
    return tuple(worst.values())
