"""Analysis of a network: signal propagation, parameters and multiply-adds."""

from .cost import count_flops, count_params, operation_costs
from .signal_propagation import BlockSignal, predicted_variances, signal_propagation

__all__ = ["BlockSignal", "count_flops", "count_params", "operation_costs", "predicted_variances",
           "signal_propagation"]
