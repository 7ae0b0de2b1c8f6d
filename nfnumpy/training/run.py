"""A whole run, from its options to its last line: data, model, trainer and folder, then the epochs."""

import dataclasses
from typing import Any

from .. import datasets, models
from ..errors import InputError
from . import checkpoint, report
from .checkpoint import Checkpoint
from .config_file import write_config
from .data import open_data
from .ending import Ending, TimeIsUp
from .epochs import TrainingRun
from .initial_weights import read_initial_weights
from .inventory import difference_of, write_inventory
from .memory_check import check_memory
from .metrics_tables import check_tables
from .model_options import changes_of, options_of
from .options import TrainingOptions
from .progress import log
from .resumption import check_identity, resumed_options, stored_digest
from .run_folder import CHECKPOINT, CONFIG, INVENTORY, RunFolder, default_folder
from .step_metrics import NotFinite
from .trainer import Trainer


def train(given: dict[str, Any], resume: bool = False) -> list[dict[str, Any]]:
    """Train with the options `given` (fields of TrainingOptions; the rest are defaults); returns the metrics' entries.

    Writes checkpoint.safetensors, metrics.jsonl, config.toml and curves.png to the folder `out`. resume: continue from
    the checkpoint there, bit for bit, or, if the run ended before its first checkpoint, start it again with its
    options. InputError for options, data or a folder that cannot be used; NotFinite when the training diverges.
    After SIGINT and SIGTERM, which first wait for the step and its checkpoint, KeyboardInterrupt and Terminated.
    """
    if "out" in given:
        folder = RunFolder(given["out"])
    else:
        folder = RunFolder(default_folder(given.get("data", TrainingOptions.data), resume))
    options, stored = _options(given, folder, resume)
    with Ending(options.time_limit) as ending:
        trainer = make_trainer(options, is_new=stored is None)
        with folder.locked(trainer.options, resume, is_chosen_here="out" not in given and not resume):
            try:
                return _run(trainer, folder, stored, ending)
            except NotFinite:
                raise  # the same options would lead to the same end
            except (Exception, KeyboardInterrupt) as error:
                error.add_note(f"to go on: --resume --out {folder.path}")
                raise


def _options(given: dict[str, Any], folder: RunFolder, resume: bool) -> tuple[TrainingOptions, Checkpoint | None]:
    """The options, and what the checkpoint holds when resuming from one."""
    given = {**given, "out": folder.path}
    if not resume:
        folder.refuse_another_run()
        return TrainingOptions(**given), None
    if folder.has(CHECKPOINT):
        stored = checkpoint.load(folder.file(CHECKPOINT))
        return resumed_options(stored.facts, given), stored
    options = resumed_options(folder.facts_of_unfinished_run(), given)
    log(f"{folder.path}: the run ended before its first checkpoint and begins again")
    return options, None


def make_trainer(options: TrainingOptions, is_new: bool) -> Trainer:
    """The trainer, whose options say what data and variant decide where `options` leave it open.

    is_new: whether the run starts from its initial weights, not from a checkpoint of its own.
    """
    check_tables(options)
    initial = None
    if is_new and options.init_from is not None:
        initial = read_initial_weights(options)
        options = initial.completed(options)
    dataset = open_data(options)
    name, config = _model(options, dataset)
    check_memory(options, name, config, dataset)
    if initial is not None:
        log(initial.summary(options, dataset.classes))
    decided = dataclasses.replace(options, image_size=dataset.image_size, model=name, **options_of(config))
    return Trainer(decided, config, dataset, initial)


def _model(options: TrainingOptions, dataset: datasets.Dataset) -> tuple[str, Any]:
    """(name, configuration) of the model that the options choose, with as many outputs as the data has classes."""
    name = options.model or models.default_for(dataset.image_size)
    if options.model is None and name == "nfnet_f0" and options.backend == "numpy":
        log(f"{name} at {dataset.image_size} px takes many seconds a step on a processor; --config recipe:small_folder "
            "trains a small network at 64 px")
    changes = changes_of(options, name, models.config_of(name))
    return name, models.config_of(name, num_classes=len(dataset.classes), **changes)


def _run(trainer: Trainer, folder: RunFolder, stored: Checkpoint | None, ending: Ending) -> list[dict[str, Any]]:
    """Train in the locked folder, from the beginning or from what is `stored`."""
    digest = _check_data(trainer, folder, stored)
    run = TrainingRun(trainer, folder, stored, ending, digest)
    write_config(folder.file(CONFIG), trainer.options)
    if stored is not None and stored.facts["options"]["epochs"] != trainer.options.epochs:
        report.log_more_epochs(stored.facts["options"]["epochs"], trainer)
    try:
        return run.run()
    except TimeIsUp as end:
        log(f"--time-limit: the run ends {end}; to go on: --resume --out {folder.path}")
        return run.metrics.entries


def _accept(difference: str, options: TrainingOptions) -> None:
    """Log what differs between the images now and when the run began; InputError unless the options accept it."""
    beginning = "these are not the images that the run began with"
    if options.changed_data != "accept":
        raise InputError(f"--data {options.data}: {beginning}: {difference}; --changed-data accept goes on with them")
    log(f"--changed-data accept: {beginning}: {difference}")


def _check_data(trainer: Trainer, folder: RunFolder, stored: Checkpoint | None) -> str:
    """The digest of the data's inventory, which the folder has afterwards; InputError for other data than `stored`."""
    digest = None if stored is None else stored_digest(stored.facts)
    if digest is not None:
        difference = difference_of(trainer.dataset, digest, folder)
        if difference is not None:
            _accept(difference, trainer.options)
            digest = None
    if stored is not None:
        check_identity(stored.facts, trainer.config, trainer.dataset)
    if digest is None or not folder.has(INVENTORY):
        digest = write_inventory(trainer.dataset, folder)
    return digest
