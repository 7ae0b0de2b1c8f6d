"""Which output of a model each class of a data set is.

Used by: evaluate.py. Test: reference_tests/evaluation/test_classes.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..datasets import imagenet_classes, imagenet_numbers
from ..errors import InputError

SHOWN = 5  # names in a message


class ClassMatch(NamedTuple):
    """outputs: int64 (classes of the data,), the output of the model for each; names: of all outputs.

    remark: what to say about it, or "".
    """

    outputs: np.ndarray
    names: tuple[str, ...]
    remark: str


def match_classes(of_model: Sequence[str], of_data: Sequence[str], are_stored: bool = True) -> ClassMatch:
    """Match the names of the data's classes with those of the model's; InputError for a class that it does not know.

    ImageNet's classes are also known by their WordNet numbers, such as n01440764. are_stored: whether the names came
    with the weights; otherwise, where they do not match, as many classes match by their order and take the data's
    names.
    """
    if tuple(of_model) == tuple(of_data):
        return ClassMatch(np.arange(len(of_model)), tuple(of_model), "")
    for names, whose in ((of_model, "model"), (of_data, "data")):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"two classes of the {whose} are called {twice!r}: expected different names")
    outputs = {name: number for number, name in enumerate(of_model)}
    if tuple(of_model) == imagenet_classes() and not set(of_data) <= set(outputs):
        outputs.update({number: output for output, number in enumerate(imagenet_numbers())})
    unknown = [name for name in of_data if name not in outputs]
    if not unknown:
        found = np.array([outputs[name] for name in of_data], np.int64)
        return ClassMatch(found, tuple(of_model), _remark(found, len(of_model)))
    if not are_stored and len(of_data) == len(of_model):
        remark = (f"the weights do not name their classes: output 0 is assumed to be {of_data[0]!r}, and so on in the "
                  f"order of the data's classes")
        return ClassMatch(np.arange(len(of_data)), tuple(of_data), remark)
    if not are_stored:
        raise InputError(f"the weights do not name their {len(of_model)} classes, and the data has {len(of_data)}: "
                         f"expected as many")
    raise InputError(f"the model does not know {len(unknown)} of the data's {len(of_data)} classes: {_some(unknown)}; "
                     f"its classes are {_some(of_model)}")


def _remark(outputs: np.ndarray, of_model: int) -> str:
    if len(outputs) < of_model:
        return f"the data has {len(outputs)} of the model's {of_model} classes; a prediction may be any of the model's"
    if np.any(np.diff(outputs) < 0):
        return "the data has the model's classes in another order; they are matched by name"
    return ""


def _some(names: Sequence[str]) -> str:
    """The first few names, in quotes."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
