"""A whole network: activations, logits, every parameter's gradient, and one step of the optimizer.

The reference: nfnumpy.models, by changeable rules in verify/networks (2101.08692, 2102.06171, and the authors' released
code, which decides).
"""

import dataclasses

import numpy as np

from ... import models
from ...errors import InputError
from ..network.explanation import excesses, explain
from ..network.matching import read_map
from ..network.plans import plan_of
from ..network.problems import floored, odd_size, question, random_parameters
from ..network.recognition import recognised
from ..network.rules import Rules
from ..network.shapes import parameter_shapes
from ..network.target import Target
from ..variants import changed
from ..adapters.models import model_subject
from ..verdict import CONFORMS, DIVERGES, VARIANT, Difference, Verdict

SEED = 1
LARGEST = 64  # pixels, unless option `size` says otherwise
SMALL_IMAGES = (1, 4, 16)  # pixels that are tried for the counterexample


def check_model(target, *, framework="auto", examples=20, name=None, variant=None, config=None, size=None, batch=2,
                map=None, precision="auto", **options):
    """The Verdict on a network.

    target: a torch module, class or factory, "timm:NAME", an object with init and apply (Flax, Haiku), or a function of
    (parameters, images). variant: the name of ours that is meant, else it is told by the parameters' shapes; or config,
    a configuration of nfnumpy.models; size, batch: of the images (size: 64 or the network's own if less); map: their
    parameters' names to ours, a dict or a JSON file; precision: what it computes in, "auto" for the coarsest of its
    results; options are passed to the target. `examples` is not used: two questions are asked. InputError when the
    target cannot be used.
    """
    config = models.config_of(variant) if variant is not None and config is None else config
    subject, framework = model_subject(target, framework, config, options)
    found = recognised(subject.shapes, outputs_first=subject.outputs_first, config=config,
                       given=None if map is None else read_map(map))
    size = min(LARGEST, found.config.test_size) if size is None else size
    if not all(isinstance(number, int) and number >= 1 for number in (size, batch)):
        raise InputError(f"model: size={size!r}, batch={batch!r}: expected positive whole numbers")
    title = target if isinstance(target, str) else getattr(target, "__qualname__", type(target).__qualname__)
    return _Check(subject, framework, found, precision).verdict(name or title, size, batch)


class _Check:
    def __init__(self, subject, framework, found, precision):
        self.config, self.structure, self.base = found.config, found.entries, changed(Rules(), found.entries)
        self.plan, self.shapes = plan_of(self.config, self.base), parameter_shapes(self.config, self.base)
        self.notes = list(_how_matched(found))
        self.target = Target(subject, framework, found, self.shapes, precision, self.notes)

    def verdict(self, name, size, batch):
        """Ask, compare, explain."""
        cases = tuple(self._cases(size, batch))
        random = self.target.randomness(cases[-1])
        tables = self._tables(cases, gradients=False)
        if not self._wrong(tables):  # else gradients differ anyway: they are held against the form that is recognised
            tables = self._tables(cases, gradients=True)
        wrong = self._wrong(tables)
        found = dict(kind="model", target=name, framework=self.target.framework.name, precision=self.target.precision,
                     examples=len(cases), differences=_differences(tables, self.plan))
        if random:
            return self._diverges(found, random, (), cases)
        entries, nearest = explain(cases, self.config, self.base, self.target.precision) if wrong else ((), ())
        if entries is None:
            return self._diverges(found, self.structure, nearest, cases)
        entries = (*self.structure, *entries, *self.target.dropping(cases[-1], changed(self.base, entries)))
        if not wrong:
            found["differences"] = tuple(self._agreeing(found["differences"]))
        if not entries:
            return Verdict(outcome=CONFORMS, notes=tuple(self.notes), **found)
        if not all(entry.harmless for entry in entries):
            return self._diverges(found, entries, (), cases)
        return Verdict(outcome=VARIANT, size=self._size(cases), notes=tuple(self.notes), **_named(entries), **found)

    def _cases(self, size, batch):
        """Answers to two questions: parameters as networks have them; images of odd sizes, and units under the floor.
        """
        parameters = random_parameters(self.shapes, SEED)
        yield self.target.answer(question(self.config, parameters, (size, size), batch, SEED), with_step=True)
        odd = odd_size(size)
        try:
            yield self.target.answer(question(self.config, floored(parameters), odd, batch, SEED + 1))
        except InputError as error:
            self.notes.append(f"asked with images of {odd[0]}×{odd[1]}: {error}")

    def _tables(self, cases, gradients):
        return [excesses(case, self.config, self.base, self.target.precision, gradients) for case in cases]

    def _wrong(self, tables):
        """What comes out and rounding does not explain: logits, loss, gradients, the step."""
        inside = self.plan.parts[:-1]
        return [name for table in tables for name, (error, limit) in table.items()
                if error > limit and name not in inside]

    def _agreeing(self, differences):
        """Without the activations that differ though all that comes out agrees: they are held in another form."""
        hidden = [difference.tensor for difference in differences if not difference.agrees]
        if hidden:
            self.notes.append(f"inside, {hidden[0]}" + (f" and {len(hidden) - 1} more differ" if hidden[1:] else
                                                        " differs") + ", but all that comes out agrees")
        return (difference for difference in differences if difference.agrees)

    def _diverges(self, found, entries, nearest, cases):
        first = next((difference for difference in found["differences"] if not difference.agrees), None)
        where = first and self.target.place(first.tensor)
        if where:
            self.notes.append(f"it first differs in the target's {where}")
        return Verdict(outcome=DIVERGES, nearest=tuple(entry.name for entry in nearest), size=self._size(cases),
                       counterexample=self._smallest(cases[0].question), notes=tuple(self.notes), **_named(entries),
                       **found)

    def _size(self, cases):
        """How far the logits are from the reference's on typical weights; None where ours do not fit the target."""
        if self.structure:
            return None
        return excesses(cases[0], self.config, self.base, self.target.precision)["logits"][0]

    def _smallest(self, asked):
        """The smallest image that shows it, and from what the parameters can be made again."""
        told = {"variant": dataclasses.asdict(self.config), "seed": SEED}
        for size in (size for size in SMALL_IMAGES if size < asked.images.shape[1]):
            smaller = question(self.config, asked.parameters, (size, size), 1, SEED)
            try:
                table = self._tables([self.target.answer(smaller, gradients=False)], gradients=False)
            except (ArithmeticError, ValueError):  # so small an image does not fit
                continue
            if self._wrong(table):
                return {**told, "image": list(smaller.images.shape)}
        return {**told, "image": list(asked.images.shape)}


def _named(entries):
    return dict(diagnosis=tuple(entry.name for entry in entries),
                explanation=tuple(entry.explanation for entry in entries))


def _how_matched(found):
    """Notes on what the target was taken for."""
    classes = found.config.num_classes
    title = next((name for name in models.names() if models.config_of(name, num_classes=classes) == found.config),
                 type(found.config).__name__)
    yield f"taken for {title}; parameters matched by {found.match.how}"
    for what, names in (("the target has no", found.match.absent),
                        ("not used, left as the target made them:", found.match.unused)):
        if names:
            yield f"{what} {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _differences(tables, plan):
    """Parts one by one; of the gradients and the step of each part the worst tensor alone: there are hundreds."""
    places = {block.name: f"{block.name} (stage {block.stage + 1})" for block in plan.blocks}
    worst, epsilon = {}, np.finfo(np.float64).eps
    for table in tables:
        for name, (error, limit) in table.items():
            what, of, parameter = name.partition(" of ")
            place = ".".join(parameter.split(".")[:2 if parameter.startswith("blocks.") else 1])
            key = (what, place) if of else (name, "")
            if key not in worst or error / limit > worst[key].error / worst[key].allowed:
                worst[key] = Difference(places.get(name, name), error / epsilon, limit / epsilon, error)
    return tuple(worst.values())
