"""The known variants of the networks with normalizations, Fixup and SkipInit, by network."""

import dataclasses
import functools
from typing import Any

from .... import models
from .. import KnownVariant, apply
from ..normalization_catalogue import catalogue as norm_catalogue
from .concatenating import DENSE, INCEPTION
from .depthwise_blocks import EXCITED_FIRST, INVERTED_BLOCKS, SEPARABLE_BLOCKS
from .layers import LAYERS, SAME_PADDING, SYMMETRIC_PADDING
from .normalizer_free import FIXUP, SKIP_INIT
from .residual_blocks import JOINED, OMITTED, PRE_SHORTCUTS, SHORTCUTS, SHORTCUTS_D, STRIDES
from .rules import BaselineRules, norm_rules
from .squeeze_excite import EXCITATION, HIDDEN, ON_SUM
from .stem_and_head import FINAL_ACTIVATION, FINAL_CONV, FINAL_NORM, HEADS, STEM, STEM_POOL

BOTTLENECKED = (models.ResNetConfig, models.ResNetDConfig, models.ResNeXtConfig, models.SEResNeXtConfig,
                models.SEResNeXtDConfig)
PRE_ACTIVATION = (models.ResNetV2Config, models.SkipInitResNetConfig)
SYMMETRIC = (*BOTTLENECKED, *PRE_ACTIVATION, models.FixupResNetConfig, models.MobileNetV1Config,
             models.MobileNetV2Config, models.DenseNetConfig)


@functools.cache
def base_rules(config: Any) -> BaselineRules:
    """The rules of a configuration's own network."""
    norm = norm_rules(models.from_config(config, shapes_only=True))
    return BaselineRules(norm=norm, norm_base=norm)


def _has_norms(config):
    no_norms = (models.FixupResNetConfig, models.SkipInitResNetConfig)
    return not isinstance(config, no_norms) and getattr(config, "norm", "batch") != "none"


def _norm_name(config):
    if isinstance(config, models.InceptionV3Config):
        return "batch_keras"
    return getattr(config, "norm", "batch")


def _of_norm(variants):
    for variant in variants:
        yield dataclasses.replace(variant, changes={f"norm.{key}": value for key, value in variant.changes.items()})


OF_BACKWARD = frozenset({"norm.constant_mean", "norm.constant_variance", "norm.decay", "norm.debiased",
                         "norm.statistics_unbiased", "norm.stored", "norm.updated_in_evaluation"})
NOT_SEEN = ("running statistics updated in evaluation", "plain mean of all batches", "eps a floor of the variance",
            "gamma and beta not used")  # by one batch and variances above eps, or by outputs
STRUCTURAL = frozenset({"hidden"})


@functools.cache
def catalogue(config: Any) -> tuple[KnownVariant, ...]:
    """The known variants of a configuration's network."""
    found: list[KnownVariant] = [*LAYERS, *HEADS]
    if _has_norms(config):
        found += _of_norm(variant for variant in norm_catalogue(_norm_name(config))
                          if variant.name not in NOT_SEEN and "s convention" not in variant.name)
    if isinstance(config, BOTTLENECKED):
        found += [*STRIDES, *JOINED, *OMITTED]
        found += SHORTCUTS_D if hasattr(config, "stem_strides") else SHORTCUTS
    if isinstance(config, PRE_ACTIVATION):
        found += [*STRIDES, *PRE_SHORTCUTS]
    if isinstance(config, SYMMETRIC):
        found.append(SAME_PADDING)
    if isinstance(config, models.EfficientNetConfig):
        found += [SYMMETRIC_PADDING, EXCITED_FIRST]
    if hasattr(config, "se_ratio"):
        found += EXCITATION
        if isinstance(config, BOTTLENECKED):
            found += ON_SUM
    by_family: dict[type, tuple[KnownVariant, ...]] = {
        models.EfficientNetConfig: (*INVERTED_BLOCKS, *FINAL_CONV, *HIDDEN),
        models.MobileNetV2Config: (*INVERTED_BLOCKS, *FINAL_CONV), models.MobileNetV1Config: SEPARABLE_BLOCKS,
        models.DenseNetConfig: (*DENSE, *FINAL_NORM), models.InceptionV3Config: INCEPTION,
        models.ResNetV2Config: FINAL_NORM, models.SkipInitResNetConfig: (*SKIP_INIT, *FINAL_ACTIVATION),
        models.FixupResNetConfig: (*FIXUP, *STRIDES, *JOINED)}
    found += by_family.get(type(config), ())
    if not isinstance(config, (*PRE_ACTIVATION, models.InceptionV3Config)):
        found += STEM
    if getattr(config, "stem_pool", False):
        found += STEM_POOL
    return tuple(variant for variant in found if _is_change(variant, config))


def _is_change(variant, config):
    """Whether a variant is another network than the configuration's own."""
    base = base_rules(config)
    own = {f"nonlinearity {getattr(config, 'activation', 'relu')}",
           f"{'silu' if isinstance(config, models.EfficientNetConfig) else 'relu'} in squeeze-and-excite"}
    if isinstance(config, models.InceptionV3Config) and "nonlinearity" in variant.changes:
        return False
    return variant.name not in own and apply(base, (variant,)) != base


@functools.cache
def of_shapes(config: Any) -> tuple[KnownVariant, ...]:
    """Those that change the shapes of parameters."""
    return tuple(variant for variant in catalogue(config) if STRUCTURAL & variant.changes.keys())


@functools.cache
def of_outputs(config: Any) -> tuple[KnownVariant, ...]:
    """Those that change the output of a part."""
    return tuple(variant for variant in catalogue(config) if not STRUCTURAL & variant.changes.keys()
                 and not variant.changes.keys() <= OF_BACKWARD)


@functools.cache
def of_backward(config: Any) -> tuple[KnownVariant, ...]:
    """Those that change gradients or running statistics alone."""
    return tuple(variant for variant in catalogue(config) if variant.changes.keys() <= OF_BACKWARD)
