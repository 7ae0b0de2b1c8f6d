"""Known variants: changes of rules, and their combinations."""

import dataclasses

import pytest

from nfnumpy.verify.checks import activation, agc, block, ema, sam, schedule, se, stochastic_depth, ws_conv
from nfnumpy.verify.variants import KnownVariant, apply, combinations, extensions, normalization_catalogue
from nfnumpy.verify.variants.baselines import catalogue as baseline_catalogue
from nfnumpy.verify.variants.network_catalogue import OF_NETWORKS
from nfnumpy.verify.variants.normalization import BASES
from reference_tests.helpers.wrong_baselines import CONFIGS

CATALOGUES = {"agc": (agc.ClippingRules(), agc.CATALOGUE), "ema": (ema.AverageRules(), ema.CATALOGUE),
              "sam": (sam.SAMRules(), sam.CATALOGUE), "schedule": (schedule.ScheduleRules(), schedule.CATALOGUE),
              "se": (se.RULES, se.CATALOGUE), "ws_conv": (ws_conv.StandardizationRules(), ws_conv.CATALOGUE),
              "stochastic_depth": (stochastic_depth.StochasticDepthRules(), stochastic_depth.CATALOGUE),
              "model": (block.NetworkRules(), OF_NETWORKS),
              **{f"norm {name}": (base, normalization_catalogue.catalogue(name)) for name, base in BASES.items()},
              **{f"model {family}": (baseline_catalogue.base_rules(config), baseline_catalogue.catalogue(config))
                 for family, config in CONFIGS.items()},
              **{f"activation {name}": (activation.ActivationRules(name=name), activation.catalogue(name))
                 for name in ("gelu", "glu", "identity")}}


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_variant_changes_fields_that_exist(name):
    """A misspelled field is an error here, and not a variant that never matches."""
    rules, catalogue = CATALOGUES[name]
    assert len({variant.name for variant in catalogue}) == len(catalogue)
    for variant in catalogue:
        assert apply(rules, (variant,)) != rules and variant.explanation.endswith("."), variant.name
        hash(apply(rules, (variant,)))


@dataclasses.dataclass(frozen=True)
class Inner:
    a: int = 0


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    b: int = 0


A, B, OTHER_B = (KnownVariant("a", {"inner.a": 1}, ""), KnownVariant("b", {"b": 2}, "", benign=True),
                 KnownVariant("other b", {"b": 3}, ""))


def test_changes_reach_rules_inside_rules():
    assert apply(Outer(), (A, B)) == Outer(Inner(1), 2)


def test_singles_come_before_pairs_and_benign_ones_first():
    assert list(combinations((A, B, OTHER_B))) == [(B,), (A,), (OTHER_B,), (B, A), (A, OTHER_B)]


def test_extensions_change_other_fields():
    assert list(extensions((B,), (A, B, OTHER_B))) == [(B, A)]


def test_an_unknown_field_is_an_error():
    with pytest.raises(TypeError):
        apply(Outer(), (KnownVariant("c", {"c": 1}, ""),))
