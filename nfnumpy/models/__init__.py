"""The three families of normalizer-free networks and their named variants."""

from .base import NormalizerFreeNetwork
from .identify import explain_mismatch, variant_of
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig
from .registry import config_of, create, default_for, from_config, names, randaugment_of

CONFIGS = (NFNetConfig, NFResNetConfig, NFRegNetConfig)

# The hint in an error of base.py needs the named variants, and their modules import base.py; so it is set here.
NormalizerFreeNetwork.explain_mismatch = staticmethod(explain_mismatch)  # type: ignore[method-assign]

__all__ = ["CONFIGS", "NFNet", "NFNetConfig", "NFRegNet", "NFRegNetConfig", "NFResNet", "NFResNetConfig",
           "NormalizerFreeNetwork", "config_of", "create", "default_for", "from_config", "names", "randaugment_of",
           "variant_of"]
