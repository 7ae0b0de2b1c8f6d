"""The training loop and what it leaves on disk: metrics, curves, checkpoints."""

from .classifier import Classifier, load_classifier
from ..datasets.preprocessing import to_input
from .run import train
from .options import TrainingOptions

__all__ = ["Classifier", "TrainingOptions", "load_classifier", "to_input", "train"]
