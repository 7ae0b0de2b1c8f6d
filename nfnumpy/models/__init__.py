"""Normalizer-free networks, the networks that they are compared with, and the named variants of all."""

from .base import ImageClassifier
from .densenet import DenseNet, DenseNetConfig
from .efficientnet import EfficientNet, EfficientNetConfig
from .fixup_resnet import FixupResNet, FixupResNetConfig
from .folding import folded
from .identify import explain_mismatch, variant_of
from .inception_v3 import InceptionV3, InceptionV3Config
from .mobilenet_v1 import MobileNetV1, MobileNetV1Config
from .mobilenet_v2 import MobileNetV2, MobileNetV2Config
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig
from .registry import FAMILIES, NORMALIZER_FREE, config_of, create, default_for, from_config, names, randaugment_of
from .resnet import ResNet, ResNetConfig
from .resnet_d import ResNetD, ResNetDConfig
from .resnet_v2 import ResNetV2, ResNetV2Config
from .resnext import ResNeXt, ResNeXtConfig
from .se_resnext import SEResNeXt, SEResNeXtConfig
from .se_resnext_d import SEResNeXtD, SEResNeXtDConfig
from .skipinit_resnet import SkipInitResNet, SkipInitResNetConfig

CONFIGS = tuple(FAMILIES)

# The hint in an error of base.py needs the named variants, and their modules import base.py; so it is set here.
ImageClassifier.explain_mismatch = staticmethod(explain_mismatch)  # type: ignore[method-assign]

__all__ = [
           "CONFIGS",
           "NORMALIZER_FREE",
           "DenseNet",
           "DenseNetConfig",
           "EfficientNet",
           "EfficientNetConfig",
           "FixupResNet",
           "FixupResNetConfig",
           "ImageClassifier",
           "InceptionV3",
           "InceptionV3Config",
           "MobileNetV1",
           "MobileNetV1Config",
           "MobileNetV2",
           "MobileNetV2Config",
           "NFNet",
           "NFNetConfig",
           "NFRegNet",
           "NFRegNetConfig",
           "NFResNet",
           "NFResNetConfig",
           "ResNeXt",
           "ResNeXtConfig",
           "ResNet",
           "ResNetConfig",
           "ResNetD",
           "ResNetDConfig",
           "ResNetV2",
           "ResNetV2Config",
           "SEResNeXt",
           "SEResNeXtConfig",
           "SEResNeXtD",
           "SEResNeXtDConfig",
           "SkipInitResNet",
           "SkipInitResNetConfig",
           "config_of",
           "create",
           "default_for",
           "folded",
           "from_config",
           "names",
           "randaugment_of",
           "variant_of",
]
