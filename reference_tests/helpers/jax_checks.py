"""Checks of modules of JAX's libraries in few input cases: most of the time of a case is compilation."""

import dataclasses

import pytest

from nfnumpy.verify import check
from nfnumpy.verify.adapters import block as block_adapter
from nfnumpy.verify.checks import block, model, norm, se, ws_conv

from .jax_formulas import CONFIG, NORMALIZED


@pytest.fixture
def few_cases(monkeypatch):
    """Fewer fixed cases, still with groups, a stride and a weight below the floor; no smaller counterexamples."""
    cases = {"typical": (ws_conv.TYPICAL[0], ws_conv.TYPICAL[2]), "edges": (ws_conv.EDGES[0], ws_conv.EDGES[3])}
    for name in cases:
        monkeypatch.setattr(ws_conv, name.upper(), cases[name])
    for module, name, changes in ((ws_conv, "CHECK", {}), (ws_conv, "FUNCTION_CHECK", cases),
                                  (se, "CHECK", {"typical": se.TYPICAL[:1], "edges": se.EDGES[2:3]})):
        fewer = dataclasses.replace(getattr(module, name), smaller=lambda case: (), **changes)
        monkeypatch.setattr(module, name, fewer)
    for_name, for_blocks = norm.check_for, block.check_for

    def without_edges(*arguments):
        return dataclasses.replace(for_name(*arguments), edges=(), smaller=lambda case: ())

    def of_blocks(blocks):
        return dataclasses.replace(for_blocks(blocks), smaller=lambda case: ())

    monkeypatch.setattr(norm, "check_for", without_edges)
    monkeypatch.setattr(block, "check_for", of_blocks)
    monkeypatch.setattr(block_adapter, "GEOMETRIES", block_adapter.GEOMETRIES[1:2])
    monkeypatch.setattr(model, "SMALL_IMAGES", ())


def outcome(kind, target, **options):
    """(outcome, diagnosis) with no drawn case."""
    if kind == "model":
        name = getattr(target, "__qualname__", type(target).__name__).lower()
        options = {"config": NORMALIZED if "normalized" in name else CONFIG, "size": 16, **options}
    verdict = check(kind, target, examples=0, **options)
    return verdict.outcome, verdict.diagnosis
