"""Weights are recognized without making the networks of all variants."""

import pytest

import nfnumpy as nf
from nfnumpy.models import identify
from nfnumpy.models.registry import FAMILIES


@pytest.mark.parametrize("name", ["nfnet_f0", "nf_regnet_b0", "resnet18", "resnet50"])
def test_few_networks_are_made_to_recognize_one(monkeypatch, name):
    state = nf.models.create(name, shapes_only=True).state_dict()
    made = []

    def create(variant, **options):
        made.append(variant)
        return nf.models.create(variant, **options)

    monkeypatch.setattr(identify, "create", create)
    identify._shapes.cache_clear()
    assert nf.models.variant_of(state) == name
    assert len(made) <= len(FAMILIES) + 3  # the smallest of each family, and those of about the same depth
