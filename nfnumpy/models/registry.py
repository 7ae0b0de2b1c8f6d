"""The named variants: one table of configurations.

Used by: models/identify.py and every command. Test: reference_tests/models/test_published_counts.py.
"""

import dataclasses
import difflib
from collections.abc import Iterator
from typing import Any

from numpy.typing import DTypeLike

from ..errors import InputError
from ..functional.checks import whole_number
from .base import NormalizerFreeNetwork
from .nf_regnet import NFRegNet, NFRegNetConfig
from .nf_resnet import NFResNet, NFResNetConfig
from .nfnet import NFNet, NFNetConfig

Config = NFNetConfig | NFResNetConfig | NFRegNetConfig
NETWORK_CLASSES = {NFNetConfig: NFNet, NFResNetConfig: NFResNet, NFRegNetConfig: NFRegNet}


def _nfnets() -> Iterator[tuple[str, Config]]:
    """F0 … F7 and F0+ … F7+ (Brock et al., 2021b, tables 1 and 6): depth grows with k, so do pixels and dropout."""
    pixels = ((192, 256), (224, 320), (256, 352), (320, 416), (384, 512), (416, 544), (448, 576), (480, 608))
    dropout = (0.2, 0.3, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5)
    for k, ((train_size, test_size), drop_rate) in enumerate(zip(pixels, dropout, strict=True)):
        depths = tuple(depth * (k + 1) for depth in (1, 2, 6, 3))
        for suffix, widths in (("", (256, 512, 1536, 1536)), ("+", (384, 768, 2048, 2048))):
            yield f"nfnet_f{k}{suffix}", NFNetConfig(
                widths=widths, depths=depths, drop_rate=drop_rate, stochdepth_rate=0.25, train_size=train_size,
                test_size=test_size)


def _nf_resnets() -> Iterator[tuple[str, Config]]:
    """NF-ResNet-50 … 600 (Brock, De, Smith, 2021a)."""
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3), 288: (24,) * 4,
              600: (50,) * 4}
    for layers, stages in depths.items():
        yield f"nf_resnet{layers}", NFResNetConfig(depths=stages, drop_rate=0.25, stochdepth_rate=0.1)


def _nf_regnets() -> Iterator[tuple[str, Config]]:
    """NF-RegNet-B0 … B8 (Brock, De, Smith, 2021a, appendix)."""
    table = (
        ((48, 104, 208, 440), (1, 3, 6, 6), 192, 224, 0.2), ((48, 104, 208, 440), (2, 4, 7, 7), 224, 256, 0.2),
        ((56, 112, 232, 488), (2, 4, 8, 8), 240, 272, 0.3), ((56, 128, 248, 528), (2, 5, 9, 9), 288, 320, 0.3),
        ((64, 144, 288, 616), (2, 6, 11, 11), 320, 384, 0.4), ((80, 168, 336, 704), (3, 7, 14, 14), 384, 456, 0.4),
        ((88, 184, 376, 792), (3, 8, 16, 16), 448, 528, 0.5), ((96, 208, 416, 880), (4, 10, 19, 19), 512, 600, 0.5),
        ((104, 232, 456, 968), (4, 11, 22, 22), 600, 672, 0.5))
    for k, (widths, depths, train_size, test_size, drop_rate) in enumerate(table):
        yield f"nf_regnet_b{k}", NFRegNetConfig(widths=widths, depths=depths, train_size=train_size,
                                                test_size=test_size, drop_rate=drop_rate, stochdepth_rate=0.1)


def _small() -> Iterator[tuple[str, Config]]:
    """Variants for images of 8 to 64 pixels: the stems keep enough of the image for four stages."""
    for pixels, stem_strides, strides, widths in (
            (8, (1, 1, 1, 1), (1, 2, 2), (32, 64, 96)),
            (16, (1, 1, 1, 1), (1, 2, 2), (32, 64, 128)),
            (32, (1, 1, 1, 1), (1, 2, 2, 2), (32, 64, 128, 128)),
            (64, (1, 1, 1, 2), (1, 2, 2, 2), (64, 128, 256, 256))):
        stem_widths = tuple(max(8, widths[0] * share // 4) for share in (1, 1, 2, 2))
        yield f"nfnet_{pixels}px", NFNetConfig(
            widths=widths, depths=(1,) * len(widths), strides=strides, group_size=16, stem_widths=stem_widths,
            stem_strides=stem_strides, drop_rate=0.1, num_classes=10, train_size=pixels, test_size=pixels)
    yield "nf_resnet_32px", NFResNetConfig(widths=(64, 128, 256), depths=(2, 2, 2), strides=(1, 2, 2), stem_kernel=3,
                                           stem_stride=1, stem_pool=False, num_classes=10, train_size=32, test_size=32)
    yield "nf_regnet_32px", NFRegNetConfig(widths=(32, 64, 128), depths=(1, 2, 2), strides=(1, 2, 2), stem_stride=1,
                                           drop_rate=0.1, num_classes=10, train_size=32, test_size=32)


MAGNITUDES = (5, 10, 10, 15, 15, 15, 15, 15)  # of RandAugment, for F0 … F7
RANDAUGMENT = {f"nfnet_f{k}{suffix}": (4, magnitude)  # layers, magnitude
               for k, magnitude in enumerate(MAGNITUDES) for suffix in ("", "+")}
VARIANTS = dict(entry for family in (_nfnets, _nf_resnets, _nf_regnets, _small) for entry in family())


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
    if not isinstance(config_of(name), NFNetConfig):
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


def from_config(config: Config, **placement: Any) -> NormalizerFreeNetwork:
    """A model of the family that `config` belongs to; `placement` as NormalizerFreeNetwork takes it.

    InputError when `config` is no configuration of one of the families.
    """
    if type(config) not in NETWORK_CLASSES:
        families = ", ".join(config_class.__name__ for config_class in NETWORK_CLASSES)
        raise InputError(f"model: expected a configuration ({families}), got a {type(config).__name__}")
    return NETWORK_CLASSES[type(config)](config, **placement)


def create(name: str, *, backend: str = "numpy", dtype: DTypeLike = "float32", seed: int = 0,
           shapes_only: bool = False, **changes: Any) -> NormalizerFreeNetwork:
    """A freshly initialized model by name, such as "nfnet_f0".

    changes: fields of the configuration, such as num_classes=10; backend "numpy" or "cupy"; dtype "float32" or
    "float64"; the same seed gives the same parameters everywhere, up to the rounding of dtype.
    """
    return from_config(config_of(name, **changes), backend=backend, dtype=dtype, seed=seed, shapes_only=shapes_only)
