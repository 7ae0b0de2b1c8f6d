"""The data set of a run, opened as its options say.

Used by: run.py. Test: reference_tests/training/test_data_options.py.
"""

from .. import datasets, models
from ..errors import InputError
from .options import TrainingOptions


def open_data(options: TrainingOptions) -> datasets.Dataset:
    """The data set of a run with these options; InputError if it cannot be used, or has one class only.

    Where the options leave the size of its images open, it is that of the model that they choose, or one that the data
    suggests.
    """
    preferred = None if options.model is None else models.config_of(options.model).train_size
    reading = datasets.ReadingOptions(
        max_pixels=options.max_pixels, decoder=options.decoder, on_bad_image=options.on_bad_image,
        test_share=options.test_share, eval_resize=options.eval_resize, eval_margin=options.eval_margin,
        test_size=options.test_size, preferred_size=preferred)
    dataset = datasets.open_dataset(options.data, options.image_size, reading)
    if len(dataset.classes) < 2:
        raise InputError(f"--data {options.data}: one class, {dataset.classes[0]!r}; expected at least two")
    return dataset
