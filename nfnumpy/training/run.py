"""A whole run, from its options to its last line: data, model, trainer and folder, then the epochs."""

from typing import Any

from .. import datasets, models
from . import checkpoint
from .checkpoint import Checkpoint
from .data import open_data
from .epochs import TrainingRun
from .initial_weights import read_initial_weights
from .options import TrainingOptions, resumed_options
from .progress import log
from .run_folder import CHECKPOINT, RunFolder, default_folder
from .step_metrics import NotFinite
from .trainer import Trainer


def train(given: dict[str, Any], resume: bool = False) -> list[dict[str, Any]]:
    """Train with the options `given` (fields of TrainingOptions; the rest are defaults); returns the metrics' entries.

    Writes checkpoint.safetensors, metrics.jsonl and curves.png to the folder `out`. resume: continue from the
    checkpoint there, bit for bit, or, if the run ended before its first checkpoint, start it again with its options.
    InputError for options, data or a folder that cannot be used; NotFinite when the training diverges.
    """
    if "out" in given:
        folder = RunFolder(given["out"])
    else:
        folder = RunFolder(default_folder(given.get("data", TrainingOptions.data), resume))
    options, stored = _options(given, folder, resume)
    initial = None
    if stored is None and options.init_from is not None:
        initial = read_initial_weights(options)
        options = initial.completed(options)
    dataset = open_data(options)
    name, config = _model(options, dataset)
    if initial is not None:
        log(initial.summary(options, dataset.classes))
    trainer = Trainer(options, config, dataset, initial)
    del initial  # the trainer has copied it
    with folder.locked(options, resume, is_chosen_here="out" not in given and not resume):
        run = TrainingRun(trainer, name, folder, stored)
        try:
            return run.run()
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
        return resumed_options(stored.facts["options"], given), stored
    options = resumed_options(folder.options_of_unfinished_run(), given)
    log(f"{folder.path}: the run ended before its first checkpoint and begins again")
    return options, None


def _model(options: TrainingOptions, dataset: datasets.Dataset) -> tuple[str, Any]:
    """(name, configuration) of the model that the options choose, with as many outputs as the data has classes."""
    name = options.model or models.default_for(dataset.image_size)
    changes: dict[str, Any] = {"num_classes": len(dataset.classes)}
    if options.dropout is not None:
        changes["drop_rate"] = options.dropout
    if options.stochdepth_rate is not None:
        changes["stochdepth_rate"] = options.stochdepth_rate
    return name, models.config_of(name, **changes)
