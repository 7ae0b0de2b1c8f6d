"""How good a classifier is on a labelled split, and what it says about image files."""

from .classes import ClassMatch, match_classes
from .inputs import ClassifierInputs
from .outcome import Outcome, evaluate
from .predictions import Prediction, classify_files, default_batch_size
from .sources import picture_paths

__all__ = ["ClassMatch", "ClassifierInputs", "Outcome", "Prediction", "classify_files", "default_batch_size",
           "evaluate", "match_classes", "picture_paths"]
