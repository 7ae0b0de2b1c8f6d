"""The training loop and what it leaves on disk: metrics, curves, checkpoints."""

from .classifier import Classifier, load_classifier
from .inputs import to_input
from .loop import train
from .options import TrainingOptions

__all__ = ["Classifier", "TrainingOptions", "load_classifier", "to_input", "train"]
