"""The three families of normalizer-free networks and their named variants."""

from .base import NormalizerFreeNetwork
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig
from .registry import create, names, variant

__all__ = ["NFNet", "NFNetConfig", "NFRegNet", "NFRegNetConfig", "NFResNet", "NFResNetConfig",
           "NormalizerFreeNetwork", "create", "names", "variant"]
