"""Convolution with plain weight standardization, which is used before group normalization.

Source: Qiao et al. (2019), arXiv 1903.10520. The formula: functional/plain_weight_standardization.py.
Used by: scripts of users. Test: reference_tests/nn/test_normalization.py.
"""

from typing import Any

from .. import ops
from ..autograd import Tensor
from ..functional.plain_weight_standardization import EPS
from .initialization import Initializer
from .layers import Conv2D


class WeightStandardizedConv2D(Conv2D):
    """Convolution with (W - mu)/(sigma + eps), or with (W - mu)/sqrt(sigma² + eps) for eps_beside="variance".

    The other options are Conv2D's.
    """

    def __init__(self, init: Initializer, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *,
                 eps: float = EPS, eps_beside: str = "deviation", **options: Any) -> None:
        super().__init__(init, in_channels, out_channels, kernel_size, **options)
        self.eps = eps
        self.eps_beside = eps_beside

    def kernel(self) -> Tensor:
        """The standardized weight."""
        return ops.plain_standardize_weight(self.weight, eps=self.eps, eps_beside=self.eps_beside)
