"""What a resumed run must have in common with the run that it continues, and what may be another."""

import dataclasses
from typing import Any

from .. import models
from ..errors import InputError
from .options import TrainingOptions, flag

# What a resumed run may change: it does not change what is computed, apart from a backend's rounding, or, like the
# number of epochs, it is an extension of the run. That the images are the same, wherever they are, is checked by
# inventory.py.
FREE_ON_RESUME = ("backend", "tf32", "cuda_graph", "workers", "checkpoint_every", "max_pixels", "out", "data", "epochs",
                  "time_limit", "keep", "early_stop", "memory_check", "csv", "tensorboard", "changed_data", "loader",
                  "on_bad_image")


def resumed_options(facts: dict[str, Any], given: dict[str, Any]) -> TrainingOptions:
    """The options of a resumed run: those stored in `facts`, of a checkpoint or a lock file, replaced by those `given`.

    Options that are newer than the checkpoint have their defaults. InputError when a given option would make it a
    different run, and when `facts` has no dict of options.
    """
    stored = facts.get("options")
    if not isinstance(stored, dict):
        raise InputError("the checkpoint holds no options")
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    unknown = sorted(set(stored) - set(defaults))
    if unknown:
        raise InputError(f"the checkpoint was written by another version of nfnumpy: its option {unknown[0]!r} is not "
                         f"known here")
    stored = {**defaults, **stored, "changed_data": defaults["changed_data"]}  # accepted once, not for ever
    stored.update({name: value for name, value in _decided(facts).items() if stored[name] is None})
    for name, value in given.items():
        if stored[name] != value and not _may_change(name, facts):
            raise InputError(f"{flag(name)} {value}: the run to resume was started with {stored[name]}; leave the "
                             f"flag out, or start a new run with another --out")
    return TrainingOptions(**{**stored, **given})


def _may_change(name: str, facts: dict[str, Any]) -> bool:
    """Whether the option `name` may change; the data's place only where its images can be compared."""
    return name in FREE_ON_RESUME and (name != "data" or stored_digest(facts) is not None)


def stored_digest(facts: dict[str, Any]) -> str | None:
    """The digest of the inventory of a run's data; None in a checkpoint of a version that had none."""
    progress = facts.get("progress")
    digest = progress.get("inventory") if isinstance(progress, dict) else None
    return digest if isinstance(digest, str) else None


def _decided(facts: dict[str, Any]) -> dict[str, Any]:
    """What data and variant decided in the run, where its options say nothing, as far as `facts` tells it."""
    config, image_size = facts.get("config"), facts.get("image_size")
    if not isinstance(config, dict) or not isinstance(image_size, int):
        return {}
    return {"image_size": image_size, "model": models.default_for(image_size), "dropout": config.get("drop_rate"),
            "stochdepth_rate": config.get("stochdepth_rate"), "norm": config.get("norm")}


def identity_of(config: Any, dataset: Any) -> dict[str, Any]:
    """The facts that a resumed run must have in common with the one that it continues, in JSON's types.

    config: of the model; dataset: a datasets.Dataset.
    """
    return {"family": type(config).__name__, "config": _as_json(dataclasses.asdict(config)),
            "classes": list(dataset.classes), "image_size": dataset.image_size,
            "training_images": len(dataset.train)}


def check_identity(facts: dict[str, Any], config: Any, dataset: Any) -> None:
    """InputError unless a checkpoint's `facts` are those of a run of this model on data of this kind and size."""
    for key, own in identity_of(config, dataset).items():
        stored = facts.get(key)
        if key == "config" and isinstance(stored, dict):
            stored = {**_as_json(_defaults(config)), **stored}  # fields that are newer than the checkpoint
        if stored != own:
            raise InputError(f"the run to resume had another {key.replace('_', ' ')}: {stored!r}, and now it is "
                             f"{own!r}")


def _as_json(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a configuration as JSON gives them back: lists in place of tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


def _defaults(config: Any) -> dict[str, Any]:
    """The defaults of a configuration's fields."""
    return {field.name: field.default for field in dataclasses.fields(config)
            if field.default is not dataclasses.MISSING}
