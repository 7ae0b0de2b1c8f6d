"""The three families of normalizer-free networks and their named variants."""

from .base import NormalizerFreeNetwork
from .identify import variant_of
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig
from .registry import config_of, create, default_for, from_config, names

CONFIGS = (NFNetConfig, NFResNetConfig, NFRegNetConfig)

__all__ = ["CONFIGS", "NFNet", "NFNetConfig", "NFRegNet", "NFRegNetConfig", "NFResNet", "NFResNetConfig",
           "NormalizerFreeNetwork", "create", "from_config", "names", "default_for", "config_of", "variant_of"]
