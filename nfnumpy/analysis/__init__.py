"""Analysis of a network: signal propagation, parameters, multiply-adds, memory; and of what a classifier predicts."""

from .classification import Calibration, ClassScores, calibration, confusion_matrix, precision_and_recall
from .cost import count_flops, count_params, operation_costs
from .signal_propagation import BlockSignal, predicted_variances, predicted_with_batch_norm, signal_propagation
from .summary import Part, Summary, summarize

__all__ = ["BlockSignal", "Calibration", "ClassScores", "Part", "Summary", "calibration", "confusion_matrix",
           "count_flops", "count_params", "operation_costs", "precision_and_recall", "predicted_variances",
           "predicted_with_batch_norm", "signal_propagation", "summarize"]
