"""JAX's side of the CPU's run computes what ours does."""

import os

import pytest

from nfnumpy.bench.cases.networks import NetworkCase, relative_errors
from nfnumpy.bench.cpu import networks
from nfnumpy.bench.implementations import jax_network, nfnumpy_network
from reference_tests.helpers.jax_compilation import fast_compilation


def test_jax_computes_what_ours_does(monkeypatch, tmp_path):
    """First logits and loss, and the loss after a step, in float32; the bounds are those of the CPU's run."""
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)  # it would restrict this process
    case = NetworkCase("nfnet_8px", 2)
    ours = nfnumpy_network.NfnumpyNetwork(case)
    ours.save(tmp_path / "weights.safetensors")
    with fast_compilation():
        in_jax = jax_network.JaxNetwork(case, tmp_path / "weights.safetensors")
        errors = relative_errors((in_jax.inference(), in_jax.training()), (ours.inference(), ours.training()))
    assert all(errors[name] <= bound for name, bound in networks.BOUNDS.items())
    assert in_jax.training() == pytest.approx(ours.training(), rel=networks.BOUNDS["loss_error"])
