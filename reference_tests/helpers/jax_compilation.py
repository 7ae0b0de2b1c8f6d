"""A fixture for tests of JAX: XLA compiles without optimizations, in a third of the time."""

import jax
import pytest


@pytest.fixture
def fast_compilation():
    """Most of the processor time of a test of JAX is compilation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
