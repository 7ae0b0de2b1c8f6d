"""The training loop and what it leaves on disk: metrics, curves, checkpoints."""

from .classifier import Classifier, load_classifier
from .options import TrainingOptions
from .run import train
from .step_metrics import NotFinite
from .trainer import Trainer

__all__ = ["Classifier", "NotFinite", "Trainer", "TrainingOptions", "load_classifier", "train"]
