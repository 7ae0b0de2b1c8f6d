"""The named variants of all families: one table of configurations.

Used by: models/identify.py and every command. Test: reference_tests/models/test_published_counts.py.
"""

import dataclasses
import difflib
from typing import Any

from numpy.typing import DTypeLike

from ..errors import InputError
from ..functional.checks import whole_number
from . import (
    densenet,
    efficientnet,
    fixup_resnet,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    nf_regnet,
    nf_resnet,
    nfnet,
    resnet,
    resnet_d,
    resnet_v2,
    resnext,
    se_resnext,
    se_resnext_d,
    skipinit_resnet,
)
from .base import ImageClassifier

FAMILIES = {  # configuration: (network, its file)
    nfnet.NFNetConfig: (nfnet.NFNet, nfnet),
    nf_resnet.NFResNetConfig: (nf_resnet.NFResNet, nf_resnet),
    nf_regnet.NFRegNetConfig: (nf_regnet.NFRegNet, nf_regnet),
    resnet.ResNetConfig: (resnet.ResNet, resnet),
    resnet_v2.ResNetV2Config: (resnet_v2.ResNetV2, resnet_v2),
    resnet_d.ResNetDConfig: (resnet_d.ResNetD, resnet_d),
    resnext.ResNeXtConfig: (resnext.ResNeXt, resnext),
    se_resnext.SEResNeXtConfig: (se_resnext.SEResNeXt, se_resnext),
    se_resnext_d.SEResNeXtDConfig: (se_resnext_d.SEResNeXtD, se_resnext_d),
    fixup_resnet.FixupResNetConfig: (fixup_resnet.FixupResNet, fixup_resnet),
    skipinit_resnet.SkipInitResNetConfig: (skipinit_resnet.SkipInitResNet, skipinit_resnet),
    densenet.DenseNetConfig: (densenet.DenseNet, densenet),
    inception_v3.InceptionV3Config: (inception_v3.InceptionV3, inception_v3),
    efficientnet.EfficientNetConfig: (efficientnet.EfficientNet, efficientnet),
    mobilenet_v1.MobileNetV1Config: (mobilenet_v1.MobileNetV1, mobilenet_v1),
    mobilenet_v2.MobileNetV2Config: (mobilenet_v2.MobileNetV2, mobilenet_v2),
}
Config = Any  # an instance of a key of FAMILIES
VARIANTS: dict[str, Config] = dict(entry for _, file in FAMILIES.values() for entry in file.variants())
NORMALIZER_FREE = (nfnet.NFNetConfig, nf_resnet.NFResNetConfig, nf_regnet.NFRegNetConfig)
MAGNITUDES = (5, 10, 10, 15, 15, 15, 15, 15)  # of RandAugment, for F0 … F7
RANDAUGMENT = {f"nfnet_f{k}{suffix}": (4, magnitude)  # layers, magnitude
               for k, magnitude in enumerate(MAGNITUDES) for suffix in ("", "+")}


def names() -> list[str]:
    """The names that `create` takes."""
    return list(VARIANTS)


def config_of(name: str, **changes: Any) -> Config:
    """The configuration called `name`, with some of its fields changed; InputError suggests the nearest name."""
    if not isinstance(name, str) or name not in VARIANTS:
        near = difflib.get_close_matches(str(name), VARIANTS, n=1, cutoff=0.0)[0]
        raise InputError(f"unknown model {name!r}: did you mean {near!r}? There are {', '.join(VARIANTS)}")
    try:
        return dataclasses.replace(VARIANTS[name], **changes)
    except TypeError:
        known = [field.name for field in dataclasses.fields(VARIANTS[name])]
        wrong = [change for change in changes if change not in known]
        raise InputError(f"model {name}: unknown option {', '.join(wrong)}; there are {', '.join(known)}") from None


def randaugment_of(name: str) -> tuple[int, int]:
    """RandAugment's layers and magnitude for an NFNet (Brock et al., 2021b, table 6); small ones have F0's.

    InputError for a network of another family, which the papers train without RandAugment.
    """
    if not isinstance(config_of(name), nfnet.NFNetConfig):
        raise InputError(f"RandAugment: the papers train {name} without it")
    return RANDAUGMENT.get(name, RANDAUGMENT["nfnet_f0"])


def default_for(image_size: int) -> str:
    """The name of the NFNet that suits square images of `image_size` pixels: a small one up to 96, else F0.

    InputError for an image size that is no whole number above 0.
    """
    whole_number(image_size, "default_for: image_size", least=1)
    for largest, name in ((12, "nfnet_8px"), (24, "nfnet_16px"), (48, "nfnet_32px"), (96, "nfnet_64px")):
        if image_size <= largest:
            return name
    return "nfnet_f0"


def from_config(config: Config, **placement: Any) -> ImageClassifier:
    """A model of the family that `config` belongs to; `placement` as ImageClassifier takes it.

    InputError when `config` is no configuration of one of the families.
    """
    if type(config) not in FAMILIES:
        families = ", ".join(config_class.__name__ for config_class in FAMILIES)
        raise InputError(f"model: expected a configuration ({families}), got a {type(config).__name__}")
    network, _ = FAMILIES[type(config)]
    return network(config, **placement)


def create(name: str, *, backend: str = "numpy", dtype: DTypeLike = "float32", seed: int = 0,
           shapes_only: bool = False, **changes: Any) -> ImageClassifier:
    """A freshly initialized model by name, such as "nfnet_f0".

    changes: fields of the configuration, such as num_classes=10; backend "numpy" or "cupy"; dtype "float32" or
    "float64"; the same seed gives the same parameters everywhere, up to the rounding of dtype.
    """
    return from_config(config_of(name, **changes), backend=backend, dtype=dtype, seed=seed, shapes_only=shapes_only)
