"""The three families of normalizer-free networks and their named variants."""

from .base import NormalizerFreeNetwork
from .fitting import variant_of
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig
from .registry import create, model_of, names, suited_to, variant

CONFIGS = (NFNetConfig, NFResNetConfig, NFRegNetConfig)

__all__ = ["CONFIGS", "NFNet", "NFNetConfig", "NFRegNet", "NFRegNetConfig", "NFResNet", "NFResNetConfig",
           "NormalizerFreeNetwork", "create", "model_of", "names", "suited_to", "variant", "variant_of"]
