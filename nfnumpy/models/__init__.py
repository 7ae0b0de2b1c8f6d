"""Normalizer-free networks, the networks that they are compared with, and the named variants of all."""

from .base import ImageClassifier
from .identify import explain_mismatch, variant_of
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig
from .registry import FAMILIES, NORMALIZER_FREE, config_of, create, default_for, from_config, names, randaugment_of
from .resnet import ResNet, ResNetConfig

CONFIGS = tuple(FAMILIES)

# The hint in an error of base.py needs the named variants, and their modules import base.py; so it is set here.
ImageClassifier.explain_mismatch = staticmethod(explain_mismatch)  # type: ignore[method-assign]

__all__ = [
           "CONFIGS",
           "NORMALIZER_FREE",
           "ImageClassifier",
           "NFNet",
           "NFNetConfig",
           "NFRegNet",
           "NFRegNetConfig",
           "NFResNet",
           "NFResNetConfig",
           "ResNet",
           "ResNetConfig",
           "config_of",
           "create",
           "default_for",
           "from_config",
           "names",
           "randaugment_of",
           "variant_of",
]
