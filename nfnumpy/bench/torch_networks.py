"""The PyTorch network that a configuration describes."""

from .. import models
from .torch_nf_regnet import NFRegNet
from .torch_nf_resnet import NFResNet
from .torch_nfnet import NFNet

NETWORK_OF = {models.NFNetConfig: NFNet, models.NFResNetConfig: NFResNet, models.NFRegNetConfig: NFRegNet}


def network_of(config):
    """A network of the family that `config` belongs to."""
    return NETWORK_OF[type(config)](config)
