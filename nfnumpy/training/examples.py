"""The training examples and the loaders that a run's options choose.

Used by: epochs.py, evaluation.py, find_lr.py. Test: reference_tests/training/test_mixed_training.py.
"""

from ..augment import ColorJitter, Mixing, RandomErasing, TrainingExamples, augmentation_of
from ..augment.examples import MOST_SORTED
from ..datasets import Dataset, Loader, SkippingSplit, Split
from .options import TrainingOptions
from .trainer import Trainer


def is_keyed_by_default(dataset: Dataset) -> bool:
    """Whether a new run on this data set has keyed orders of its epochs; a run keeps the kind that it began with."""
    return len(dataset.train) > MOST_SORTED


def training_examples(trainer: Trainer, is_keyed: bool) -> TrainingExamples:
    """The examples of a run. InputError for an augmentation that the variant does not have.

    is_keyed: as TrainingExamples has it.
    """
    options, dataset = trainer.options, trainer.dataset
    augmentation = augmentation_of(options.augment, str(options.model), dataset.image_size)
    split = SkippingSplit(dataset.train) if options.on_bad_image == "skip" else dataset.train
    return TrainingExamples(split, len(dataset.classes), trainer.batch_size, options.epochs, options.seed,
                            augmentation, mixing_of(options),
                            None if options.color_jitter is None else ColorJitter(options.color_jitter),
                            None if options.erase is None else RandomErasing(options.erase, options.erase_mode),
                            is_keyed)


def training_loader(examples: TrainingExamples, options: TrainingOptions, batch_size: int) -> Loader:
    """The loader of a run's examples. An image that cannot be read and that none takes the place of is an error."""
    return Loader(examples, batch_size, workers=options.workers, kind=options.loader)


def evaluation_loader(split: Split, options: TrainingOptions, batch_size: int) -> Loader:
    """The loader of a run's test images."""
    return Loader(split, batch_size, workers=options.workers, kind=options.loader,
                  leaves_out=options.on_bad_image == "skip")


def mixing_of(options: TrainingOptions) -> Mixing | None:
    """The mixing that the options choose; None for none."""
    if options.mixup is None and options.cutmix is None:
        return None
    augment_first = {"auto": None, "on": True, "off": False}[options.augment_before_mix]
    return Mixing(options.mixup, options.cutmix, options.mixing, options.mixup_off_epoch, augment_first)
