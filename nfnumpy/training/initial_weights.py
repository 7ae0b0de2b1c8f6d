"""`--init-from`: a run that starts from the weights in a file.

A run that is resumed does not need the file again: what it determines (model, normalization, rates of dropout, image
size) becomes part of the run's options.

Used by: run.py, trainer.py. Test: reference_tests/training/test_fine_tuning.py.
"""

import dataclasses
from typing import Any

from .. import models
from ..backend.arrays import Array
from ..errors import InputError
from .classifier import load_classifier
from .model_options import FIELDS, options_of
from .options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """The weights in the file `path`: of the variant called `model`, with the configuration `config`.

    state: name -> host array; classes: the names of its classes, None where the file has none; image_size: pixels of
    the images that the network was trained on, which those of a test need not have.
    """

    path: str
    model: str
    config: Any
    state: dict[str, Array]
    classes: tuple[str, ...] | None
    image_size: int

    def completed(self, options: TrainingOptions) -> TrainingOptions:
        """`options` with what the file determines where they leave it open; InputError for another --model."""
        if options.model not in (None, self.model):
            models.config_of(str(options.model))  # for the error about a name that does not exist
            raise InputError(f"--init-from {self.path}: these are weights of {self.model}, and --model is "
                             f"{options.model}; leave --model out")
        given = {"image_size": self.image_size, **options_of(self.config)}
        open_ones = {name: value for name, value in given.items() if getattr(options, name) is None}
        return dataclasses.replace(options, model=self.model, **open_ones)

    def load_into(self, model: models.ImageClassifier, classes: tuple[str, ...]) -> None:
        """Copy the weights into `model`, rounded to its dtype; its head stays new if `head_for` says so."""
        own = model.state_dict()
        columns = self._columns(classes)
        head = {name: own[name] if columns is None else self.state[name][..., columns]
                for name in ("linear.weight", "linear.bias")}
        model.load_state_dict({**self.state, **head}, cast=True)

    def summary(self, options: TrainingOptions, classes: tuple[str, ...]) -> str:
        """A line that says what a run with `options` on these classes takes from the file."""
        rounded = ""
        if self.state["linear.weight"].dtype == "float64" and options.dtype != "float64":
            rounded = f", rounded to {options.dtype}"
        return (f"--init-from {self.path}: weights of {self.model}{rounded}, trained on images of {self.image_size} "
                f"px; {self.head_for(classes)}")

    def head_for(self, classes: tuple[str, ...]) -> str:
        """What becomes of the final linear layer for data with these classes, in words."""
        count = self.config.num_classes
        columns = self._columns(classes)
        if len(classes) != count:
            return f"a new head for {len(classes)} classes in place of {count}"
        if columns is None:
            name = min(set(classes) - set(self.classes or ()))
            return f"a new head, because the file's {count} classes have other names; {name!r} is none of them"
        if self.classes is None:
            return f"its head for {count} classes: the file does not name them, so they have to be in the data's order"
        ordered = "" if self.classes == classes else ", in the order of the data"
        return f"its head for the same {count} classes{ordered}"

    def _columns(self, classes: tuple[str, ...]) -> list[int] | None:
        """The file's output for each of the data's `classes`; None for a new head."""
        if self.classes is None:
            return list(range(len(classes))) if len(classes) == self.config.num_classes else None
        if sorted(self.classes) != sorted(classes):
            return None
        return [self.classes.index(name) for name in classes]


def read_initial_weights(options: TrainingOptions) -> InitialWeights:
    """The weights that --init-from names; InputError unless they are those of a named variant, all of them finite."""
    path = str(options.init_from)
    classifier = load_classifier(path, averaged=options.init_weights == "averaged")
    config, state = classifier.model.config, classifier.model.state_dict()
    try:
        classifier.check_weights()
        model = _variant_like(config) or models.variant_of(state)
        differences = _differences(config, model)
    except InputError as error:
        raise InputError(f"--init-from {path}: {error}") from None
    if differences:
        raise InputError(f"--init-from {path}: the checkpoint's network is {model} but for its {differences[0]}; "
                         f"expected a named variant")
    if classifier.run is None:  # weights alone, with made-up names of classes
        return InitialWeights(path, model, config, state, None, config.train_size)
    return InitialWeights(path, model, config, state, classifier.classes, classifier.run.image_size)


def _variant_like(config: Any) -> str | None:
    """The variant that options alone, and the number of classes, make `config`."""
    return next((name for name in models.names() if not _differences(config, name)), None)


def _differences(config: Any, name: str) -> list[str]:
    """The fields of `config` that no option gives the variant called `name`; its family, if it is another one's."""
    variant = models.config_of(name)
    if type(config) is not type(variant):
        return ["family"]
    return [field.name for field in dataclasses.fields(config)
            if field.name not in ("num_classes", *FIELDS.values())
            and getattr(config, field.name) != getattr(variant, field.name)]
