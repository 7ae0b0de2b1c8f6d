"""The training examples that a run's options choose.

Used by: epochs.py. Test: reference_tests/training/test_mixed_training.py.
"""

from ..augment import ColorJitter, Mixing, RandomErasing, TrainingExamples, augmentation_of
from .options import TrainingOptions
from .trainer import Trainer


def training_examples(trainer: Trainer) -> TrainingExamples:
    """The examples of a run. InputError for an augmentation that the variant does not have."""
    options, dataset = trainer.options, trainer.dataset
    augmentation = augmentation_of(options.augment, str(options.model), dataset.image_size)
    return TrainingExamples(dataset.train, len(dataset.classes), trainer.batch_size, options.epochs, options.seed,
                            augmentation, mixing_of(options),
                            None if options.color_jitter is None else ColorJitter(options.color_jitter),
                            None if options.erase is None else RandomErasing(options.erase, options.erase_mode))


def mixing_of(options: TrainingOptions) -> Mixing | None:
    """The mixing that the options choose; None for none."""
    if options.mixup is None and options.cutmix is None:
        return None
    augment_first = {"auto": None, "on": True, "off": False}[options.augment_before_mix]
    return Mixing(options.mixup, options.cutmix, options.mixing, options.mixup_off_epoch, augment_first)
