"""The PyTorch port of any configuration: which class of which file it is, and what a folded one looks like.

Used by: bench (opponent), reference_tests (oracle). Test: reference_tests/ports/test_torch_networks.py.
"""

from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import (
    torch,
    torch_densenet,
    torch_efficientnet,
    torch_fixup_resnet,
    torch_inception_v3,
    torch_mobilenet,
    torch_resnet,
    torch_resnet_d,
    torch_resnet_v2,
    torch_resnext,
    torch_skipinit_resnet,
)

PORTS: dict[str, type[nn.Module]] = {  # class of the configuration: port
    **torch.NETWORK_OF,
    "ResNetConfig": torch_resnet.ResNet,
    "ResNetV2Config": torch_resnet_v2.ResNetV2,
    "ResNetDConfig": torch_resnet_d.ResNetD,
    "ResNeXtConfig": torch_resnext.ResNeXt,
    "SEResNeXtConfig": torch_resnext.SEResNeXt,
    "SEResNeXtDConfig": torch_resnext.SEResNeXtD,
    "FixupResNetConfig": torch_fixup_resnet.FixupResNet,
    "SkipInitResNetConfig": torch_skipinit_resnet.SkipInitResNet,
    "DenseNetConfig": torch_densenet.DenseNet,
    "InceptionV3Config": torch_inception_v3.InceptionV3,
    "EfficientNetConfig": torch_efficientnet.EfficientNet,
    "MobileNetV1Config": torch_mobilenet.MobileNetV1,
    "MobileNetV2Config": torch_mobilenet.MobileNetV2,
}


def from_config(config: Any) -> nn.Module:
    """The network that a configuration of nfnumpy.models describes, or any object of such a class name and fields."""
    return PORTS[type(config).__name__](config)


def folded(network: nn.Module) -> nn.Module:
    """`network` itself, in evaluation, with every batch normalization after a convolution made a part of it."""
    network.eval()
    for module in network.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.norm = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network
