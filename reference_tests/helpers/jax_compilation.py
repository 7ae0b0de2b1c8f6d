"""Most of the processor time of a test of JAX is compilation."""

import contextlib

import jax


@contextlib.contextmanager
def fast_compilation():
    """Context in which XLA compiles without optimizations, in a third of the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
