"""The data set of a run, opened as its options say."""

from .. import datasets
from ..errors import InputError
from .options import TrainingOptions


def open_data(options: TrainingOptions) -> datasets.Dataset:
    """The data set of a run with these options; InputError if it cannot be used, or has one class only."""
    reading = datasets.ReadingOptions(max_pixels=options.max_pixels)
    dataset = datasets.open_dataset(options.data, options.image_size, reading)
    if len(dataset.classes) < 2:
        raise InputError(f"--data {options.data}: one class, {dataset.classes[0]!r}; expected at least two")
    return dataset
